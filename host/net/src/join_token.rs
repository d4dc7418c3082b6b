//! Join tokens: each admits one party to one session at a router, for minutes. The coordinator signs them and sends them
//! with the plans; the router verifies them, and can't make one. They are JWTs (RFC 7519) with EdDSA (RFC 8037).
//!
//! A token names the identity key of its party. Whoever comes with it signs the router's challenge with that key, so that a
//! token alone, which somebody may have read on its way, lets nobody in.
//!
//! They keep strangers out of the router and limit what a party can do there. They do not authenticate parties to each
//! other: a session relies on the signatures of its parties.

use std::sync::Once;
use std::time::Duration;

use ed25519_dalek::{SigningKey, VerifyingKey};
use hkdf::Hkdf;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quorate_core::codec::encode;
use quorate_core::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use quorate_core::{PartyIndex, SessionId, UnixSeconds};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The audience of a token, so that a token for another purpose does not count.
const AUDIENCE: &str = "quorate router";

/// How far the clocks of coordinator and router may be apart.
const MAX_TOKEN_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// How many characters of a public key tell it from the others, in the header of a token.
const KEY_ID_LENGTH: usize = 16;

/// The key with which coordinators sign join tokens.
#[derive(Clone)]
pub struct JoinKey {
    encoding: EncodingKey,
    public: PublicKey,
}

/// The keys by which a router knows join tokens.
#[derive(Clone, Debug)]
pub struct JoinVerifier(Vec<PublicKey>);

/// A secret that is too short to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a JWT secret has 32 characters or more, for example from `openssl rand -hex 32`")]
pub struct JoinKeyError;

/// Why a token does not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was not issued with one of these keys, or is no token at all.
    #[error(
        "the join token is not genuine: the router's JWT_PUBLIC_KEYS may lack the key that belongs to the coordinator's \
         JWT_SECRET_KEY"
    )]
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
    /// Whoever has it does not have the party's identity key.
    #[error("the router's challenge is not signed with the identity key that the join token names")]
    NotItsParty,
}

/// The rights of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinGrant {
    /// The identity key of the party.
    pub identity: PublicKey,
    /// The highest index that the party may send to.
    pub parties: u16,
    /// How long it still lets in: nothing is kept for longer.
    pub left: Duration,
}

/// The party that a token is for.
#[derive(Clone, Copy, Debug)]
pub struct Joiner<'a> {
    /// Its identity key.
    pub identity: &'a PublicKey,
    /// Its index.
    pub party: PartyIndex,
    /// How many parties the session's account has.
    pub parties: u16,
}

/// Random bytes that a router gives to whoever wants to join, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// The party's identity key in hex.
    sub: String,
    /// The session's id in hex.
    session: String,
    party: u16,
    /// How many parties the session's account has.
    parties: u16,
    /// In seconds since 1970.
    exp: u64,
}

impl Challenge {
    /// The length of a challenge.
    pub const LENGTH: usize = 32;

    /// A new one. `None` when the machine has no randomness.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The one that a router has sent; `None` for other bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it is sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    fn statement(&self, session: SessionId, party: PartyIndex) -> Vec<u8> {
        encode(&(self.0, (session, party)))
    }

    /// Answers it, as this party of a session.
    #[must_use]
    pub fn answer(&self, session: SessionId, party: PartyIndex, key: &SecretKey) -> Signature {
        key.sign(Tag::Join, &self.statement(session, party))
    }

    fn verify(
        &self,
        session: SessionId,
        party: PartyIndex,
        key: &PublicKey,
        answer: &Signature,
    ) -> Result<(), BadSignature> {
        key.verify(Tag::Join, &self.statement(session, party), answer)
    }
}

impl JoinKey {
    /// The shortest secret that is taken, in characters.
    pub const MIN_SECRET_BYTES: usize = 32;

    /// The key that a secret stands for (HKDF-SHA256, RFC 5869).
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn new(secret: &str) -> Result<Self, JoinKeyError> {
        if secret.len() < Self::MIN_SECRET_BYTES {
            return Err(JoinKeyError);
        }
        install();
        let mut seed = Zeroizing::new([0; 32]);
        let derived = Hkdf::<Sha256>::new(None, secret.as_bytes());
        derived.expand(b"quorate 1 join tokens", seed.as_mut_slice()).map_err(|_| JoinKeyError)?;
        let public = PublicKey(SigningKey::from_bytes(&seed).verifying_key().to_bytes());
        Ok(Self { encoding: EncodingKey::from_ed_der(seed.as_slice()), public })
    }

