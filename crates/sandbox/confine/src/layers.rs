//! Which layers of the jail are in force, for people and for reports.

use std::fmt;

use proto_sandbox::JailLayer;
use serde::Serialize;

/// All layers around one kernel process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// System call allow-list.
    pub seccomp: JailLayer,
    /// Read-only beneath the image layers, nothing else.
    pub landlock: JailLayer,
    /// Own namespaces.
    pub namespaces: JailLayer,
    /// An empty root directory.
    pub empty_root: JailLayer,
    /// No capabilities, no way to gain any.
    pub privileges: JailLayer,
    /// Resource limits.
    pub rlimits: JailLayer,
}

impl Layers {
    /// Names and states, in the order in which an attacker meets them.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, &JailLayer); 6] {
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
                JailLayer::InForce(detail) if detail.is_empty() => write!(f, " {name};")?,
                JailLayer::InForce(detail) => write!(f, " {name} ({detail});")?,
                JailLayer::Missing(reason) => write!(f, " NO {name} ({reason});")?,
            }
        }
        Ok(())
    }
}
