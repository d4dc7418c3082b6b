//! What a session asks the party's store about its peers: before it starts, and before the first message of one is delivered.

use std::collections::BTreeMap;

use quorate_backends::database::StoreError;
use quorate_core::PartyIndex;
use quorate_core::abort::{Abort, AbortCode};
use quorate_core::hello::SignedHello;
use quorate_party_store::PeerStanding;

use super::context::SessionContext;

/// A peer with which this party does not go on.
pub(super) struct PeerRefused {
    pub(super) peer: PartyIndex,
    pub(super) abort: Abort,
    /// What the peer has said itself and contradicts now: it may not know that it was set back.
    pub(super) shown: Option<SignedHello>,
}

/// Checks that no peer's state counter went back (rule 10): such a peer was restored from an old backup. And that no peer
/// has another database than before (rule 3): it may be a second process with the identity of the first.
pub(super) async fn check_peers(
    context: &SessionContext,
    hellos: &BTreeMap<PartyIndex, SignedHello>,
) -> Result<Option<PeerRefused>, StoreError> {
    let party = &context.party;
    for (&peer, hello) in hellos {
        let Some(key) = context.order().spec.party(peer) else { continue };
        let mut standing = party.store.check_peer(*key, hello, party.clock.seconds()).await?;
        // This party's operator has permitted its repair, which the claim has used.
        if standing == PeerStanding::OtherDatabase && context.order().operation.repairs(peer) {
            standing = party.store.accept_database(*key, hello, party.clock.seconds()).await?;
        }
        let (fault, shown) = match standing {
            PeerStanding::Current => continue,
            PeerStanding::WentBack => (
                "was set back to an earlier state: its operator and those of the others re-admit it",
                party.store.highest_hello(*key).await?,
            ),
            PeerStanding::OtherDatabase => (
                "has another database than before: its operator stops the second process with this identity; if the \
                 database is new on purpose, the operators of the others re-admit the party",
                None,
            ),
        };
        let reason = format!("party {peer} {fault}");
        let abort = Abort { culprits: vec![peer], ..Abort::of(AbortCode::PeerFault, reason) };
        return Ok(Some(PeerRefused { peer, abort, shown }));
    }
    Ok(None)
}

/// Asks the store once more, before the first message of a peer: another replica may have banned a party since.
pub(super) async fn check_bans(context: &SessionContext) -> Result<Option<Abort>, StoreError> {
    let parties = context.parties();
    let banned = context.party.store.banned(parties.account, parties.share_set, context.plan_hash).await?;
    let Some(&party) = banned.iter().find(|banned| parties.signers.contains(banned)) else {
        return Ok(None);
    };
    context.party.follow_ban(parties.banned(party));
    let reason = format!("party {party} was banned by another replica of this party");
    Ok(Some(Abort { culprits: vec![party], ..Abort::of(AbortCode::Ban, reason) }))
}
