//! How the instances that answered had come to be: what the server says about each answer.

use std::fmt;

use serde::Serialize;

/// `start` of the Server-Timing header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Restored,
    Cold,
    Warm,
}

/// Answers by how their instances had come to be.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Started {
    pub(crate) restored: u32,
    pub(crate) cold: u32,
    pub(crate) warm: u32,
    pub(crate) failed: u32,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl Started {
    pub(crate) fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Restored => self.restored += 1,
            Kind::Cold => self.cold += 1,
            Kind::Warm => self.warm += 1,
        }
    }

    pub(crate) fn take(&mut self, other: Started) {
        self.restored += other.restored;
        self.cold += other.cold;
        self.warm += other.warm;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }

    pub(crate) fn fail(&mut self, why: &impl fmt::Display) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| why.to_string());
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.restored, "restored"),
            (self.cold, "cold"),
            (self.warm, "warm"),
            (self.failed, "failed"),
        ];
        let some = kinds.iter().filter(|(count, _)| *count > 0);
        let text: Vec<String> = some
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        f.write_str(if text.is_empty() { "none" } else { "" })?;
        f.write_str(&text.join(", "))?;
        match &self.failure {
            Some(failure) => write!(f, " ({failure})"),
            None => Ok(()),
        }
    }
}
