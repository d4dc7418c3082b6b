//! Ids for what a request is about to make.

use quorate_core::codec::{decode, encode};
use quorate_core::{AccountId, OrderId};
use quorate_net::problem::Problem;

/// Ids for what a request is about to make. They are chosen and stored before it begins, so that an interrupted
/// request can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The account.
    pub account: AccountId,
    /// The order.
    pub order: OrderId,
    /// Whether another run of the request may have submitted the order already.
    pub resubmitted: bool,
}

impl RequestIds {
    /// Ids for an operation on an account: a new order id.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn for_account(account: AccountId) -> Result<Self, Problem> {
        Ok(Self { account, order: OrderId(random()?), resubmitted: false })
    }

    /// Ids for a new account: a new account id and a new order id.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn for_new_account() -> Result<Self, Problem> {
        Self::for_account(AccountId(uuid::Builder::from_random_bytes(random()?).into_uuid().into_bytes()))
    }

    /// The ids as bytes, to be stored with an idempotency key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&(self.account, self.order))
    }

    /// Reads the ids that an earlier run stored; `None` if they are malformed.
    #[must_use]
    pub fn of_earlier_run(bytes: &[u8]) -> Option<Self> {
        let (account, order) = decode(bytes).ok()?;
        Some(Self { account, order, resubmitted: true })
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let unavailable = |_| Problem::internal("the machine has no randomness");
    getrandom::fill(&mut bytes).map_err(unavailable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        let ids = RequestIds { account: AccountId([1; 16]), order: OrderId([2; 32]), resubmitted: true };
        assert_eq!(RequestIds::of_earlier_run(&ids.to_bytes()), Some(ids));
        assert_eq!(RequestIds::of_earlier_run(&[1; 47]), None);
    }
}
