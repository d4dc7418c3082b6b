//! The purpose of a deployment.

use std::str::FromStr;

/// `ENVIRONMENT`: what the deployment is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Evaluation: settings that are easy are allowed.
    #[default]
    Development,
    /// For keys that matter.
    Production,
}

impl FromStr for Environment {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            _ => Err(()),
        }
    }
}

/// Whether a secret was never chosen: it is from an example, or one character repeated.
pub(crate) fn is_example(secret: &str) -> bool {
    let mut characters = secret.chars();
    let first = characters.next();
    secret.starts_with("change-me") || characters.all(|character| Some(character) == first)
}
