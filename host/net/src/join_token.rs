//! Join tokens: each admits one party to one session at a router, for minutes. The coordinator issues them with the
//! plans, the router checks them; both know the secret. They are JWTs (RFC 7519) with HS256 (RFC 7518).
//!
//! They keep strangers out of the router and limit what a party can do there. They do not authenticate parties: a
//! session relies on the signatures of its parties.

use std::sync::Once;
use std::time::Duration;

use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quorate_core::{PartyIndex, SessionId, UnixSeconds};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The audience of a token, so that a token for another purpose does not count.
const AUDIENCE: &str = "quorate router";

/// How far the clocks of coordinator and router may be apart.
const MAX_TOKEN_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The secret that coordinators and routers share.
#[derive(Clone)]
pub struct JoinKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// A secret that is too short to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a JWT secret has 32 characters or more, for example from `openssl rand -hex 32`")]
pub struct JoinKeyError;

/// Why a token does not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was not issued with this secret, or is no token at all.
    #[error("the join token is not genuine: router and coordinator may have different JWT_SECRET_KEYs")]
    NotGenuine,
    /// Its time is over.
    #[error("the join token has expired")]
    Expired,
    /// It is for another session.
    #[error("the join token is for another session")]
    AnotherSession,
    /// It is for another party.
    #[error("the join token is for another party")]
    AnotherParty,
}

/// The rights of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinGrant {
    /// The highest index that the party may send to.
    pub parties: u16,
    /// How long it still lets in: nothing is kept for longer.
    pub left: Duration,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// The session's id in hex.
    session: String,
    party: u16,
    /// How many parties the session's account has.
    parties: u16,
    /// In seconds since 1970.
    exp: u64,
}

impl JoinKey {
    /// The shortest secret that is taken, in characters.
    pub const MIN_SECRET_BYTES: usize = 32;

    /// A key.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn new(secret: &str) -> Result<Self, JoinKeyError> {
        if secret.len() < Self::MIN_SECRET_BYTES {
            return Err(JoinKeyError);
        }
        install();
        let secret = secret.as_bytes();
        Ok(Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret) })
    }

    /// A token for a party of a session of an account with that many parties, until `expires`.
    #[must_use]
    pub fn token(&self, session: SessionId, party: PartyIndex, parties: u16, expires: UnixSeconds) -> String {
        let claims = Claims {
            aud: AUDIENCE.into(),
            session: session.to_string(),
            party: party.number(),
            parties,
            exp: expires.0,
        };
        // Only a key of another kind can fail here. The router refuses a party without a token with a clear reason.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default()
    }

    /// Checks that a token lets this party into this session, at the time `now`.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn check(
        &self,
        token: &str,
        session: SessionId,
        party: PartyIndex,
        now: UnixSeconds,
    ) -> Result<JoinGrant, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        // By our own clock, below.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        let claims = claims.map_err(|_| TokenError::NotGenuine)?.claims;
        if claims.session != session.to_string() {
            return Err(TokenError::AnotherSession);
        }
        if claims.party != party.number() {
            return Err(TokenError::AnotherParty);
        }
        let end = UnixSeconds(claims.exp) + MAX_TOKEN_CLOCK_SKEW;
        if now > end {
            return Err(TokenError::Expired);
        }
        Ok(JoinGrant { parties: claims.parties, left: end.since(now) })
    }
}

impl std::fmt::Debug for JoinKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinKey")
    }
}

/// Gives the library the only algorithm that we use. The sets that it offers itself contain many more.
fn install() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            let mac = only_hs256(*algorithm, Ok(key.as_bytes()))?;
            Ok(Box::new(Hs256(mac)))
        },
        verifier_factory: |algorithm, key| {
            let mac = only_hs256(*algorithm, key.try_get_as_bytes())?;
            Ok(Box::new(Hs256(mac)))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    ONCE.call_once(|| {
        // It fails when another provider is installed, with more algorithms: ours are among them.
        let _ = PROVIDER.install_default();
    });
}

fn only_hs256(algorithm: Algorithm, secret: Result<&[u8], Error>) -> Result<Hmac<Sha256>, Error> {
    if algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Hmac::new_from_slice(secret?).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

struct Hs256(Hmac<Sha256>);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        // In constant time.
        self.0.clone().chain_update(message).verify_slice(tag).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> JoinKey {
        JoinKey::new(&secret.repeat(JoinKey::MIN_SECRET_BYTES)).unwrap()
    }

    fn second() -> PartyIndex {
        PartyIndex::try_from(2).unwrap()
    }

    #[test]
    fn a_token_lets_one_party_into_one_session_for_a_while() {
        let (session, party) = (SessionId([1; 32]), PartyIndex::FIRST);
        let end = UnixSeconds(1_000);
        let token = key("a").token(session, party, 3, end);
        let check = |session, party, now| key("a").check(&token, session, party, now);
        let grant = |left| Ok(JoinGrant { parties: 3, left });
        let ten = Duration::from_secs(10);
        assert_eq!(check(session, party, end - ten), grant(ten + MAX_TOKEN_CLOCK_SKEW));
        assert_eq!(check(session, party, end + MAX_TOKEN_CLOCK_SKEW), grant(Duration::ZERO));
        assert_eq!(
            check(session, party, end + MAX_TOKEN_CLOCK_SKEW + Duration::from_secs(1)),
            Err(TokenError::Expired)
        );
        assert_eq!(check(SessionId([2; 32]), party, end), Err(TokenError::AnotherSession));
        assert_eq!(check(session, second(), end), Err(TokenError::AnotherParty));
        assert_eq!(key("b").check(&token, session, party, end), Err(TokenError::NotGenuine));
    }

    #[test]
    fn a_changed_token_or_one_of_another_kind_is_not_genuine() {
        let (session, party) = (SessionId([1; 32]), PartyIndex::FIRST);
        let check = |token: &str| key("a").check(token, session, party, UnixSeconds(1));
        let good = key("a").token(session, party, 3, UnixSeconds(1_000));
        let mut parts: Vec<&str> = good.split('.').collect();
        // {"alg":"none","typ":"JWT"}
        parts[0] = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        for bad in
            ["", "a.b.c", &parts.join("."), &format!("{}.{}.", parts[0], parts[1]), &good[..good.len() - 1]]
        {
            assert_eq!(check(bad), Err(TokenError::NotGenuine), "{bad}");
        }
        assert!(JoinKey::new("short").is_err());
        assert_eq!(format!("{:?}", key("a")), "JoinKey");
    }
}
