//! Which layers of the jail are in force, for people and for reports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One layer's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum Layer {
    /// It holds; the text says how much.
    InForce(String),
    /// The host does not offer it, with its reason.
    Missing(String),
}

impl Layer {
    pub(crate) fn in_force(detail: impl Into<String>) -> Layer {
        Layer::InForce(detail.into())
    }

    pub(crate) fn missing(reason: impl fmt::Display) -> Layer {
        Layer::Missing(reason.to_string())
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Layer::InForce(_))
    }
}

/// All layers around one kernel process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// System call allow-list.
    pub seccomp: Layer,
    /// Read-only beneath the image layers, nothing else.
    pub landlock: Layer,
    /// Own namespaces.
    pub namespaces: Layer,
    /// An empty root directory.
    pub empty_root: Layer,
    /// No capabilities, no way to gain any.
    pub privileges: Layer,
    /// Resource limits.
    pub rlimits: Layer,
}

impl Layers {
    /// Names and states, in the order in which an attacker meets them.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, &Layer); 6] {
        [
            ("seccomp", &self.seccomp),
            ("landlock", &self.landlock),
            ("namespaces", &self.namespaces),
            ("empty root", &self.empty_root),
            ("privileges", &self.privileges),
            ("rlimits", &self.rlimits),
        ]
    }
}

/// One line: what holds, then what does not and why.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("jail:")?;
        for (name, layer) in self.rows() {
            match layer {
                Layer::InForce(detail) if detail.is_empty() => write!(f, " {name};")?,
                Layer::InForce(detail) => write!(f, " {name} ({detail});")?,
                Layer::Missing(reason) => write!(f, " NO {name} ({reason});")?,
            }
        }
        Ok(())
    }
}
