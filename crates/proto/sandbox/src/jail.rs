//! What a sandbox process says of its jail: `rekindle sandbox --probe` prints a JSON list of names, each with a [`JailLayer`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// One layer's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum JailLayer {
    /// It holds; the text says how much.
    InForce(String),
    /// The host does not offer it, with its reason.
    Missing(String),
}

impl JailLayer {
    /// A layer that holds.
    #[must_use]
    pub fn in_force(detail: impl Into<String>) -> JailLayer {
        JailLayer::InForce(detail.into())
    }

    /// A layer that the host does not offer.
    #[must_use]
    pub fn missing(reason: impl fmt::Display) -> JailLayer {
        JailLayer::Missing(reason.to_string())
    }
}
