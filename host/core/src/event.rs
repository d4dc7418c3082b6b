//! Events of components, for people who look on while a session runs. Nothing is decided by them.

use crate::codec::{Malformed, Reader, Wire, encode, wire_struct};
use crate::identity::{BadSignature, PublicKey, SecretKey, Signature, Tag};
use crate::ids::SessionId;

/// An event of the component of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentEvent {
    /// `step` of `of` is done.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps in all.
        of: u32,
    },
    /// Items of single-use material now in the pool.
    PoolLevel(u32),
    /// One of the codes of the component's descriptor; [`UNLISTED_PLUGIN_CODE`](crate::report::UNLISTED_PLUGIN_CODE) for one that it
    /// does not list.
    Note(u16),
}

impl Wire for ComponentEvent {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Progress { step, of } => {
                1_u8.put(out);
                step.put(out);
                of.put(out);
            }
            Self::PoolLevel(level) => {
                2_u8.put(out);
                level.put(out);
            }
            Self::Note(code) => {
                3_u8.put(out);
                code.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            1 => Self::Progress { step: Wire::take(input)?, of: Wire::take(input)? },
            2 => Self::PoolLevel(Wire::take(input)?),
            3 => Self::Note(Wire::take(input)?),
            _ => return Err(Malformed),
        })
    }
}

/// An event, with where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// The party.
    pub by: PublicKey,
    /// The session.
    pub session: SessionId,
    /// What the component says.
    pub event: ComponentEvent,
}

wire_struct!(SessionEvent { by, session, event });

/// An event as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSessionEvent {
    /// The signed content.
    pub event: SessionEvent,
    signature: Signature,
}

wire_struct!(SignedSessionEvent { event, signature });

impl SessionEvent {
    /// Signs the event with the party's key.
    #[must_use]
    pub fn sign(self, key: &SecretKey) -> SignedSessionEvent {
        let signature = key.sign(Tag::Event, &encode(&self));
        SignedSessionEvent { event: self, signature }
    }
}

impl SignedSessionEvent {
    /// Verifies that the party that it names has said it.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.event.by.verify(Tag::Event, &encode(&self.event), &self.signature)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::decode;
    use crate::order::tests::identities;

    #[test]
    fn an_event_is_of_the_party_that_has_signed_it() {
        let keys = identities(2);
        for event in [
            ComponentEvent::Progress { step: 1, of: 3 },
            ComponentEvent::PoolLevel(7),
            ComponentEvent::Note(8),
        ] {
            let told = SessionEvent { by: keys[0].public(), session: SessionId([1; 32]), event };
            let signed = told.sign(&keys[0]);
            assert_eq!(signed.verify(), Ok(()));
            assert_eq!(decode(&encode(&signed)), Ok(signed));
            assert_eq!(told.sign(&keys[1]).verify(), Err(BadSignature));
        }
        assert!(decode::<ComponentEvent>(&[4, 0, 0]).is_err());
    }
}
