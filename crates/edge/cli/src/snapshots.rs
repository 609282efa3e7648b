//! `rekindle snapshot`: what lies in the snapshot store of this machine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use node_snapshots::{CpuFeatures, KeyError, Listed, ListedStatus, StoreView};
use serde::Serialize;

use crate::failure::{ExitCode, Failure};
use crate::measure::Bytes;
use crate::output::{Format, Table};

/// Digits of a key that people see; as many as tell snapshots apart.
const SHORT_KEY: usize = 12;

/// `rekindle snapshot`.
#[derive(Args, Clone, Debug)]
pub struct SnapshotArgs {
    /// Directory of the server's data.
    #[arg(
        long,
        default_value = "rekindle-data",
        env = "REKINDLE_DATA",
        global = true
    )]
    pub data: PathBuf,
    /// How to print.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        global = true
    )]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with snapshots.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// List the snapshots, those in quarantine too.
    Ls,
    /// Tell everything about one.
    Inspect {
        /// The first digits of its key.
        key: String,
    },
    /// Delete snapshots and those that lie over them; a server that uses one makes a new one.
    Rm {
        /// The first digits of each key.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Read every byte and compare it with what was written.
    Verify {
        /// The first digits of each key; all snapshots that are ready if none is given.
        keys: Vec<String>,
    },
}

/// Obeys `rekindle snapshot`.
///
/// # Errors
/// When there is no such snapshot, or one is not what was written.
pub fn snapshot(args: &SnapshotArgs) -> Result<(), Failure> {
    let directory = args.data.join("node/snapshots");
    let view = match StoreView::open(&directory) {
        Ok(view) => view,
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return nothing_there(args, &directory);
        }
        Err(error) => {
            return Err(Failure::from_error(ExitCode::Failed, &error)
                .next("run this as the user of the server"));
        }
    };
    match &args.action {
        Action::Ls => print(args.format, &List(view.list())),
        Action::Inspect { key } => {
            let snapshot = one(&view, key)?;
            print(args.format, &Details::of(snapshot))
        }
        Action::Rm { keys } => {
            let found: Vec<_> = keys
                .iter()
                .map(|key| one(&view, key))
                .collect::<Result<_, _>>()?;
            for listed in &found {
                match view.remove(listed) {
                    // It lay over one before it in the list, and went with that.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => {
                        removed.map_err(|error| Failure::from_error(ExitCode::Failed, &error))?
                    }
                }
            }
            print(args.format, &Removed(found))
        }
        Action::Verify { keys } => verify(args, &view, keys),
    }
}

/// No server has kept a snapshot here.
fn nothing_there(args: &SnapshotArgs, directory: &Path) -> Result<(), Failure> {
    match &args.action {
        Action::Ls => print(args.format, &List(Vec::new())),
        Action::Verify { keys } if keys.is_empty() => print(args.format, &Verified(Vec::new())),
        _ => Err(Failure::new(
            ExitCode::Failed,
            format!("there are no snapshots in {}", directory.display()),
        )
        .next("name the server's directory with --data")),
    }
}

/// The one snapshot whose key begins so.
fn one(view: &StoreView, prefix: &str) -> Result<Listed, Failure> {
    let mut found = view.find(prefix);
    match (found.pop(), found.len()) {
        (Some(listed), 0) if !prefix.is_empty() => Ok(listed),
        (None, _) => Err(Failure::new(
            ExitCode::Failed,
            format!("no snapshot has a key that begins with {prefix:?}"),
        )
        .next("rekindle snapshot ls")),
        (Some(_), more) => Err(Failure::new(
            ExitCode::Failed,
            format!(
                "{} snapshots have a key that begins with {prefix:?}",
                more + 1
            ),
        )
        .next("give more digits")),
    }
}

fn verify(args: &SnapshotArgs, view: &StoreView, keys: &[String]) -> Result<(), Failure> {
    let wanted = if keys.is_empty() {
        let mut all = view.list();
        all.retain(|listed| listed.status == ListedStatus::Ready);
        all
    } else {
        keys.iter()
            .map(|key| one(view, key))
            .collect::<Result<_, _>>()?
    };
    let checked: Vec<Check> = wanted
        .into_iter()
        .map(|listed| Check {
            fault: view.verify(&listed),
            listed,
        })
        .collect();
    let faults = checked.iter().filter(|check| check.fault.is_some()).count();
    print(args.format, &Verified(checked))?;
    match faults {
        0 => Ok(()),
        faults => Err(Failure::new(
            ExitCode::Failed,
            format!("{faults} of the snapshots are not what was written"),
        )
        .next("a server refuses them and starts without; delete them with rekindle snapshot rm")),
    }
}

fn print(format: Format, value: &(impl Serialize + fmt::Display)) -> Result<(), Failure> {
    match format.print(value) {
        // Whoever reads has enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::from_error(ExitCode::Failed, &error))
        }
        _ => Ok(()),
    }
}

