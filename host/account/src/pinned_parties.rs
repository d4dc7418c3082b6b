//! The identities of parties that an account service knows.

use quorate_core::PartyIndex;
use quorate_core::code::Code;
use quorate_core::identity::PublicKey;
use quorate_net::problem::Problem;

/// The identity keys of parties, as the operator has pinned them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PinnedParties {
    /// The parties of this deployment, in index order. Orders may name them.
    pub(crate) current: Vec<PublicKey>,
    /// The party whose shares users keep, if there is one. Orders may name it.
    pub(crate) user: Option<PublicKey>,
    /// Identities that are no longer in use. Certificates that they have signed are still verified; no order names them.
    pub(crate) former: Vec<PublicKey>,
}

impl PinnedParties {
    fn is_current(&self, key: &PublicKey) -> bool {
        self.current.contains(key) || self.user.as_ref() == Some(key)
    }

    fn is_known(&self, key: &PublicKey) -> bool {
        self.is_current(key) || self.former.contains(key)
    }

    /// Refuses parties that are pinned neither as current nor as former.
    pub(crate) fn check_known(&self, parties: &[PublicKey]) -> Result<(), Problem> {
        refuse_first(
            parties,
            |key| self.is_known(key),
            |party| {
                format!(
                    "the identity of party {party} of this account is in none of QUORATE_PARTY_KEYS, QUORATE_USER_PARTY_KEY and \
                 QUORATE_FORMER_PARTY_KEYS: the operator adds it to the last"
                )
            },
        )
    }

    /// Refuses parties that no order may name.
    pub(crate) fn check_for_order(&self, parties: &[PublicKey]) -> Result<(), Problem> {
        refuse_first(
            parties,
            |key| self.is_current(key),
            |party| {
                format!(
                    "the identity of party {party} of this account is no longer in use here (QUORATE_PARTY_KEYS): ask the operator"
                )
            },
        )
    }
}

/// Refuses the first party whose key is not allowed.
fn refuse_first(
    parties: &[PublicKey],
    is_allowed: impl Fn(&PublicKey) -> bool,
    detail: impl Fn(PartyIndex) -> String,
) -> Result<(), Problem> {
    let all = PartyIndex::all(u16::try_from(parties.len()).unwrap_or(u16::MAX));
    match all.zip(parties).find(|(_, key)| !is_allowed(key)) {
        None => Ok(()),
        Some((party, _)) => Err(Problem::new(Code::Misconfigured, detail(party))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_parties_are_known_and_not_named_in_orders() {
        let [one, two, user, former, stranger] = [1, 2, 3, 4, 5].map(|byte| PublicKey([byte; 32]));
        let pinned = PinnedParties { current: vec![one, two], user: Some(user), former: vec![former] };
        pinned.check_known(&[one, two, user, former]).unwrap();
        assert_eq!(pinned.check_known(&[one, stranger]).unwrap_err().code, Code::Misconfigured);
        pinned.check_for_order(&[one, two, user]).unwrap();
        for other in [former, stranger] {
            let refused = pinned.check_for_order(&[one, other]).unwrap_err();
            assert!(refused.code == Code::Misconfigured && refused.detail.contains("party 2"), "{refused}");
        }
    }
}
