//! What `density` found, for programs and for people.

use std::fmt;

use edge_cli::Table;
use serde::Serialize;

use crate::processes::{Memory, Sandbox};
use crate::subject::{Language, Started};

#[derive(Serialize)]
pub(crate) struct Figures {
    pub(super) functions: Vec<Row>,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) language: Language,
    /// Why there is no snapshot of it, if there is none.
    pub(super) no_snapshot: Option<String>,
    /// How the instances had come to be.
    pub(super) started: Started,
    pub(super) steps: Vec<Step>,
    /// Why there were not as many as wished.
    pub(super) stopped: Option<String>,
    /// All of them, asked at once at the end.
    pub(super) answering: Answering,
}

#[derive(Serialize)]
pub(super) struct Answering {
    pub(super) asked: usize,
    pub(super) answered: u32,
    /// Instances that answered, by their own names.
    pub(super) distinct: usize,
    pub(super) started: Started,
}

/// So many idle instances.
#[derive(Serialize)]
pub(super) struct Step {
    pub(super) instances: usize,
    /// The one that came last.
    pub(super) newest: Parts,
    pub(super) mean: Parts,
    /// The server's own process.
    pub(super) server: Memory,
    /// What the host has less since there was none, tables of pages and all: of a machine that does nothing else.
    pub(super) host_kb_per_instance: u64,
}

/// One instance: the kernel's processes, and the stubs in which guest code runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Parts {
    pub(super) kernel: Memory,
    pub(super) stubs: Memory,
}

impl Parts {
    pub(super) fn of(sandbox: &Sandbox) -> Parts {
        Parts {
            kernel: Memory::of(&sandbox.kernel),
            stubs: Memory::of(&sandbox.stubs),
        }
    }

    pub(super) fn add(&mut self, other: &Parts) {
        self.kernel.add(&other.kernel);
        self.stubs.add(&other.stubs);
    }

    pub(super) fn divided_by(self, count: u64) -> Parts {
        let divided = |memory: Memory| Memory {
            pss_kb: memory.pss_kb / count,
            private_dirty_kb: memory.private_dirty_kb / count,
            rss_kb: memory.rss_kb / count,
        };
        Parts {
            kernel: divided(self.kernel),
            stubs: divided(self.stubs),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.functions {
            row.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}; instances and their calls: {}",
            self.language.name(),
            self.started
        )?;
        if let Some(reason) = &self.no_snapshot {
            writeln!(f, "there is no snapshot of it: {reason}")?;
        }
        if self.started.restored == 0 {
            writeln!(
                f,
                "NO INSTANCE WAS RESTORED: these are figures of instances started from the beginning"
            )?;
        } else if self.started.cold > 0 {
            writeln!(f, "NOT ALL WERE RESTORED: the mean is one of both kinds")?;
        }
        let mut table = Table::new(&[
            "MB",
            "instances",
            "PSS",
            "private dirty",
            "PSS kernel",
            "dirty kernel",
            "PSS stubs",
            "dirty stubs",
            "host",
        ]);
        let mb = |kb: u64| format!("{:.2}", kb as f64 / 1024.0);
        for step in &self.steps {
            let host = mb(step.host_kb_per_instance);
            for (which, parts, host) in [
                ("newest", &step.newest, String::new()),
                ("mean", &step.mean, host),
            ] {
                let Parts { kernel, stubs } = parts;
                table.row([
                    which.to_owned(),
                    step.instances.to_string(),
                    mb(kernel.pss_kb + stubs.pss_kb),
                    mb(kernel.private_dirty_kb + stubs.private_dirty_kb),
                    mb(kernel.pss_kb),
                    mb(kernel.private_dirty_kb),
                    mb(stubs.pss_kb),
                    mb(stubs.private_dirty_kb),
                    host,
                ]);
            }
        }
        writeln!(f, "{table}")?;
        if let Some(stopped) = &self.stopped {
            writeln!(f, "no more, because {stopped}")?;
        }
        let Answering {
            asked,
            answered,
            distinct,
            started,
        } = &self.answering;
        writeln!(
            f,
            "asked all at once: {answered} of {asked} calls answered, by {distinct} instances ({started})\n"
        )
    }
}
