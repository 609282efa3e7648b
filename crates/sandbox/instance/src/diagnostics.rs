//! What a sandbox process tells a person who started it by hand.

use platform_api::Platform;
use sandbox_confine::Layers;

/// Whether it is told what the sandbox was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostics {
    /// No.
    Silent,
    /// On standard error: the layers of the jail as it begins, and how often guests were left as it ends.
    Verbose,
}

impl Diagnostics {
    /// The jail is closed.
    pub(crate) fn jailed(self, layers: &Layers) {
        if self == Diagnostics::Verbose {
            eprintln!("rekindle: {layers}");
        }
    }

    /// The guest has ended.
    pub(crate) fn ended(self, platform: &dyn Platform) {
        if self == Diagnostics::Verbose {
            let exits = platform.exits();
            let counts = exits.map(|(exit, count)| format!("{} {count}", exit.name()));
            eprintln!("rekindle: exits: {}", counts.join(", "));
        }
    }
}
