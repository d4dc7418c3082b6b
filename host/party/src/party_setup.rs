//! The settings and services that a party is made of.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use quorate_backends::cache::Cache;
use quorate_core::identity::PublicKey;
use quorate_core::order::Version;
use quorate_net::clock::Clock;
use quorate_net::router_client::RouterClient;
use quorate_party_store::PartyStore;
use quorate_runtime::PluginText;
use zeroize::Zeroizing;

/// The settings and services of a [`Party`](crate::Party).
pub struct PartySetup {
    /// The seed of its identity key.
    pub seed: Zeroizing<[u8; 32]>,
    /// The originator keys whose orders it takes.
    pub originators: Vec<PublicKey>,
    /// Which parties it works with.
    pub pinned: Vec<PublicKey>,
    /// The oldest version of each protocol's plugin that it runs, by the protocol's name.
    pub minimum_plugins: BTreeMap<String, Version>,
    /// The durable state of the party.
    pub store: PartyStore,
    /// The name of this replica: no other process of this party that runs has it.
    pub replica: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The router.
    pub router: RouterClient,
    /// Where values are kept for components, perhaps.
    pub cache: Arc<dyn Cache>,
    /// Whether the texts of plugins are kept. In production nothing is told of them but codes.
    pub plugin_texts: PluginText,
    /// How often it signs with an account in a day (UTC); `None`: as often as orders come. A party counts for itself: neither the
    /// account service nor a coordinator can raise it.
    pub signatures_per_day: Option<NonZeroU32>,
}
