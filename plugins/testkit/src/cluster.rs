//! All parties of a key, and the network between them.

use std::collections::BTreeMap;

use quorate_plugin_sdk::{
    Delivery, Failure, Incoming, Outcome, Outgoing, PartyIndex, Protocol, PublicKeyInfo, Recipient,
    RepairTask, Roster, Session, State, Task,
};

use crate::MemoryHost;

/// How one party's session ended.
pub type Ended = Result<Outcome, Failure>;

/// A message on its way to one party. A test may change it, or drop it by returning `None`.
pub struct Hop {
    /// The receiver.
    pub to: PartyIndex,
    /// The message that arrives.
    pub message: Incoming,
}

/// All n parties of a key.
#[derive(Clone)]
pub struct Cluster {
    hosts: Vec<MemoryHost>,
    threshold: u16,
    sessions: u64,
}

impl Cluster {
    /// `parties` parties with empty vaults.
    #[must_use]
    pub fn new(threshold: u16, parties: u16) -> Self {
        let hosts = vec![MemoryHost::default(); parties.into()];
        Self { hosts, threshold, sessions: 0 }
    }

    /// The host of one party, from 1.
    pub fn host(&mut self, party: u16) -> &mut MemoryHost {
        &mut self.hosts[usize::from(party) - 1]
    }

    /// All indices.
    #[must_use]
    pub fn all(&self) -> Vec<u16> {
        (1..).take(self.hosts.len()).collect()
    }

    /// Takes from parties all that they had, and runs a session in which `helpers` give them their shares again.
    ///
    /// # Panics
    /// When a party fails or two outcomes differ.
    pub fn repair<P: Protocol>(
        &mut self,
        key: &PublicKeyInfo,
        targets: &[u16],
        helpers: &[u16],
    ) -> PublicKeyInfo {
        for target in targets {
            *self.host(*target) = MemoryHost::default();
        }
        match self.run::<P>(&self.all(), &repair_task(key, targets, helpers)) {
            Outcome::Repaired(repaired) => repaired,
            other => panic!("a repair ended as {other:?}"),
        }
    }

    /// Runs one session over an honest network. All signers end with the same outcome, which is returned; the
    /// hosts commit.
    ///
    /// # Panics
    /// When a party fails or two outcomes differ.
    pub fn run<P: Protocol>(&mut self, signers: &[u16], task: &Task) -> Outcome {
        let ended = self.run_with::<P>(signers, task, Some);
        assert!(ended.values().all(Result::is_ok), "a party failed: {ended:?}");
        let outcomes: Vec<_> = ended.into_values().flatten().collect();
        let same = outcomes.windows(2).all(|w| format!("{:?}", w[0]) == format!("{:?}", w[1]));
        assert!(same, "outcomes differ: {outcomes:?}");
        outcomes.into_iter().next().expect("a session has signers")
    }

    /// Runs one session over a network that passes every message through `bend`, and says how each party ended.
    /// A party that still waits when nothing moves any more has ended in a timeout, which is reported as an
    /// internal failure. A party that ended well commits, any other rolls back.
    ///
    /// # Panics
    /// When a roster is refused.
    pub fn run_with<P: Protocol>(
        &mut self,
        signers: &[u16],
        task: &Task,
        mut bend: impl FnMut(Hop) -> Option<Hop>,
    ) -> BTreeMap<u16, Ended> {
        self.sessions += 1;
        let mut execution_id = [0; 32];
        getrandom::fill(&mut execution_id).expect("the operating system has randomness");
        let n = u16::try_from(self.hosts.len()).expect("n is small");
        let mut ended = BTreeMap::new();
        let mut sessions: BTreeMap<u16, Box<dyn Session>> = BTreeMap::new();
        for &me in signers {
            let roster = Roster::new(me, signers, n, self.threshold, &[7; 32], &execution_id)
                .expect("the test's roster is valid");
            match P::start(self.host(me), roster, task.clone()) {
                Ok(session) => drop(sessions.insert(me, session)),
                Err(failure) => drop(ended.insert(me, Err(failure))),
            }
        }
        let mut queues: BTreeMap<u16, Vec<Incoming>> = BTreeMap::new();
        let mut moving = true;
        let mut due: Vec<u16> = signers.to_vec();
        while moving {
            moving = false;
            for me in std::mem::take(&mut due) {
                let Some(session) = sessions.get_mut(&me) else { continue };
                let incoming = queues.remove(&me).unwrap_or_default();
                moving = true;
                match session.step(&mut self.hosts[usize::from(me) - 1], incoming) {
                    Ok(progress) => {
                        for message in progress.outgoing {
                            for hop in fan_out(me, signers, message).into_iter().filter_map(&mut bend) {
                                queues.entry(hop.to.number()).or_default().push(hop.message);
                            }
                        }
                        match progress.state {
                            State::Waiting => {}
                            State::Again => due.push(me),
                            State::Done(outcome) => {
                                sessions.remove(&me);
                                self.host(me).commit();
                                ended.insert(me, Ok(outcome));
                            }
                        }
                    }
                    Err(failure) => {
                        sessions.remove(&me);
                        self.host(me).roll_back();
                        ended.insert(me, Err(failure));
                    }
                }
            }
            due.extend(queues.keys().filter(|me| sessions.contains_key(me)));
            due.sort_unstable();
            due.dedup();
        }
        for me in sessions.into_keys() {
            self.host(me).roll_back();
            ended.insert(me, Err(Failure::Internal("timeout".into())));
        }
        ended
    }
}

/// The repair of parties' shares of a key.
///
/// # Panics
/// When a party is 0.
#[must_use]
pub fn repair_task(key: &PublicKeyInfo, targets: &[u16], helpers: &[u16]) -> Task {
    let index = |party: &u16| PartyIndex::new(*party).expect("parties are not 0");
    let parties = |parties: &[u16]| parties.iter().map(index).collect();
    Task::Repair(RepairTask { targets: parties(targets), helpers: parties(helpers), outputs: key.outputs() })
}

fn fan_out(me: u16, signers: &[u16], message: Outgoing) -> Vec<Hop> {
    let Outgoing { round, to, payload } = message;
    let (receivers, delivery) = match to {
        Recipient::Party(party) => (vec![party], Delivery::PointToPoint),
        Recipient::Broadcast => (peers(me, signers), Delivery::Broadcast),
        Recipient::ReliableBroadcast => (peers(me, signers), Delivery::ReliableBroadcast),
    };
    let from = PartyIndex::new(me).expect("signers are not 0");
    receivers
        .into_iter()
        .map(|to| Hop { to, message: Incoming { round, from, delivery, payload: payload.clone() } })
        .collect()
}

fn peers(me: u16, signers: &[u16]) -> Vec<PartyIndex> {
    signers.iter().filter(|&&s| s != me).filter_map(|&s| PartyIndex::new(s)).collect()
}
