//! One function in memory: `$LATEST`, its published versions and its aliases.

use std::{collections::BTreeMap, sync::Arc};

use proto_lambda::Qualifier;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Function;

/// An alias as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// Function that it belongs to.
    pub function: String,
    /// Name, unique within the function.
    pub name: String,
    /// Version that it points to; `None` is `$LATEST`.
    pub version: Option<u64>,
    /// Free text.
    pub description: String,
    /// Another version and the part of the traffic that goes there, 0 to 1.
    pub additional: Option<(u64, f64)>,
    /// The API's revision id.
    pub revision_id: String,
}

/// What decides between the two versions of an alias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// The alias's own version, whatever the weights.
    Own,
    /// From 0 to below 1: below the weight of the other version it is that.
    Chance(f64),
}

impl Draw {
    /// A draw by lot.
    pub fn random() -> Self {
        // The low 62 bits of a random UUID are random; 53 of them fill a float's fraction.
        let bits = Uuid::new_v4().as_u64_pair().1 & ((1 << 53) - 1);
        Self::Chance(bits as f64 / (1u64 << 53) as f64)
    }
}

impl AliasRecord {
    /// The version for an invocation.
    pub fn choose(&self, draw: Draw) -> Option<u64> {
        match (self.additional, draw) {
            (Some((version, weight)), Draw::Chance(chance)) if chance < weight => Some(version),
            _ => self.version,
        }
    }

    /// Whether any traffic may go to `version`.
    pub fn refers_to(&self, version: u64) -> bool {
        self.version == Some(version) || self.additional.is_some_and(|(other, _)| other == version)
    }
}

/// One function with all that bears its name.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) latest: Arc<Function>,
    pub(crate) versions: BTreeMap<u64, Arc<Function>>,
    pub(crate) aliases: BTreeMap<String, Arc<AliasRecord>>,
}

impl Entry {
    pub(crate) fn new(latest: Arc<Function>) -> Self {
        Self {
            latest,
            versions: BTreeMap::new(),
            aliases: BTreeMap::new(),
        }
    }

    /// The version with this number, `$LATEST` for `None`.
    pub(crate) fn version(&self, number: Option<u64>) -> Option<&Arc<Function>> {
        match number {
            None => Some(&self.latest),
            Some(number) => self.versions.get(&number),
        }
    }

    /// The version that a qualifier names; an alias with two versions decides by `draw`.
    pub(crate) fn named(
        &self,
        qualifier: Option<&Qualifier>,
        draw: Draw,
    ) -> Option<&Arc<Function>> {
        match qualifier {
            None | Some(Qualifier::Latest) => Some(&self.latest),
            Some(Qualifier::Version(text)) => self.version(Some(version_number(text)?)),
            Some(Qualifier::Alias(name)) => self.version(self.aliases.get(name)?.choose(draw)),
        }
    }

    /// `$LATEST` and every version, from the oldest to the newest.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Function>> {
        std::iter::once(&self.latest).chain(self.versions.values())
    }
}

/// The number in a version's name, which has one spelling only.
pub(crate) fn version_number(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_the_part_of_the_draws_that_go_elsewhere() {
        let alias = AliasRecord {
            function: "f".into(),
            name: "live".into(),
            version: Some(1),
            description: String::new(),
            additional: Some((2, 0.25)),
            revision_id: String::new(),
        };
        let to_second = (0..1000)
            .filter(|draw| alias.choose(Draw::Chance(f64::from(*draw) / 1000.0)) == Some(2))
            .count();
        assert_eq!(to_second, 250);
        assert_eq!(alias.choose(Draw::Own), Some(1));
        assert!(alias.refers_to(1) && alias.refers_to(2) && !alias.refers_to(3));
        assert_eq!(version_number("7"), Some(7));
        assert_eq!(version_number("007"), None);
    }
}
