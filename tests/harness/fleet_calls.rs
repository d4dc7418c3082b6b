//! Calls of a fleet that many tests make.

use std::process::Command;

use serde_json::json;

use crate::fleet::{Fleet, Member};
use crate::verification::assert_signed_by;

impl Fleet {
    /// Creates an account through an account service, and returns its id and public key.
    ///
    /// # Panics
    /// When no account is made.
    pub async fn create(&self, account: usize) -> (String, Vec<u8>) {
        let made = self.caller(account).post("/api/v1/accounts", &json!({ "user_id": "user123" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let key = hex::decode(made.text("public_key")).unwrap();
        (made.text("id").to_owned(), key)
    }

    /// Signs through an account service, and verifies the signature with another implementation.
    ///
    /// # Panics
    /// When there is no valid signature.
    pub async fn sign(&self, account: usize, id: &str, key: &[u8], digest: [u8; 32]) {
        let signed = self.caller(account).sign(id, digest).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        assert_signed_by(&signed, digest, key);
    }

    /// The output of `quorate healthcheck` with the settings of a member.
    ///
    /// # Errors
    /// Its error output, when the member is not healthy.
    pub fn healthcheck(&self, member: Member, role: &str) -> Result<String, String> {
        let serving = self.command(member);
        let mut asking = Command::new(serving.get_program());
        asking.env_clear().envs(serving.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = asking.args(["healthcheck", role]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}
