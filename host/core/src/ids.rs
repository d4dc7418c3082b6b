//! Identifiers of 32 bytes, each a type of its own so that none is taken for another.

macro_rules! bytes32 {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
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
    )*};
}

bytes32! {
    /// SHA-256 of a component's bytes: which plugin, exactly.
    Digest;
    /// Never repeats: H(tag ‖ plan hash ‖ all hellos in index order). Every proof of a session is bound to it.
    ExecutionId;
    /// H(n ‖ identity keys in index order): what material of a group of parties is kept under.
    GroupId;
}
