//! Erasure certificates: the word of all parties of an account that its current share set is active, for the plans that name it.

use std::collections::HashMap;

use parking_lot::Mutex;
use quorate_backends::database::StoreError;
use quorate_core::PlanHash;
use quorate_core::acknowledgement::ErasureCertificate;
use quorate_core::order::Order;
use quorate_core::report::{Outcome, Report};
use quorate_net::telemetry::chain;

use super::services::Services;

/// How many certificates are remembered. When they are more, all are read anew.
const MAX_REMEMBERED: usize = 4_096;

/// Collects acknowledgements from reports.
pub(super) struct Erasures {
    services: Services,
    complete: Mutex<HashMap<PlanHash, ErasureCertificate>>,
}

impl Erasures {
    pub(super) fn new(services: Services) -> Self {
        Self { services, complete: Mutex::default() }
    }

    /// Keeps the acknowledgements of a report about an order, whose certificate is verified.
    pub(super) async fn take(&self, order: &Order, report: &Report) -> Result<(), StoreError> {
        let Outcome::Activated { certificate, .. } = &report.outcome else { return Ok(()) };
        let of = &certificate.activation;
        for acknowledgement in &report.acknowledgements {
            let key = order.spec.party(acknowledgement.by);
            if acknowledgement.plan == of.plan && key.is_some_and(|key| acknowledgement.verify(key).is_ok()) {
                self.services.store.add_acknowledgement(of, acknowledgement).await?;
            }
        }
        Ok(())
    }

    /// The certificate for the share set that an order names, if all its parties have acknowledged it.
    pub(super) async fn of(&self, order: &Order) -> Option<ErasureCertificate> {
        let share_set = order.share_set?;
        if let Some(certificate) = self.complete.lock().get(&share_set) {
            return Some(certificate.clone());
        }
        let acknowledgements = match self.services.store.acknowledgements(share_set).await {
            Ok(acknowledgements) => acknowledgements,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "failed to read the acknowledgements of a share set");
                return None;
            }
        };
        let certificate = ErasureCertificate::of(share_set, &acknowledgements, &order.former_spec().parties)?;
        let mut complete = self.complete.lock();
        if complete.len() >= MAX_REMEMBERED {
            complete.clear();
        }
        complete.insert(share_set, certificate.clone());
        Some(certificate)
    }
}