fn short(listed: &Listed) -> &str {
    short_key(listed.key.as_str())
}

fn short_key(key: &str) -> &str {
    key.get(..SHORT_KEY).unwrap_or(key)
}

/// The key of the snapshot that it lies over.
fn base(listed: &Listed) -> Option<&str> {
    let base = listed.manifest.as_ref()?.base.as_ref()?;
    Some(base.key.as_str())
}

/// How long ago, in the largest unit that makes sense.
fn ago(ms: Option<u64>) -> String {
    let Some(ms) = ms else {
        return "never".to_owned();
    };
    let seconds = base_clock::epoch_ms().saturating_sub(ms) / 1000;
    match seconds {
        s if s >= 2 * 86_400 => format!("{} days ago", s / 86_400),
        s if s >= 2 * 3600 => format!("{} hours ago", s / 3600),
        s if s >= 120 => format!("{} min ago", s / 60),
        s => format!("{s} s ago"),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Listed>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no snapshots");
        }
        let mut table = Table::new(&[
            "key", "function", "version", "runtime", "size", "over", "used", "state",
        ]);
        for listed in &self.0 {
            let about = listed.manifest.as_ref().map(|manifest| &manifest.about);
            let text = |text: Option<&String>| text.cloned().unwrap_or_default();
            table.row([
                short(listed).to_owned(),
                text(about.map(|about| &about.function)),
                text(about.map(|about| &about.version)),
                text(about.map(|about| &about.runtime)),
                Bytes(listed.bytes).to_string(),
                base(listed).map_or("", short_key).to_owned(),
                ago(listed.used_ms),
                match &listed.status {
                    ListedStatus::Ready => "ready".to_owned(),
                    ListedStatus::Quarantined { reason } => format!("quarantined: {reason}"),
                },
            ]);
        }
        table.fmt(f)
    }
}

/// One snapshot, and whether it runs on this machine.
#[derive(Serialize)]
struct Details {
    #[serde(flatten)]
    listed: Listed,
    /// Features of the processor that it needs and this machine lacks.
    missing_cpu_features: Vec<String>,
}

impl Details {
    fn of(listed: Listed) -> Self {
        let here = CpuFeatures::of_this_machine();
        let missing = match (&listed.manifest, here) {
            (Some(manifest), Ok(here)) => CpuFeatures::parse(&manifest.parts.cpu).missing_on(&here),
            _ => Vec::new(),
        };
        Self {
            listed,
            missing_cpu_features: missing,
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = &self.listed;
        let mut table = Table::new(&["what", "is"]);
        table.row(["key", listed.key.as_str()]);
        match &listed.status {
            ListedStatus::Ready => table.row(["state", "ready"]),
            ListedStatus::Quarantined { reason } => table.row(["quarantined", reason]),
        }
        let mut row = |what: &str, is: String| table.row([what.to_owned(), is]);
        row("used", ago(listed.used_ms));
        if let Some(base) = base(listed) {
            row("lies over", base.to_owned());
        }
        row("directory", listed.directory.display().to_string());
        if let Some(manifest) = &listed.manifest {
            let about = &manifest.about;
            row("function", format!("{}:{}", about.function, about.version));
            row("runtime", about.runtime.clone());
            row("made", ago(Some(about.created_ms)));
            row(
                "original stood still",
                format!("{:.1} ms", about.capture_us as f64 / 1e3),
            );
            row(
                "program",
                manifest.parts.program.first().cloned().unwrap_or_default(),
            );
            row(
                "kernel state version",
                manifest.parts.state_version.to_string(),
            );
            let missing = &self.missing_cpu_features;
            row(
                "this processor",
                if missing.is_empty() {
                    "has all that it needs".to_owned()
                } else {
                    format!("lacks {}", missing.join(" "))
                },
            );
            for file in &manifest.files {
                row(
                    &format!("file {}", file.name),
                    Bytes(file.bytes).to_string(),
                );
            }
        }
        table.fmt(f)
    }
}

#[derive(Serialize)]
struct Removed(Vec<Listed>);

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.0.iter().map(short).collect();
        write!(f, "deleted {}", keys.join(" "))
    }
}

#[derive(Serialize)]
struct Check {
    #[serde(flatten)]
    listed: Listed,
    /// What is wrong; none if it is whole.
    fault: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Verified(Vec<Check>);

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no snapshots");
        }
        let mut table = Table::new(&["key", "size", "found"]);
        for check in &self.0 {
            table.row([
                short(&check.listed).to_owned(),
                Bytes(check.listed.bytes).to_string(),
                check.fault.clone().unwrap_or_else(|| "whole".to_owned()),
            ]);
        }
        table.fmt(f)
    }
}
