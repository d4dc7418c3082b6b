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

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
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
