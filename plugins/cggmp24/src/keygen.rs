//! Key generation, and the auxiliary data of a group of parties.

use cggmp24::key_share::AuxInfo;
use cggmp24::supported_curves::Secp256k1;
use cggmp24::{ExecutionId, IncompleteKeyShare};
use quorate_plugin_sdk::round_based::{Layout, Machine};
use quorate_plugin_sdk::{
    Delivery, Failure, Host, OldRng, Outcome, PublicKeyInfo, Roster, Scope, Session, Slot,
};
use round_based::state_machine::wrap_protocol;

use crate::library::{FORMAT, MESSAGE_BYTES, SCHEME, Toy, from_json, to_json};

const KEYGEN: Layout = &[
    (0, Slot::new(1, Delivery::ReliableBroadcast, MESSAGE_BYTES)),
    (1, Slot::new(2, Delivery::Broadcast, MESSAGE_BYTES)),
    (2, Slot::new(2, Delivery::PointToPoint, MESSAGE_BYTES)),
    (3, Slot::new(3, Delivery::Broadcast, MESSAGE_BYTES)),
];

const AUXILIARY: Layout = &[
    (0, Slot::new(1, Delivery::ReliableBroadcast, MESSAGE_BYTES)),
    (1, Slot::new(2, Delivery::Broadcast, MESSAGE_BYTES)),
    (2, Slot::new(3, Delivery::PointToPoint, MESSAGE_BYTES)),
];

pub(crate) fn keygen(roster: &Roster) -> Result<Box<dyn Session>, Failure> {
    roster.require_all()?;
    let (i, n, t) = (roster.me().number() - 1, roster.parties(), roster.threshold());
    let id = *roster.execution_id();
    let machine = wrap_protocol(move |party| async move {
        cggmp24::keygen::<Secp256k1>(ExecutionId::new(&id), i, n)
            .set_threshold(t)
            .set_security_level::<Toy>()
            .enforce_reliable_broadcast(false)
            .start(&mut OldRng, party)
            .await
    });
    Ok(Box::new(Machine::new(roster, KEYGEN, machine, Box::new(|share, host| finish(share, host)))))
}

fn finish<E: std::fmt::Debug>(
    share: Result<IncompleteKeyShare<Secp256k1>, E>,
    host: &mut dyn Host,
) -> Result<Outcome, Failure> {
    let share = share.map_err(|e| blame(&e))?;
    host.vault_put(Scope::Key, "share", &to_json(&share)?)?;
    Ok(Outcome::Key(PublicKeyInfo {
        scheme: SCHEME.into(),
        public_key: share.shared_public_key.to_bytes(true).to_vec(),
        chain_code: None,
        verifying_shares: share.public_shares.iter().map(|p| p.to_bytes(true).to_vec()).collect(),
        share_format: FORMAT,
    }))
}

pub(crate) fn auxiliary(host: &mut dyn Host, roster: &Roster) -> Result<Box<dyn Session>, Failure> {
    roster.require_all()?;
    let names = host.vault_list(Scope::Party, "primes-", 1)?;
    let primes = match names.first() {
        Some(name) => host.vault_take(Scope::Party, name)?,
        None => None,
    };
    let primes = primes.ok_or_else(|| Failure::InvalidTask("the prime pool is empty".into()))?;
    let primes = from_json::<cggmp24::PregeneratedPrimes<Toy>>(&primes)?;
    let (i, n) = (roster.me().number() - 1, roster.parties());
    let id = *roster.execution_id();
    let machine = wrap_protocol(move |party| async move {
        cggmp24::aux_info_gen::<Toy>(ExecutionId::new(&id), i, n, primes)
            .enforce_reliable_broadcast(false)
            .start(&mut OldRng, party)
            .await
    });
    let finish = |aux: Result<AuxInfo<Toy>, _>, host: &mut dyn Host| {
        let aux = aux.map_err(|e| blame(&e))?;
        host.vault_put(Scope::Group, "aux", &to_json(&aux)?)?;
        Ok(Outcome::Prepared)
    };
    Ok(Box::new(Machine::new(roster, AUXILIARY, machine, Box::new(finish))))
}

/// The library keeps the party that it blames private: a real plugin has to find it in the error's text.
pub(crate) fn blame<E: std::fmt::Debug>(error: &E) -> Failure {
    Failure::Fault {
        culprits: vec![],
        ban: false,
        detail: format!("{error:?}").chars().take(200).collect::<String>().into(),
    }
}
