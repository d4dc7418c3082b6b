//! The party API: makes users' shares and hands them over, and signs with shares that users bring. It keeps none of
//! them.
//!
//! Users' backends call it over HTTP (`routes`) to get a share and to confirm it; the account service calls it over
//! gRPC (`service`) with what users seal for it. What it does with a plan is in `user`.

mod grpc;
mod http;
mod sealing_key_view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use quorate_net::web::body::BodyRoom;

use crate::user::shares::UserShares;

pub use grpc::service;
pub use http::routes;
pub use sealing_key_view::{MalformedSealingKey, SealingKeyView};

/// The party API. Clones share it.
#[derive(Clone)]
pub struct PartyApi(Arc<PartyApiState>);

struct PartyApiState {
    shares: Arc<UserShares>,
    /// How long each key is given out to which users seal their shares.
    sealing_key_period: Duration,
    /// Whether shares are handed out unsealed to callers that give no key.
    unsealed: bool,
    /// The room for the bodies of requests.
    bodies: BodyRoom,
}

impl FromRef<PartyApi> for BodyRoom {
    fn from_ref(api: &PartyApi) -> Self {
        api.0.bodies.clone()
    }
}

impl PartyApi {
    /// A party API.
    #[must_use]
    pub fn new(shares: Arc<UserShares>, sealing_key_period: Duration, unsealed: bool) -> Self {
        let bodies = BodyRoom::default();
        Self(Arc::new(PartyApiState { shares, sealing_key_period, unsealed, bodies }))
    }
}