    /// The public side, by which routers know its tokens.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// A token for a party of a session, until `expires`.
    #[must_use]
    pub fn token(&self, session: SessionId, joiner: Joiner<'_>, expires: UnixSeconds) -> String {
        let claims = Claims {
            aud: AUDIENCE.into(),
            sub: joiner.identity.to_string(),
            session: session.to_string(),
            party: joiner.party.number(),
            parties: joiner.parties,
            exp: expires.0,
        };
        let header = Header { kid: Some(key_id(&self.public)), ..Header::new(Algorithm::EdDSA) };
        // Only a key of another kind can fail here. The router refuses a party without a token with a clear reason.
        jsonwebtoken::encode(&header, &claims, &self.encoding).unwrap_or_default()
    }
}

impl JoinVerifier {
    /// A verifier with these keys: several while a secret is being replaced.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>) -> Self {
        install();
        Self(keys)
    }

    /// Checks that a token lets this party into this session at the time `now`, and that the answer to the challenge is its
    /// party's.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn check(
        &self,
        token: &str,
        (session, party): (SessionId, PartyIndex),
        (challenge, answer): (&Challenge, &[u8]),
        now: UnixSeconds,
    ) -> Result<JoinGrant, TokenError> {
        let claims = self.claims(token)?;
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
        let identity: PublicKey = claims.sub.parse().map_err(|_| TokenError::NotGenuine)?;
        let answer = answer.try_into().map(Signature).map_err(|_| TokenError::NotItsParty)?;
        challenge.verify(session, party, &identity, &answer).map_err(|_| TokenError::NotItsParty)?;
        Ok(JoinGrant { identity, parties: claims.parties, left: end.since(now) })
    }

    /// The claims of a token that one of the keys has signed.
    fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        let not_genuine = |_| TokenError::NotGenuine;
        let named = jsonwebtoken::decode_header(token).map_err(not_genuine)?.kid;
        let key = self.0.iter().find(|key| named.as_deref() == Some(&key_id(key)));
        let key = DecodingKey::from_ed_der(&key.ok_or(TokenError::NotGenuine)?.0);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        // By our own clock, in `check`.
        validation.validate_exp = false;
        Ok(jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(not_genuine)?.claims)
    }
}

/// The name of a key in the header of a token.
fn key_id(key: &PublicKey) -> String {
    key.to_string().chars().take(KEY_ID_LENGTH).collect()
}

impl std::fmt::Debug for JoinKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinKey of {}", self.public)
    }
}

/// Gives the library the only algorithm that we use. The sets that it offers itself contain many more.
fn install() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            let seed = only_eddsa(*algorithm, Ok(key.as_bytes()))?;
            Ok(Box::new(EdDsaSigner(SigningKey::from_bytes(&Zeroizing::new(seed)))))
        },
        verifier_factory: |algorithm, key| {
            let key = only_eddsa(*algorithm, key.try_get_as_bytes())?;
            let key = VerifyingKey::from_bytes(&key).map_err(|_| ErrorKind::InvalidKeyFormat)?;
            Ok(Box::new(EdDsaVerifier(key)))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    ONCE.call_once(|| {
        // It fails when another provider is installed, with more algorithms: ours are among them.
        let _ = PROVIDER.install_default();
    });
}

