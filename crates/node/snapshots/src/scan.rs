//! Looks for secrets in what was captured: a value that must be in no snapshot and is found in
//! one makes the capture fail, loudly.
//!
//! Found are values as they are (UTF-8, as Python, libc and most others hold them), as two-byte
//! text (as V8 and the JVM hold what is no Latin-1) and within base64 of either alignment, which is
//! how headers carry them. What a program has encrypted, compressed or cut apart is not found.

use std::io::{self, Read};

use aho_corasick::AhoCorasick;

/// Shortest secret that can be looked for: anything shorter is in every image by chance.
pub const MIN_SECRET_BYTES: usize = 8;
/// Bytes looked at once.
const PIECE: usize = 1 << 20;

/// Why there is no scanner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A secret that would be found everywhere.
    #[error(
        "the secret {0} is shorter than {MIN_SECRET_BYTES} bytes, so no snapshot can be checked for it"
    )]
    TooShort(String),
    /// Too many or too long.
    #[error("there are too many secrets to look for")]
    TooMany,
}

/// Where a secret was found. The value itself is told to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The secret's name.
    pub name: String,
    /// Offset in bytes.
    pub offset: u64,
}

/// Looks for a set of secrets.
#[derive(Debug)]
pub struct Scanner {
    automaton: AhoCorasick,
    /// The name of the secret of each pattern.
    names: Vec<String>,
    /// Bytes of the longest pattern.
    longest: usize,
}

impl Scanner {
    /// A scanner for these names and values.
    ///
    /// # Errors
    /// When a value is too short to be looked for.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ScanError> {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for (name, value) in secrets {
            if value.len() < MIN_SECRET_BYTES {
                return Err(ScanError::TooShort(name.to_owned()));
            }
            let wide: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut forms = vec![value.as_bytes().to_vec(), wide];
            forms.extend((0..3).map(|shift| base64_within(value.as_bytes(), shift)));
            names.extend(forms.iter().map(|_| name.to_owned()));
            patterns.extend(forms);
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = AhoCorasick::new(&patterns).map_err(|_| ScanError::TooMany)?;
        Ok(Self {
            automaton,
            names,
            longest,
        })
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The first secret in what `from` yields.
    pub fn find(&self, mut from: impl Read) -> io::Result<Option<Finding>> {
        if self.is_empty() {
            return Ok(None);
        }
        // What may be the start of a secret is kept for the next piece.
        let mut held: Vec<u8> = Vec::with_capacity(PIECE + self.longest);
        let mut start = 0u64;
        loop {
            let kept = held.len();
            let count = from.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
            if let Some(found) = self.automaton.find(&held) {
                let name = self.names.get(found.pattern().as_usize()).cloned();
                return Ok(Some(Finding {
                    name: name.unwrap_or_default(),
                    offset: start.saturating_add(found.start() as u64),
                }));
            }
            if count == 0 {
                return Ok(None);
            }
            let done = (kept + count).saturating_sub(self.longest.saturating_sub(1));
            held.drain(..done);
            start = start.saturating_add(done as u64);
        }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The digits of base64 that depend on `value` alone when `shift` (0 to 2) bytes come before it.
fn base64_within(value: &[u8], shift: usize) -> Vec<u8> {
    let bit = |at: usize| {
        let byte = (at / 8).checked_sub(shift).and_then(|at| value.get(at));
        byte.map(|byte| usize::from(byte >> (7 - at % 8) & 1))
    };
    let digits = (shift + value.len()) * 8 / 6;
    (0..digits)
        .filter_map(|digit| {
            let bits = (0..6).map(|at| bit(digit * 6 + at));
            let index = bits.reduce(|all, bit| Some(all? << 1 | bit?))??;
            ALPHABET.get(index).copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner() -> Scanner {
        Scanner::new([("TOKEN", "s3cr3t-value"), ("OTHER", "grüße-aus-ü")]).unwrap()
    }

    fn found(bytes: &[u8]) -> Option<(String, u64)> {
        let found = scanner().find(bytes).unwrap();
        found.map(|finding| (finding.name, finding.offset))
    }

    #[test]
    fn each_form_is_found_wherever_it_lies() {
        assert_eq!(found(b"nothing here"), None);
        let wide: Vec<u8> = "grüße-aus-ü"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (form, name) in [
            (b"s3cr3t-value".to_vec(), "TOKEN"),
            ("grüße-aus-ü".as_bytes().to_vec(), "OTHER"),
            (wide, "OTHER"),
        ] {
            for at in [
                0,
                1,
                PIECE - 3,
                PIECE,
                2 * PIECE - form.len(),
                3 * PIECE + 7,
            ] {
                let mut image = vec![b'.'; 4 * PIECE];
                image[at..at + form.len()].copy_from_slice(&form);
                assert_eq!(found(&image), Some((name.to_owned(), at as u64)));
            }
        }
    }

    #[test]
    fn base64_of_any_alignment_is_found() {
        // base64 of "user:s3cr3t-value", "a:s3cr3t-value!" and "ab:s3cr3t-value", by coreutils.
        for text in [
            "Authorization: Basic dXNlcjpzM2NyM3QtdmFsdWU=",
            "Basic YTpzM2NyM3QtdmFsdWUh",
            "YWI6czNjcjN0LXZhbHVl",
        ] {
            assert_eq!(
                found(text.as_bytes()).map(|(name, _)| name).as_deref(),
                Some("TOKEN"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_short_to_look_for_is_refused() {
        let short = Scanner::new([("PIN", "1234")]);
        assert_eq!(short.unwrap_err(), ScanError::TooShort("PIN".into()));
        assert!(Scanner::new([]).unwrap().find(&b"x"[..]).unwrap().is_none());
    }
}
