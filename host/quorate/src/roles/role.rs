//! The roles, by name.

/// A role that can be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The API that backends call.
    Account,
    /// Makes sessions out of orders.
    Coordinator,
    /// Carries messages between parties.
    Router,
    /// Holds one party's shares.
    Party,
    /// The users' party, and the API that their backends call.
    PartyApi,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Coordinator => "coordinator",
            Self::Router => "router",
            Self::Party => "party",
            Self::PartyApi => "party-api",
        }
    }
}
