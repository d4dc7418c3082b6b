//! The key with which an account signs now.

use quorate_core::certificate::{Certificate, KeyOutputs};

/// The key of an active account, and the certificate that made its shares active.
#[derive(Clone)]
pub(crate) struct CurrentKey {
    pub(crate) certificate: Certificate,
    pub(crate) outputs: KeyOutputs,
}
