//! Whether a party takes part in the repair of lost shares (rule 2).

use super::{Facts, Refused};
use crate::PartyIndex;
use crate::key_spec::KeyField;
use crate::order::Order;
use crate::plan::Plan;

impl Plan {
    /// Checks who helps, and that this party's operator has permitted the repair of each other party (rule 2): whoever takes part as
    /// one whose share is lost gets a share.
    pub(super) fn check_repair(
        &self,
        order: &Order,
        me: PartyIndex,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        let Some(repair) = order.operation.repair() else {
            let none = self.helpers.is_empty();
            return if none { Ok(()) } else { Err(Refused::Helpers("nothing is repaired")) };
        };
        let parties = order.spec.threshold.parties();
        let fits = |helper: &PartyIndex| helper.number() <= parties && !repair.is_target(*helper);
        if self.helpers.len() != usize::from(order.spec.threshold.required())
            || !self.helpers.is_sorted_by(|a, b| a < b)
            || !self.helpers.iter().all(fits)
        {
            return Err(Refused::Helpers("exactly t parties help that have their shares, ascending"));
        }
        let others = repair.others(&order.spec, me);
        let missing = others.iter().find(|(_, repaired)| !facts.repairable.contains(repaired));
        missing.map_or(Ok(()), |(party, _)| Err(Refused::RepairNotPermitted(*party)))
    }
}

/// Checks that this party has nothing of the share set in which its share is to be repaired. It may have an earlier one, from a backup.
pub(super) fn check_lost_share(order: &Order, facts: &Facts<'_>) -> Result<(), Refused> {
    let Some(record) = facts.record else { return Ok(()) };
    if record.epoch >= order.epoch {
        return Err(Refused::ShareNotLost);
    }
    // Identities of other parties may have been replaced since.
    let is_same = record.spec.is_of_same_key(&order.spec);
    if is_same { Ok(()) } else { Err(Refused::Contradicts(KeyField::Parties)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{Known, known, party, plan_of, record};
    use super::*;
    use crate::PlanHash;
    use crate::identity::PublicKey;
    use crate::key_record::KeyRecord;
    use crate::order::tests::{identities, repair, signing, terms};
    use crate::order::{Operation, Repair, RepairedParty};

    /// A plan for the repair of party 1, which has a new identity.
    fn plan() -> Plan {
        Plan { helpers: vec![party(2), party(3)], ..plan_of(terms(Operation::Repair(repair())), &[1, 2, 3]) }
    }

    /// What party 2 has stored with its share.
    fn before() -> KeyRecord {
        let Repair { outputs, targets, .. } = repair();
        let mut former = terms(signing()).spec;
        former.parties[0] = targets[0].former_identity;
        KeyRecord { spec: former, key: outputs, ..record() }
    }

    fn keys() -> Vec<PublicKey> {
        identities(3).iter().map(crate::identity::SecretKey::public).collect()
    }

    fn permitted() -> RepairedParty {
        RepairedParty { former: repair().targets[0].former_identity, identity: keys()[0] }
    }

    /// Party 2, whose operator has permitted the repair.
    fn helper() -> Known {
        Known { me: keys()[1], record: Some(before()), repairable: vec![permitted()], ..known() }
    }

    #[test]
    fn a_repair_is_admitted_by_all_that_have_their_shares_and_by_the_one_that_has_none() {
        helper().admit(&plan()).unwrap();
        let lost = Known { record: None, ..known() };
        assert_eq!(lost.admit(&plan()).unwrap().me, party(1));
        // An attempt before this one has come to a promise and to no certificate.
        Known { promised: true, ..lost }.admit(&plan()).unwrap();
        // Its database was restored from a backup of an earlier share set.
        let mut older = before();
        older.epoch = 0;
        let restored = Known { record: Some(older), share_set: Some(PlanHash([3; 32])), ..known() };
        restored.admit(&plan()).unwrap();
    }

    #[test]
    fn an_operator_permits_each_repair_of_another_party() {
        let refused = Known { repairable: vec![], ..helper() }.admit(&plan());
        assert_eq!(refused, Err(Refused::RepairNotPermitted(party(1))));
        // Of the identity that the party has now, in the place of the one that it had.
        let former = permitted().former;
        for other in [
            RepairedParty { former, identity: former },
            RepairedParty { former: keys()[0], identity: keys()[0] },
            RepairedParty { former: keys()[2], identity: keys()[0] },
        ] {
            let refused = Known { repairable: vec![other], ..helper() }.admit(&plan());
            assert_eq!(refused, Err(Refused::RepairNotPermitted(party(1))));
        }
        // The new identity must be pinned, as any.
        let refused = Known { pinned: vec![former, keys()[2]], ..helper() }.admit(&plan());
        assert_eq!(refused, Err(Refused::NotPinned(party(1))));
        // A ban bars a repair, unless it is lifted for the complete refresh that a repair is.
        let banned = Known { banned: vec![party(3)], ..helper() };
        assert_eq!(banned.admit(&plan()), Err(Refused::Banned(party(3))));
        Known { lifted: vec![party(3)], ..banned }.admit(&plan()).unwrap();
    }

    #[test]
    fn exactly_t_parties_help_that_have_their_shares() {
        for helpers in [&[2][..], &[3, 2], &[1, 2], &[2, 2], &[2, 4], &[1, 2, 3], &[]] {
            let plan = Plan { helpers: helpers.iter().copied().map(party).collect(), ..plan() };
            assert!(matches!(helper().admit(&plan), Err(Refused::Helpers(_))), "{helpers:?}");
        }
        let signing = Plan { helpers: vec![party(1)], ..plan_of(terms(signing()), &[1, 3]) };
        assert!(matches!(known().admit(&signing), Err(Refused::Helpers(_))));
    }

    #[test]
    fn only_the_share_set_that_a_party_has_is_repaired_and_only_for_one_that_lacks_it() {
        let mut newer = before();
        newer.epoch = 2;
        let has_it = Known { record: Some(before()), ..known() }.admit(&plan());
        assert_eq!(has_it, Err(Refused::ShareNotLost));
        let has_newer = Known { record: Some(newer), ..known() }.admit(&plan());
        assert_eq!(has_newer, Err(Refused::ShareNotLost));
        let mut other_identity = before();
        other_identity.spec.parties[0] = keys()[0];
        let mut other_point = before();
        other_point.key.verifying_shares[0].0[5] ^= 1;
        for (record, field) in [(other_identity, KeyField::Parties), (other_point, KeyField::PublicKey)] {
            let refused = Known { record: Some(record), ..helper() }.admit(&plan());
            assert_eq!(refused, Err(Refused::Contradicts(field)));
        }
        let other_set = Known { share_set: Some(PlanHash([3; 32])), ..helper() }.admit(&plan());
        assert_eq!(other_set, Err(Refused::Contradicts(KeyField::ShareSet)));
        let also_lost = Known { record: None, ..helper() }.admit(&plan());
        assert_eq!(also_lost, Err(Refused::ShareLost));
        // Without a repair an identity of the map never changes.
        let refresh = plan_of(terms(Operation::Refresh), &[1, 2, 3]);
        assert_eq!(helper().admit(&refresh), Err(Refused::Contradicts(KeyField::Parties)));
    }
}
