//! Where it was measured.

use std::fmt;

use serde::Serialize;

/// The machine and the build, as far as they matter to a figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    /// `release` or `dev`: figures of the latter are no promise.
    build: &'static str,
}

impl Machine {
    pub(crate) fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(
                || "unknown processor".to_owned(),
                |(_, name)| name.to_owned(),
            );
        Machine {
            processor,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            build: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} x {}, Linux {}, {} build",
            self.processors, self.processor, self.kernel, self.build
        )
    }
}
