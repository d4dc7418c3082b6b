//! The state of a coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_backends::queue::Queue;
use quorate_control_store::SessionStore;
use quorate_core::identity::PublicKey;
use quorate_net::clock::Clock;
use quorate_net::join_token::JoinKey;

use super::bans::Bans;
use super::erasures::Erasures;
use super::in_flight::InFlight;
use super::open_signings::OpenSignings;
use super::outbox::Outbox;
use super::presence::Presence;
use super::presignatures::Presignatures;
use super::reports::Reports;
use super::services::Services;

/// The settings and services of a [`Coordinator`](super::Coordinator).
pub struct CoordinatorSetup {
    /// Where sessions are kept.
    pub store: SessionStore,
    /// Where plans go.
    pub queue: Arc<dyn Queue>,
    /// The originator keys whose orders it carries out.
    pub originators: Vec<PublicKey>,
    /// The identity keys of all parties, the users' party included.
    pub parties: Vec<PublicKey>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The key that signs join tokens, with which parties enter sessions at the routers.
    pub key: JoinKey,
    /// Whether parties that seal with the same master key are left out.
    pub require_distinct_master_keys: bool,
}

/// The state of a coordinator.
pub(super) struct CoordinatorState {
    pub(super) services: Services,
    pub(super) presence: Presence,
    pub(super) presignatures: Presignatures,
    pub(super) bans: Arc<Bans>,
    pub(super) open_signings: OpenSignings,
    pub(super) outbox: Outbox,
    pub(super) reports: Arc<Reports>,
    pub(super) erasures: Arc<Erasures>,
    pub(super) in_flight: InFlight,
    rotation: AtomicU64,
}

impl CoordinatorState {
    pub(super) fn new(setup: CoordinatorSetup) -> Self {
        let CoordinatorSetup { store, queue, originators, parties, clock, key, require_distinct_master_keys } =
            setup;
        let services = Services { store, queue, originators: originators.into(), clock };
        let erasures = Arc::new(Erasures::new(services.clone()));
        let bans = Arc::new(Bans::new(services.clone()));
        Self {
            presence: Presence::new(parties, require_distinct_master_keys),
            presignatures: Presignatures::default(),
            open_signings: OpenSignings::default(),
            outbox: Outbox::new(services.clone(), key),
            reports: Arc::new(Reports::new(services.clone(), Arc::clone(&erasures), Arc::clone(&bans))),
            erasures,
            bans,
            in_flight: InFlight::default(),
            rotation: AtomicU64::new(0),
            services,
        }
    }

    /// A number that grows with every call. It spreads work over quorums that are equally good.
    pub(super) fn next_rotation(&self) -> u64 {
        self.rotation.fetch_add(1, Ordering::Relaxed)
    }
}
