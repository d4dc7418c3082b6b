//! Signing with exactly t parties.

use cggmp24::generic_ec::Scalar;
use cggmp24::key_share::AuxInfo;
use cggmp24::supported_curves::Secp256k1;
use cggmp24::{ExecutionId, IncompleteKeyShare, KeyShare, PrehashedDataToSign, SigningError};
use quorate_plugin_sdk::round_based::{Layout, Machine};
use quorate_plugin_sdk::{
    Batch, Delivery, Failure, HashFunction, Host, OldRng, Outcome, Roster, Scope, Session, SignItem,
    SignTask, Signature, Slot,
};
use round_based::state_machine::wrap_protocol;

use crate::keygen::blame;
use crate::library::{MESSAGE_BYTES, Toy, from_json};

const SIGN: Layout = &[
    (0, Slot::new(1, Delivery::ReliableBroadcast, MESSAGE_BYTES)),
    (1, Slot::new(1, Delivery::PointToPoint, MESSAGE_BYTES)),
    (2, Slot::new(2, Delivery::PointToPoint, MESSAGE_BYTES)),
    (3, Slot::new(3, Delivery::Broadcast, MESSAGE_BYTES)),
    (4, Slot::new(4, Delivery::Broadcast, MESSAGE_BYTES)),
];

pub(crate) fn sign(
    host: &mut dyn Host,
    roster: &Roster,
    task: &SignTask,
) -> Result<Box<dyn Session>, Failure> {
    roster.require_threshold()?;
    let schedule: Vec<_> = SIGN.iter().map(|&(_, slot)| slot).collect();
    let batch = Batch::new(roster, task, &schedule, |roster, item| sign_item(host, roster, item))?;
    Ok(Box::new(batch))
}

fn sign_item(host: &dyn Host, roster: &Roster, item: &SignItem) -> Result<Box<dyn Session>, Failure> {
    if item.hash != HashFunction::None
        || item.message.len() != 32
        || !item.path.is_empty()
        || item.merkle_root.is_some()
    {
        return Err(Failure::InvalidTask("the skeleton signs 32-byte digests with the account's key".into()));
    }
    let entry = |scope, name| {
        host.vault_get(scope, name)?
            .ok_or_else(|| Failure::InvalidShare(format!("the vault has no `{name}`").into()))
    };
    let core: IncompleteKeyShare<Secp256k1> = from_json(&entry(Scope::Key, "share")?)?;
    let aux: AuxInfo<Toy> = from_json(&entry(Scope::Group, "aux")?)?;
    let share =
        KeyShare::from_parts((core, aux)).map_err(|e| Failure::InvalidShare(format!("{e:?}").into()))?;
    let at_keygen: Vec<u16> = roster.signers().iter().map(|s| s.number() - 1).collect();
    let position = roster.signers().iter().position(|&s| s == roster.me());
    let i = position
        .and_then(|p| u16::try_from(p).ok())
        .ok_or_else(|| Failure::Internal("this party is not a signer".into()))?;
    let digest =
        PrehashedDataToSign::from_scalar(Scalar::<Secp256k1>::from_be_bytes_mod_order(&item.message));
    let id = *roster.execution_id();
    let machine = wrap_protocol(move |party| async move {
        cggmp24::signing(ExecutionId::new(&id), i, &at_keygen, &share)
            .enforce_reliable_broadcast(false)
            .sign(&mut OldRng, party, &digest)
            .await
    });
    let finish = |signature: Result<cggmp24::Signature<Secp256k1>, SigningError>, _: &mut dyn Host| {
        let mut bytes = [0; 64];
        signature.map_err(|e| blame(&e))?.normalize_s().write_to_slice(&mut bytes);
        Ok(Outcome::Signatures(vec![Signature { bytes, recovery_id: None }]))
    };
    Ok(Box::new(Machine::new(roster, SIGN, machine, Box::new(finish))))
}
