//! Identifiers, each a type of its own so that none is taken for another, and how they are derived.

use sha2::{Digest as _, Sha256};

use crate::codec::{Malformed, Reader, Wire};

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident[$size:literal];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                Wire::take(input).map(Self)
            }
        }
    )*};
}

/// Text that is not an identifier of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not {0}")]
pub struct InvalidId(pub(crate) &'static str);

/// The text of hashes and random numbers: lowercase hexadecimal characters, two for each byte. Uppercase ones are
/// read too.
macro_rules! hexadecimal_text {
    ($($name:ident),*) => {$(
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl core::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; _];
                let read = hex::decode_to_slice(text, &mut bytes);
                read.map_err(|_| InvalidId("64 hexadecimal characters"))?;
                Ok(Self(bytes))
            }
        }
    )*};
}

hexadecimal_text!(Digest, ExecutionId, GroupId, OrderId, SessionId, PlanHash, OutputHash, PreparedId);

impl core::fmt::Display for AccountId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl core::str::FromStr for AccountId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| InvalidId("a UUID"))?;
        Ok(Self(id.into_bytes()))
    }
}

identifiers! {
    /// SHA-256 of a component's bytes: which plugin, exactly.
    Digest[32];
    /// Never repeats: H(tag ‖ plan hash ‖ all hellos in index order). Every proof of a session is bound to it.
    ExecutionId[32];
    /// H(n ‖ identity keys in index order): what material of a group of parties is kept under.
    GroupId[32];
    /// A random number that the account service gives an order.
    OrderId[32];
    /// H(order ‖ plan nonce).
    SessionId[32];
    /// H(plan).
    PlanHash[32];
    /// A hash of every public output of a keygen, refresh or repair.
    OutputHash[32];
    /// A UUID.
    AccountId[16];
    /// H(tag ‖ execution id ‖ index): material that was made ahead of time, for one use.
    PreparedId[32];
    /// A random number: the pool of one process of a party.
    PoolId[16];
    /// A random number that a party's database gets when it is made.
    DatabaseId[16];
    /// A random number: one of the keys that users seal their shares to.
    SealingKeyId[16];
}

impl PreparedId {
    /// The id of one of the items that a session has made, counted from 0. All signers of the session know it by this id.
    #[must_use]
    pub fn of(execution: &ExecutionId, index: u16) -> Self {
        Self(hash("quorate 1 prepared", &[execution.as_bytes(), &index.to_be_bytes()]))
    }
}

/// SHA-256 over a tag and parts, each with its length before it, so that no two lists of parts hash alike.
pub(crate) fn hash(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [tag.as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_read_from_the_text_that_it_is_written_as() {
        let session = SessionId([0xab; 32]);
        assert_eq!(session.to_string(), "ab".repeat(32));
        assert_eq!(session.to_string().to_uppercase().parse(), Ok(session));
        for text in ["", "ab", &"ab".repeat(33), &"xy".repeat(32)] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }

        let account = AccountId(*b"\x01\x8f\x3c\x00\x11\x22\x73\x44\x95\x66\x77\x88\x99\xaa\xbb\xcc");
        assert_eq!(account.to_string(), "018f3c00-1122-7344-9566-778899aabbcc");
        for text in [
            "018f3c00-1122-7344-9566-778899aabbcc",
            "018F3C001122734495667788",
            "018f3c001122734495667788_9aabbcc",
        ] {
            assert_eq!(text.parse::<AccountId>().ok(), (text.len() == 36).then_some(account), "{text}");
        }
        assert_eq!(account.to_string().replace('-', "").parse(), Ok(account));
    }
}
