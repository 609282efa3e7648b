//! The name of a snapshot: a hash of everything that went into it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a snapshot by its content: 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SnapshotKey(String);

impl SnapshotKey {
    /// Reads a key; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SnapshotKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no snapshot key"))
    }
}

/// What a snapshot is made of. Two snapshots with equal parts can stand for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyParts {
    /// Code and configuration: the node's revision, or for a template of a runtime its name.
    pub subject: String,
    /// SHA-256 of the function's archive; empty for a template.
    pub code: String,
    /// The program with its arguments and the variables that are in the image, as `NAME=value`.
    pub program: Vec<String>,
    /// Limits and root file system, in any form that is the same for the same.
    pub sandbox: String,
    /// Digests of what the root file system is made of, and of the runtime's own files.
    pub images: Vec<String>,
    /// Version of the kernel's saved state.
    pub state_version: u32,
    /// What the processor offers to the guest, see [`crate::CpuFeatures`].
    pub cpu: String,
}

impl KeyParts {
    /// The name of a snapshot made of these.
    pub fn key(&self) -> SnapshotKey {
        let mut hasher = blake3::Hasher::new_derive_key("rekindle snapshot key, version 1");
        // Lengths before texts, so that no two different lists of texts are one.
        let mut text = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        text(&self.subject);
        text(&self.code);
        for list in [&self.program, &self.images] {
            text(&list.len().to_string());
            list.iter().for_each(|item| text(item));
        }
        text(&self.sandbox);
        text(&self.state_version.to_string());
        text(&self.cpu);
        SnapshotKey(hasher.finalize().to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> KeyParts {
        KeyParts {
            subject: "r".into(),
            code: "c".into(),
            program: vec!["a".into(), "b".into()],
            sandbox: "s".into(),
            images: vec!["i".into()],
            state_version: 1,
            cpu: "sse2".into(),
        }
    }

    #[test]
    fn every_part_counts_and_order_too() {
        let mut all = vec![parts().key()];
        let mut change = |change: &dyn Fn(&mut KeyParts)| {
            let mut parts = parts();
            change(&mut parts);
            all.push(parts.key());
        };
        change(&|p| p.subject.push('x'));
        change(&|p| p.code.clear());
        change(&|p| p.program.reverse());
        change(&|p| p.program = vec!["ab".into()]);
        change(&|p| p.program.push("i".into()));
        change(&|p| p.images.clear());
        change(&|p| p.sandbox.push('x'));
        change(&|p| p.state_version = 2);
        change(&|p| p.cpu.push_str(" avx"));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(SnapshotKey::parse(all[0].as_str()).as_ref(), Some(&all[0]));
        assert_eq!(SnapshotKey::parse("../../etc"), None);
    }
}
