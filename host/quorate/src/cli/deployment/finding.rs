//! The findings of a check: the fault, the actor who can mend it, and the remedy.

use std::fmt;

use crate::cli::output::CliError;

/// Whether a finding stops the deployment from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It keeps the deployment from starting until it is mended.
    Refused,
    /// The deployment can start.
    Note,
}

/// The person who can mend a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// The operator, who has `.env` and `secrets/`.
    Operator,
    /// The administrator of the machine, who may install programs and configure the engine.
    MachineAdministrator,
    /// The operator of the party that owns a database.
    PartyOperator(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("the operator of this deployment"),
            Self::MachineAdministrator => f.write_str("the administrator of this machine"),
            Self::PartyOperator(database) => write!(f, "the operator of the party with {database}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The fault. It names settings and files, and shows no secret.
    pub(crate) what: String,
    /// The person who can mend it.
    pub(crate) who: Actor,
    /// The remedy, as an imperative.
    pub(crate) remedy: String,
}

impl Finding {
    /// Something that the operator must mend before anything is started.
    pub(crate) fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Refused, what: what.into(), who: Actor::Operator, remedy: remedy.into() }
    }

    /// Something that the operator should know.
    pub(crate) fn note(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::refused(what, remedy) }
    }

    /// The same finding, for someone else to mend.
    pub(crate) fn for_actor(self, who: Actor) -> Self {
        Self { who, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Refused => "refused",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}\n  {}: {}", self.what, self.who, self.remedy)
    }
}

/// Prints findings to standard error.
///
/// # Errors
/// When one of them stops the deployment.
#[allow(clippy::print_stderr)]
pub(crate) fn report(findings: &[Finding]) -> Result<(), CliError> {
    for finding in findings {
        eprintln!("{finding}");
    }
    let refused = findings.iter().filter(|finding| finding.severity == Severity::Refused).count();
    match refused {
        0 => Ok(()),
        1 => Err("one finding must be mended first".into()),
        _ => Err(format!("{refused} findings must be mended first").into()),
    }
}

/// Returns the faults without their remedies.
#[cfg(test)]
pub(crate) fn what(findings: &[Finding]) -> String {
    let what: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
    what.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_is_wrong_and_who_does_what() {
        let finding = Finding::refused("PORT is not a number", "give a number");
        assert_eq!(
            finding.to_string(),
            "refused: PORT is not a number\n  the operator of this deployment: give a number"
        );
        let note = Finding::note("an old engine", "update it").for_actor(Actor::MachineAdministrator);
        assert_eq!(note.to_string(), "note: an old engine\n  the administrator of this machine: update it");
    }

    #[test]
    fn only_a_refusal_fails_the_check() {
        let (note, refused) = (Finding::note("a", "b"), Finding::refused("c", "d"));
        assert!(report(&[]).is_ok() && report(std::slice::from_ref(&note)).is_ok());
        assert!(report(&[note, refused]).is_err());
    }
}
