//! Signing one item with exactly t parties: two point-to-point rounds and a broadcast.
//!
//! The library checks each pairwise multiplication and verifies the signature it has assembled; it does not count
//! the last round's messages, which [`Run`](quorate_plugin_sdk::Run) does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use dkls23_core::protocols::derivation::DerivData;
use dkls23_core::protocols::signing::{
    Broadcast3to4, KeepPhase1to2, KeepPhase2to3, SignData, TransmitPhase1to2, TransmitPhase2to3,
    UniqueKeep1to2, UniqueKeep2to3,
};
use dkls23_core::protocols::{Party, PartyIndex as LibraryIndex};
use dkls23_core::utilities::hashes::HashOutput;
use quorate_plugin_sdk::{
    Delivery, Failure, HashFunction, Host, Inbox, Message, Outbox, Outcome, PartyIndex, Roster, Rounds,
    SignItem, Signature, Slot,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::failure::{failure, library_index};
use crate::init::{between, send_each};
use crate::scheme::Curve;

#[derive(Serialize, Deserialize)]
struct First(TransmitPhase1to2);

impl Message for First {
    const ROUND: u16 = 1;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 32_000;

    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        between(&self.0.parties, from, to)
    }
}

#[derive(Serialize, Deserialize)]
struct Second(TransmitPhase2to3<Curve>);

impl Message for Second {
    const ROUND: u16 = 2;
    const DELIVERY: Delivery = Delivery::PointToPoint;
    const MAX_BYTES: usize = 64_000;

    fn is_between(&self, from: PartyIndex, to: PartyIndex) -> bool {
        between(&self.0.parties, from, to)
    }
}

#[derive(Serialize, Deserialize)]
struct Third(Broadcast3to4<Curve>);

impl Message for Third {
    const ROUND: u16 = 3;
    const DELIVERY: Delivery = Delivery::Broadcast;
    const MAX_BYTES: usize = 128;
}

type Kept1 = (UniqueKeep1to2<Curve>, BTreeMap<LibraryIndex, KeepPhase1to2<Curve>>);
type Kept2 = (UniqueKeep2to3<Curve>, BTreeMap<LibraryIndex, KeepPhase2to3<Curve>>);

/// The signing of one item at one party.
pub(crate) struct Sign {
    /// The party of the account's key, which all items share: it has 100 kB and more.
    account: Rc<Party<Curve>>,
    /// The child of the key that signs, if it is one.
    child: Option<DerivData<Curve>>,
    data: SignData,
    // Each is taken by the phase that consumes it: the library's kept data is single-use.
    kept1: Option<Kept1>,
    kept2: Option<Kept2>,
    kept3: Option<(String, Broadcast3to4<Curve>)>,
}

impl Sign {
    pub(crate) fn new(account: &Rc<Party<Curve>>, roster: &Roster, item: &SignItem) -> Result<Self, Failure> {
        if item.merkle_root.is_some() {
            return Err(Failure::InvalidTask("dkls23 knows no merkle root".into()));
        }
        if item.presignature.is_some() {
            return Err(Failure::InvalidTask("dkls23 has no presignatures".into()));
        }
        let message_hash = digest(item)?;
        let child = derive(account, &item.path)?;
        let counterparties = roster.peers().map(library_index).collect::<Result<_, _>>()?;
        let data = SignData { sign_id: roster.execution_id().to_vec(), counterparties, message_hash };
        Ok(Self { account: Rc::clone(account), child, data, kept1: None, kept2: None, kept3: None })
    }

    /// The party of the key that signs. Of a child it is made for each phase: 64 of them would take the memory of a session.
    fn party(&self) -> Cow<'_, Party<Curve>> {
        let Some(child) = &self.child else { return Cow::Borrowed(&self.account) };
        // Only the share, the key and the chain code differ: what the parties hold pairwise serves all child keys.
        let mut party = Party::clone(&self.account);
        party.poly_point = child.poly_point;
        party.pk = child.pk;
        party.derivation_data = child.clone();
        Cow::Owned(party)
    }
}

