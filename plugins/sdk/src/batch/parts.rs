//! The messages of all items in a round to a receiver are one message: their payloads in the order of the items, each after its length
//! (4 bytes, big-endian). It travels in parts of 1 MiB, because a message of the contract has 2 MiB at most. A reliable broadcast is
//! one part, because the host delivers one of a sender in a round.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::{Delivery, Failure, Incoming, Outgoing, PartyIndex, Recipient, Slot};

/// Bytes of a message in each part but the last.
pub(super) const PART_BYTES: usize = 1 << 20;

/// What a message of one item has beside its payload, in bytes: the first byte of a part, and a length.
#[cfg(target_arch = "wasm32")]
pub(crate) const FRAMING_BYTES: u32 = 5;

/// The first byte of a part that another one of its message follows.
pub(super) const MORE: u8 = 1;

/// The first byte of the last part of a message.
pub(super) const LAST: u8 = 0;

/// Bytes of the length before each item's payload.
const LENGTH_BYTES: usize = 4;

type Payload = Zeroizing<Vec<u8>>;

/// Messages of which parts are missing.
pub(super) struct PartialMessages {
    schedule: Vec<Slot>,
    items: usize,
    parts: BTreeMap<(u16, Delivery, PartyIndex), Vec<Payload>>,
}

impl PartialMessages {
    /// An empty store for messages of so many items, with these slots.
    pub(super) fn new(schedule: &[Slot], items: usize) -> Self {
        Self { schedule: schedule.to_vec(), items, parts: BTreeMap::new() }
    }

    /// Takes in a part; gives the payload of every item once the message is complete.
    pub(super) fn accept(&mut self, part: Incoming) -> Result<Option<Vec<Payload>>, Failure> {
        let Incoming { round, from, delivery, payload } = part;
        let fault = |what: &str| Failure::fault(from, format!("{what} in round {round}"));
        let Some(slot) = self.schedule.iter().find(|s| (s.round(), s.delivery()) == (round, delivery)) else {
            return Err(fault("a message of no round or kind of the protocol"));
        };
        let may_have_more = delivery != Delivery::ReliableBroadcast && payload.len() == 1 + PART_BYTES;
        let is_last = match payload.first() {
            Some(&LAST) => true,
            Some(&MORE) if may_have_more => false,
            _ => return Err(fault("what is not a part of a message")),
        };
        let parts = self.parts.entry((round, delivery, from)).or_default();
        let longest = self.items.saturating_mul(slot.max_bytes().saturating_add(LENGTH_BYTES));
        let bytes: usize = parts.iter().chain([&payload]).map(|part| part.len() - 1).sum();
        if bytes > longest {
            return Err(fault("a message that is too long"));
        }
        parts.push(payload);
        if !is_last {
            return Ok(None);
        }
        let parts = self.parts.remove(&(round, delivery, from)).unwrap_or_default();
        let payloads = match parts.as_slice() {
            [only] => split(&only[1..], self.items),
            several => {
                let several: Vec<_> = several.iter().map(|part| &part[1..]).collect();
                split(&Zeroizing::new(several.concat()), self.items)
            }
        };
        payloads.map(Some).ok_or_else(|| fault("a message without one payload for each item"))
    }
}

/// The message of all items to a receiver, in parts.
pub(super) fn into_parts(round: u16, to: Recipient, payloads: &[Payload]) -> Result<Vec<Outgoing>, Failure> {
    let size = payloads.iter().map(|payload| LENGTH_BYTES + payload.len()).sum();
    let mut whole = Zeroizing::new(Vec::with_capacity(size));
    for payload in payloads {
        let length = u32::try_from(payload.len());
        let length = length.map_err(|_| Failure::Internal("a message of more than 4 GiB".into()))?;
        whole.extend_from_slice(&length.to_be_bytes());
        whole.extend_from_slice(payload);
    }
    let part_bytes = if to == Recipient::ReliableBroadcast { whole.len().max(1) } else { PART_BYTES };
    // A message of exactly so many parts ends with an empty one if it has none that is shorter.
    let mut parts = Vec::new();
    let mut rest = whole.as_slice();
    loop {
        let is_last = rest.len() < part_bytes || to == Recipient::ReliableBroadcast;
        let (bytes, later) = rest.split_at(part_bytes.min(rest.len()));
        let mut payload = Zeroizing::new(Vec::with_capacity(1 + bytes.len()));
        payload.push(if is_last { LAST } else { MORE });
        payload.extend_from_slice(bytes);
        parts.push(Outgoing { round, to, payload });
        if is_last {
            return Ok(parts);
        }
        rest = later;
    }
}

/// The payloads of so many items in a message; `None` if it has others.
fn split(mut whole: &[u8], items: usize) -> Option<Vec<Payload>> {
    let payloads = (0..items).map(|_| {
        let (length, rest) = whole.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        whole = rest;
        Some(Zeroizing::new(payload.to_vec()))
    });
    let payloads: Vec<_> = payloads.collect::<Option<_>>()?;
    whole.is_empty().then_some(payloads)
}