fn only_eddsa(algorithm: Algorithm, key: Result<&[u8], Error>) -> Result<[u8; 32], Error> {
    if algorithm != Algorithm::EdDSA {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    key?.try_into().map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

/// Its key is wiped when it is dropped.
struct EdDsaSigner(SigningKey);

struct EdDsaVerifier(VerifyingKey);

impl Signer<Vec<u8>> for EdDsaSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for EdDsaVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| signature::Error::new())?;
        self.0.verify_strict(message, &signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for EdDsaSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl JwtVerifier for EdDsaVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    const CHALLENGE: Challenge = Challenge([7; 32]);

    fn key(secret: &str) -> JoinKey {
        JoinKey::new(&secret.repeat(JoinKey::MIN_SECRET_BYTES)).unwrap()
    }

    fn identity() -> SecretKey {
        SecretKey::from_seed(&[1; 32])
    }

    fn token(of: &JoinKey, session: SessionId, expires: UnixSeconds) -> String {
        let joiner = Joiner { identity: &identity().public(), party: PartyIndex::FIRST, parties: 3 };
        of.token(session, joiner, expires)
    }

    fn check(
        keys: &[&JoinKey],
        token: &str,
        session: SessionId,
        now: UnixSeconds,
    ) -> Result<JoinGrant, TokenError> {
        let verifier = JoinVerifier::new(keys.iter().map(|key| key.public()).collect());
        let answer = CHALLENGE.answer(session, PartyIndex::FIRST, &identity());
        verifier.check(token, (session, PartyIndex::FIRST), (&CHALLENGE, &answer.0), now)
    }

    #[test]
    fn a_token_lets_one_party_into_one_session_for_a_while() {
        let (session, end, own) = (SessionId([1; 32]), UnixSeconds(1_000), key("a"));
        let good = token(&own, session, end);
        let grant = |left| Ok(JoinGrant { identity: identity().public(), parties: 3, left });
        let ten = Duration::from_secs(10);
        assert_eq!(check(&[&own], &good, session, end - ten), grant(ten + MAX_TOKEN_CLOCK_SKEW));
        assert_eq!(check(&[&own], &good, session, end + MAX_TOKEN_CLOCK_SKEW), grant(Duration::ZERO));
        let late = end + MAX_TOKEN_CLOCK_SKEW + Duration::from_secs(1);
        assert_eq!(check(&[&own], &good, session, late), Err(TokenError::Expired));
        let other = SessionId([2; 32]);
        assert_eq!(check(&[&own], &good, other, end), Err(TokenError::AnotherSession));
        // One of several keys, while a secret is being replaced.
        let next = key("b");
        assert_eq!(check(&[&next], &good, session, end), Err(TokenError::NotGenuine));
        assert!(check(&[&next, &own], &good, session, end).is_ok());
        let second = PartyIndex::try_from(2).unwrap();
        let answer = CHALLENGE.answer(session, second, &identity());
        let verifier = JoinVerifier::new(vec![own.public()]);
        let as_second = verifier.check(&good, (session, second), (&CHALLENGE, &answer.0), end);
        assert_eq!(as_second, Err(TokenError::AnotherParty));
    }

    #[test]
    fn only_the_party_that_a_token_names_can_use_it_and_for_one_challenge() {
        let (session, first, end, own) =
            (SessionId([1; 32]), PartyIndex::FIRST, UnixSeconds(1_000), key("a"));
        let (good, verifier) = (token(&own, session, end), JoinVerifier::new(vec![own.public()]));
        let stranger = SecretKey::from_seed(&[2; 32]);
        let check = |challenge: &Challenge, answer: &[u8]| {
            verifier.check(&good, (session, first), (challenge, answer), end).err()
        };
        let answer = CHALLENGE.answer(session, first, &identity());
        assert_eq!(check(&CHALLENGE, &answer.0), None);
        let other = Challenge::from_bytes(&[8; 32]).unwrap();
        let of_another_session = CHALLENGE.answer(SessionId([2; 32]), first, &identity());
        for (challenge, answer) in [
            (&other, &answer.0[..]),
            (&CHALLENGE, &stranger_answer(&stranger, session).0[..]),
            (&CHALLENGE, &of_another_session.0[..]),
            (&CHALLENGE, &answer.0[..63]),
            (&CHALLENGE, &[]),
        ] {
            assert_eq!(check(challenge, answer), Some(TokenError::NotItsParty));
        }
        assert_eq!(Challenge::from_bytes(&[8; 31]), None);
        assert_ne!(Challenge::random(), Challenge::random());
    }

    fn stranger_answer(stranger: &SecretKey, session: SessionId) -> Signature {
        CHALLENGE.answer(session, PartyIndex::FIRST, stranger)
    }

    #[test]
    fn a_changed_token_or_one_of_another_kind_is_not_genuine() {
        let (session, own) = (SessionId([1; 32]), key("a"));
        let check = |token: &str| check(&[&own], token, session, UnixSeconds(1));
        let good = token(&own, session, UnixSeconds(1_000));
        assert!(check(&good).is_ok());
        let parts: Vec<&str> = good.split('.').collect();
        let kid = key_id(&own.public());
        // A router knows the public key: as the secret of a MAC it must not count.
        let headers = ["none", "HS256"].map(|alg| {
            BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#))
        });
        let forged = headers.iter().flat_map(|header| {
            [format!("{header}.{}.{}", parts[1], parts[2]), format!("{header}.{}.", parts[1])]
        });
        let others = ["".to_owned(), "a.b.c".to_owned(), good[..good.len() - 1].to_owned()];
        for bad in forged.chain(others) {
            assert_eq!(check(&bad), Err(TokenError::NotGenuine), "{bad}");
        }
        assert!(JoinKey::new("short").is_err());
        assert!(!format!("{own:?}").contains(&"a".repeat(JoinKey::MIN_SECRET_BYTES)));
    }
}
