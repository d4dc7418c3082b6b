//! Text that commands read.

use std::io::Read;

use zeroize::Zeroizing;

use super::output::CliError;

/// The most bytes of API keys.
pub(crate) const MAX_API_KEYS_BYTES: u64 = 1 << 16;

/// Reads a source whole; it may hold a secret.
///
/// # Errors
/// It can't be read, is not text, or is longer than `most` bytes.
pub(crate) fn read_text(source: impl Read, most: u64) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    let bytes = source.take(most + 1).read_to_string(&mut text)?;
    if bytes as u64 > most {
        return Err(format!("the input is too long: more than {most} bytes").into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_up_to_its_bound() {
        assert_eq!(read_text(&b"text\n"[..], 5).unwrap().as_str(), "text\n");
        assert!(read_text(&b"text\n"[..], 4).is_err());
        assert!(read_text(&[0xff][..], 4).is_err());
    }
}
