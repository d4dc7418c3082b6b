//! The description that a component gives of itself, checked.

use quorate_core::Threshold;

use crate::bindings::exports::quorate::party::protocol as wit;
use crate::codes::PluginCodes;
use crate::needs::Needs;
use crate::operation::PluginOperation;

/// The identity and abilities of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The protocol's name: `dkls23`.
    pub id: String,
    /// Semantic version.
    pub version: String,
    /// Signature schemes it serves.
    pub schemes: Vec<String>,
    /// The operations that it implements.
    pub operations: Vec<PluginOperation>,
    /// The largest n.
    pub max_parties: u16,
    /// Share formats that it reads, ascending; the last is the one it writes.
    pub share_formats: Vec<u32>,
    /// How many signing sessions of one account may be open with one counterparty at a time; `None` under a protocol that
    /// bans nobody.
    pub open_signings: Option<u16>,
    /// The codes of its failures, notes and log lines.
    pub codes: PluginCodes,
    /// What its sessions need at most.
    pub needs: Needs,
}

/// Names and versions end up in file names, logs and answers: only plain ones are taken.
fn is_plain(text: &str, extra: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.as_bytes().contains(&b))
}

/// `1.2.3`, or `1.2.3-name` before a release (semver without build metadata).
fn is_version(text: &str) -> bool {
    let (numbers, name) = text.split_once('-').map_or((text, None), |(n, name)| (n, Some(name)));
    let parts: Vec<&str> = numbers.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|p| p.parse::<u32>().is_ok() && is_plain(p, ""))
        && name.is_none_or(|name| is_plain(name, "."))
}

pub(crate) fn check_descriptor(d: wit::Descriptor) -> Result<Descriptor, String> {
    if !is_plain(&d.id, "-") {
        return Err("its id is not 1 to 64 characters of a-z, 0-9 and -".into());
    }
    if !is_version(&d.version) {
        return Err("its version is not of the form 1.2.3 or 1.2.3-name".into());
    }
    if d.schemes.is_empty() || d.schemes.len() > 16 || !d.schemes.iter().all(|s| is_plain(s, "-")) {
        return Err("its schemes are not 1 to 16 plain names".into());
    }
    if !(2..=Threshold::MAX_PARTIES).contains(&d.max_parties) {
        return Err(format!("it serves up to {} parties", d.max_parties));
    }
    if d.share_formats.is_empty() || d.share_formats.len() > 64 || !d.share_formats.is_sorted() {
        return Err("its share formats are not a short ascending list".into());
    }
    if d.open_signings == Some(0) {
        return Err("it allows no signing session at all: give open-signings of 1 or more, or none".into());
    }
    let codes = PluginCodes::new(d.codes).ok_or("its codes are not at most 256 of 1..=65534, ascending")?;
    let operations: Vec<_> = PluginOperation::of_flags(d.operations).collect();
    let needs = Needs::new(&operations, &d.needs)?;
    Ok(Descriptor {
        id: d.id,
        version: d.version,
        schemes: d.schemes,
        operations,
        max_parties: d.max_parties,
        share_formats: d.share_formats,
        open_signings: d.open_signings,
        codes,
        needs,
    })
}
