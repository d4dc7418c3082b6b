//! What a check finds: what is wrong, who can mend it, and how.

use std::fmt;

/// Whether a finding stops the deployment from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing is started until it is mended.
    Refused,
    /// The deployment can start.
    Note,
}

/// Who can mend a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Who has `.env` and `secrets/`.
    Operator,
    /// Who may install programs on the machine and configure its engine.
    MachineAdministrator,
    /// Who runs the party that owns a database.
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
    /// What is wrong. It names settings and files, and shows no secret.
    pub(crate) what: String,
    /// Who can mend it.
    pub(crate) who: Actor,
    /// What to do, as an imperative.
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

/// The findings of a check, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Prints all findings to standard error.
    ///
    /// # Errors
    /// When one of them stops the deployment.
    #[allow(clippy::print_stderr)]
    pub(crate) fn report(&self) -> Result<(), crate::cli::Failure> {
        for finding in &self.0 {
            eprintln!("{finding}");
        }
        let refused = self.0.iter().filter(|finding| finding.severity == Severity::Refused).count();
        match refused {
            0 => Ok(()),
            1 => Err("one finding must be mended first".into()),
            _ => Err(format!("{refused} findings must be mended first").into()),
        }
    }
}

impl Extend<Finding> for Findings {
    fn extend<I: IntoIterator<Item = Finding>>(&mut self, findings: I) {
        self.0.extend(findings);
    }
}

#[cfg(test)]
impl Findings {
    /// What is wrong, without what to do.
    pub(crate) fn what(&self) -> Vec<&str> {
        self.0.iter().map(|finding| finding.what.as_str()).collect()
    }
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
        let mut findings = Findings::default();
        findings.push(Finding::note("a", "b"));
        assert!(findings.report().is_ok());
        findings.push(Finding::refused("c", "d"));
        assert!(findings.report().is_err());
    }
}
