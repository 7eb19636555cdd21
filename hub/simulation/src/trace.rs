//! What happened, as lines, and their digest: two runs are the same if their digests are.

use std::fmt::Write as _;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Something happened.
    pub(crate) fn say(&mut self, now: u64, who: &str, what: impl AsRef<str>) {
        self.lines.push(format!("{:>9.3} s  {who:<8} {}", now as f64 / 1000.0, what.as_ref()));
    }

    /// A digest of all lines.
    #[must_use]
    pub(crate) fn digest(&self) -> u64 {
        let bytes = self.lines.iter().flat_map(|line| line.bytes().chain(std::iter::once(b'\n')));
        bytes.fold(BASIS, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(PRIME))
    }

    /// The lines that name one of these, and the last ones before the end; short enough to be read.
    #[must_use]
    pub(crate) fn story(&self, about: &[String], most: usize) -> String {
        let told: Vec<&String> =
            self.lines.iter().filter(|line| about.is_empty() || about.iter().any(|word| line.contains(word))).collect();
        let left_out = told.len().saturating_sub(most);
        let mut story = String::new();
        if left_out > 0 {
            let _ = writeln!(story, "  … {left_out} earlier lines");
        }
        for line in told.into_iter().skip(left_out) {
            let _ = writeln!(story, "  {line}");
        }
        story
    }
}