/// The digest to sign.
fn digest(item: &SignItem) -> Result<HashOutput, Failure> {
    let message = &item.message;
    Ok(match item.hash {
        HashFunction::None => message.as_slice().try_into().map_err(|_| {
            Failure::InvalidTask("a message without hash function is a 32-byte digest".into())
        })?,
        HashFunction::Keccak256 => Keccak256::digest(message).into(),
        HashFunction::Sha256 => Sha256::digest(message).into(),
        HashFunction::Sha256d => Sha256::digest(Sha256::digest(message)).into(),
    })
}

/// The child of the account's key at `path` (BIP-32, non-hardened); `None` for the key itself.
fn derive(account: &Party<Curve>, path: &[u32]) -> Result<Option<DerivData<Curve>>, Failure> {
    let mut derived: Option<DerivData<Curve>> = None;
    for &child in path {
        let parent = derived.as_ref().unwrap_or(&account.derivation_data);
        let child = parent.derive_child(child);
        derived = Some(child.map_err(|e| Failure::InvalidTask(format!("path: {}", e.description).into()))?);
    }
    Ok(derived)
}

impl Rounds for Sign {
    const SCHEDULE: &'static [Slot] = &[Slot::of::<First>(), Slot::of::<Second>(), Slot::of::<Third>()];

    fn begin(&mut self, _: &mut dyn Host, out: &mut Outbox) -> Result<(), Failure> {
        let (unique, kept, messages) = self.party().sign_phase1(&self.data).map_err(failure)?;
        self.kept1 = Some((unique, kept));
        send_each(messages, |m| m.parties.receiver, First, out)
    }

    fn round(
        &mut self,
        _: &mut dyn Host,
        round: u16,
        mut inbox: Inbox,
        out: &mut Outbox,
    ) -> Result<Option<Outcome>, Failure> {
        match round {
            1 => {
                let (unique, kept) = self.kept1.take().ok_or_else(out_of_order)?;
                let received: Vec<_> = inbox.take::<First>()?.into_values().map(|m| m.0).collect();
                let (unique, kept, messages) =
                    self.party().sign_phase2(&self.data, unique, kept, &received).map_err(failure)?;
                self.kept2 = Some((unique, kept));
                send_each(messages, |m| m.parties.receiver, Second, out)?;
                Ok(None)
            }
            2 => {
                let (unique, kept) = self.kept2.take().ok_or_else(out_of_order)?;
                let received: Vec<_> = inbox.take::<Second>()?.into_values().map(|m| m.0).collect();
                let (x, own) =
                    self.party().sign_phase3(&self.data, unique, kept, &received).map_err(failure)?;
                out.broadcast(&Third(own.clone()))?;
                self.kept3 = Some((x, own));
                Ok(None)
            }
            _ => {
                let (x, own) = self.kept3.take().ok_or_else(out_of_order)?;
                let received: Vec<_> =
                    inbox.take::<Third>()?.into_values().map(|m| m.0).chain([own]).collect();
                let (s, recovery_id) =
                    self.party().sign_phase4(&self.data, &x, &received, true).map_err(failure)?;
                let mut bytes = [0; 64];
                let (r_half, s_half) = bytes.split_at_mut(32);
                from_hex(&x, r_half)?;
                from_hex(&s, s_half)?;
                let signature = Signature { bytes, recovery_id: Some(recovery_id) };
                Ok(Some(Outcome::Signatures(vec![signature])))
            }
        }
    }
}

/// The library gives r and s as 64 hex digits.
fn from_hex(digits: &str, out: &mut [u8]) -> Result<(), Failure> {
    let bad = || Failure::Internal("the library's signature is not hex".into());
    if !digits.is_ascii() || digits.len() != out.len() * 2 {
        return Err(bad());
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    Ok(())
}

/// The rounds come in order and once each ([`Rounds`]), so this is never seen.
fn out_of_order() -> Failure {
    Failure::Internal("sign rounds out of order".into())
}
