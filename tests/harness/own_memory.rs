//! What a process still has in its memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use zeroize::Zeroize;

const MASK: u8 = 0xa5;

/// A secret in a form that a search of memory does not find.
pub struct MaskedSecret(Vec<u8>);

impl MaskedSecret {
    /// Masks a secret. The caller wipes its own copy.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(secret.iter().map(|byte| byte ^ MASK).collect())
    }

    /// The masked bytes as hex, for a child process.
    #[must_use]
    pub fn to_text(&self) -> String {
        hex::encode(&self.0)
    }

    /// Reads what [`Self::to_text`] wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(hex::decode(text).unwrap())
    }

    /// Writes the secret itself to where the caller will wipe it.
    pub fn reveal(&self, secret: &mut [u8]) {
        for (byte, masked) in secret.iter_mut().zip(&self.0) {
            *byte = masked ^ MASK;
        }
    }

    /// How often the secret occurs in this process's writable memory.
    #[must_use]
    pub fn copies_in_memory(&self) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut found = 0;
        // One buffer for all, wiped after each read: it must not be found itself.
        let mut buffer = vec![0_u8; 1 << 20];
        let buffer_at = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
        for line in maps.lines().filter(|l| l.split(' ').nth(1).is_some_and(|p| p.starts_with("rw"))) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            let mut at = from;
            while at < to {
                let want = usize::try_from((to - at).min(buffer.len() as u64)).unwrap();
                let Ok(got) = memory.read_at(&mut buffer[..want], at) else { break };
                let hits = self.positions(&buffer[..got]);
                found += hits.iter().filter(|&&hit| !buffer_at.contains(&(at + hit as u64))).count();
                buffer[..got].zeroize();
                // Overlap, so that nothing hides on a border.
                at += if got == want && want > self.0.len() && at + (want as u64) < to {
                    (want - self.0.len()) as u64
                } else {
                    want as u64
                };
            }
        }
        found
    }

    fn positions(&self, memory: &[u8]) -> Vec<usize> {
        let first = self.0[0] ^ MASK;
        let here = |window: &[u8]| window.iter().zip(&self.0).all(|(byte, masked)| *byte == masked ^ MASK);
        memory
            .windows(self.0.len())
            .enumerate()
            .filter(|(_, window)| window[0] == first && here(window))
            .map(|(position, _)| position)
            .collect()
    }
}
