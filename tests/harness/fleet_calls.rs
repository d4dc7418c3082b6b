//! Calls of a fleet that many tests make.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::fleet::{Fleet, Member};
use crate::single_process::program;
use crate::verification::assert_signed_by;

/// What `quorate admin` says at a socket.
///
/// # Errors
/// Its error output.
///
/// # Panics
/// When there is no such program.
pub fn admin(socket: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program());
    command.env_clear().arg("admin").arg("--socket").arg(socket).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

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

    /// What `quorate admin` says at a party.
    ///
    /// # Errors
    /// Its error output.
    ///
    /// # Panics
    /// When the member is no party.
    pub fn admin(&self, party: Member, arguments: &[&str]) -> Result<String, String> {
        admin(&self.data(party).expect("a party").join("admin.sock"), arguments)
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
