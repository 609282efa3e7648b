//! Which functions have snapshots on this machine: names them, makes them, judges them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node_pool::Capture;
use node_runtimes::{FunctionRuntime, Secrets};
use node_snapshots::{
    About, Config, CpuFeatures, KeyParts, Opened, Pending, Scanner, SnapshotKey, SnapshotState,
    Store, StoreError, Unusable,
};
use parking_lot::Mutex;
use proto_node::{BoxFuture, FunctionSpec, Revision, SnapStart};
use proto_sandbox::{CapturedPages, Layer, RefusalKind, StartSpec};

use crate::restore::Refusal;

/// Snapshots given up on that are remembered; beyond it the first is tried again.
const GIVEN_UP: usize = 4096;

/// How the subject of a snapshot begins that belongs to no function.
pub(crate) const TEMPLATE: &str = "template ";

/// Why there can be no snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the processor offers is not known.
    #[error("cannot read what the processor offers")]
    Cpu(#[source] io::Error),
}

/// The snapshots of this machine's functions.
pub(crate) struct Snapshots {
    pub(crate) store: Arc<Store>,
    cpu: String,
    /// Says which build of the sandbox writes and reads them.
    sandbox: String,
    given_up: Arc<Mutex<BTreeMap<SnapshotKey, String>>>,
    /// Those whose last restore ended in a way that need not be the snapshot's fault.
    doubted: Mutex<BTreeSet<Revision>>,
    /// Those whose snapshots did not fit at the start.
    outdated: BTreeSet<Revision>,
}

impl Snapshots {
    /// The file that the sandbox writes.
    pub(crate) const FILE: &str = "snapshot";

    pub(crate) fn open(config: Config, command: &[OsString]) -> Result<Self, SnapshotsError> {
        let cpu = CpuFeatures::of_this_machine().map_err(SnapshotsError::Cpu)?;
        let build = command.iter().map(|part| identity(Path::new(part)));
        let sandbox: String = build.collect();
        let store = Store::open(config)?;
        // No function would find them again.
        let outdated = store.remove_unfit(|parts| unfit(parts, &sandbox, &cpu));
        Ok(Self {
            store,
            cpu: cpu.to_text(),
            sandbox,
            given_up: Arc::default(),
            doubted: Mutex::default(),
            outdated: outdated.into_iter().map(Revision).collect(),
        })
    }

    /// Revisions that had a snapshot which was of no use any more.
    pub(crate) fn outdated(&self) -> BTreeSet<Revision> {
        self.outdated.clone()
    }

    /// What a snapshot of `function` is made of.
    fn parts(&self, function: &FunctionSpec, spec: &StartSpec) -> KeyParts {
        self.parts_of(&function.revision.0, &function.code.sha256, spec)
    }

    /// What a snapshot of `subject` with this code is made of.
    pub(crate) fn parts_of(&self, subject: &str, code: &str, spec: &StartSpec) -> KeyParts {
        let mut program = spec.program.argv.clone();
        let variables = spec.program.env.iter();
        program.extend(variables.map(|(name, value)| format!("{name}={value}")));
        let mut images: Vec<String> = spec
            .rootfs
            .layers
            .iter()
            .map(|layer| {
                let root = match layer {
                    Layer::Host => Path::new("/"),
                    Layer::Directory(path) => path.as_path(),
                };
                let interpreter = spec.program.argv.first().map_or("", String::as_str);
                let file = root.join(interpreter.trim_start_matches('/'));
                format!("{} {}", root.display(), identity(&file))
            })
            .collect();
        images.extend(node_runtimes::texts().map(str::to_owned));
        KeyParts {
            subject: subject.to_owned(),
            code: code.to_owned(),
            program,
            sandbox: format!(
                "{} {:?} {}",
                self.sandbox, spec.limits, spec.rootfs.writable_bytes
            ),
            images,
            state_version: proto_sandbox::VERSION,
            cpu: self.cpu.clone(),
        }
    }

    /// Whether `function` may be captured at all.
    fn wanted(function: &FunctionSpec, runtime: &dyn FunctionRuntime) -> bool {
        let from_the_start = runtime.snapshots().secrets == Secrets::FromTheStart;
        let secretive = from_the_start && !function.secrets().is_empty();
        function.snap_start == SnapStart::On && !secretive
    }

    pub(crate) fn has(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        spec: &StartSpec,
    ) -> bool {
        Self::wanted(function, runtime)
            && self.store.state(&self.parts(function, spec).key()) == SnapshotState::Ready
    }

    /// Why none is made of `function` any more.
    pub(crate) fn given_up(&self, function: &FunctionSpec, spec: &StartSpec) -> Option<String> {
        let key = self.parts(function, spec).key();
        self.given_up.lock().get(&key).cloned()
    }

    /// The function's snapshot, checked.
    pub(crate) async fn find(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        spec: &StartSpec,
    ) -> Option<(SnapshotKey, Opened)> {
        if !Self::wanted(function, runtime) {
            return None;
        }
        let key = self.parts(function, spec).key();
        if let Some(opened) = self.store.open_known(&key) {
            return Some((key, opened));
        }
        let (store, wanted) = (Arc::clone(&self.store), key.clone());
        let opening = tokio::task::spawn_blocking(move || store.open_snapshot(&wanted));
        match opening.await {
            Ok(Ok(opened)) => Some((key, opened)),
            Ok(Err(Unusable::Absent)) | Err(_) => None,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    function = function.name,
                    error,
                    "starts without its snapshot"
                );
                None
            }
        }
    }

    /// A clone told what it used at once: the next shells have it in place. It may lie: only its own function suffers.
    pub(crate) fn touched(&self, function: &FunctionSpec, spec: &StartSpec, hot: Bytes) {
        let (store, key) = (Arc::clone(&self.store), self.parts(function, spec).key());
        tokio::task::spawn_blocking(move || store.learn(&key, &hot));
    }

    /// A restored instance of this revision is ready for its first event.
    pub(crate) fn came_up(&self, revision: &Revision) {
        self.doubted.lock().remove(revision);
    }

    /// A restore ended in a way that may be the snapshot's fault, or that of somebody who killed a process: tells
    /// whether it is the second time in a row.
    fn doubt(&self, revision: &Revision) -> bool {
        let mut doubted = self.doubted.lock();
        if doubted.remove(revision) {
            return true;
        }
        if doubted.len() >= GIVEN_UP {
            doubted.pop_first();
        }
        doubted.insert(revision.clone());
        false
    }

    /// A snapshot could not be restored: takes it out of use if it is to blame.
    pub(crate) async fn refused(&self, key: &SnapshotKey, revision: &Revision, refusal: Refusal) {
        let reason = refusal.to_string();
        tracing::warn!(%key, reason, "a restore was refused; a normal start follows");
        if matches!(refusal, Refusal::Ended(_) | Refusal::TooLong) && !self.doubt(revision) {
            return;
        }
        let (store, key) = (Arc::clone(&self.store), key.clone());
        let acting = tokio::task::spawn_blocking(move || match refusal {
            Refusal::Told {
                kind: RefusalKind::Host | RefusalKind::Busy,
                ..
            }
            | Refusal::Io(_) => {}
            // A new one is made by the start that follows.
            Refusal::Told {
                kind: RefusalKind::Foreign,
                ..
            } => store.remove(&key),
            Refusal::Told { .. } | Refusal::Ended(_) | Refusal::TooLong => {
                store.quarantine(&key, &reason);
            }
        });
        let _ = acting.await;
    }

    /// A clone broke before its first event. The second time in a row takes the snapshot out of use, and no other is
    /// made, which would be the same.
    pub(crate) async fn spoilt(&self, function: &FunctionSpec, spec: &StartSpec, reason: &str) {
        if !self.doubt(&function.revision) {
            tracing::warn!(
                function = function.name,
                reason,
                "the snapshot is tried once more"
            );
            return;
        }
        let key = self.parts(function, spec).key();
        let (store, spoilt, why) = (Arc::clone(&self.store), key.clone(), reason.to_owned());
        let acting = tokio::task::spawn_blocking(move || store.quarantine(&spoilt, &why));
        let _ = acting.await;
        self.give_up(&key, &function.name, reason);
    }

    /// A place for the snapshot of `function`, if it is to have one and has none.
    pub(crate) async fn begin(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        spec: &StartSpec,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Option<Box<dyn Capture>> {
        if !Self::wanted(function, runtime) {
            return None;
        }
        let parts = self.parts(function, spec);
        let key = parts.key();
        if self.given_up.lock().contains_key(&key) || self.store.state(&key) == SnapshotState::Ready
        {
            return None;
        }
        let secrets = function.secrets();
        let named = secrets
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let scanner = match Scanner::new(named) {
            Ok(scanner) => scanner,
            Err(error) => {
                self.give_up(&key, &function.name, &error.to_string());
                return None;
            }
        };
        let store = Arc::clone(&self.store);
        let beginning = tokio::task::spawn_blocking(move || {
            let mut pending = store.begin(parts)?;
            pending.create(Self::FILE)?;
            Ok::<_, StoreError>(pending)
        });
        match beginning.await {
            Ok(Ok(pending)) => Some(Box::new(Making {
                max_bytes: self.store.budget(),
                store: Arc::clone(&self.store),
                pages: CapturedPages::All,
                pending,
                scanner,
                about: About {
                    function: function.name.clone(),
                    version: function.version.clone(),
                    runtime: function.runtime.clone(),
                    created_ms: 0,
                    capture_us: 0,
                },
                given_up: Arc::clone(&self.given_up),
                ready,
            })),
            // Another instance of the function is ahead.
            Ok(Err(StoreError::Pending | StoreError::Ready)) | Err(_) => None,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(function = function.name, error, "no snapshot can be made");
                None
            }
        }
    }

    /// Deletes what belongs to a revision that is no more.
    pub(crate) async fn forget(&self, revision: &Revision) {
        self.doubted.lock().remove(revision);
        let (store, revision) = (Arc::clone(&self.store), revision.clone());
        let _ = tokio::task::spawn_blocking(move || store.remove_subject(&revision.0)).await;
    }

    /// Deletes what belongs to revisions that are none of these.
    pub(crate) async fn keep_only(&self, revisions: BTreeSet<Revision>) {
        let store = Arc::clone(&self.store);
        let gone = move |subject: &str| {
            !subject.starts_with(TEMPLATE) && !revisions.contains(&Revision(subject.to_owned()))
        };
        let _ = tokio::task::spawn_blocking(move || store.remove_subjects(gone)).await;
    }

    fn give_up(&self, key: &SnapshotKey, function: &str, reason: &str) {
        give_up(&self.given_up, key, function, reason);
    }
}

fn give_up(
    given_up: &Mutex<BTreeMap<SnapshotKey, String>>,
    key: &SnapshotKey,
    function: &str,
    reason: &str,
) {
    tracing::warn!(function, %key, reason, "gives up on a snapshot; starts go on without");
    let mut given_up = given_up.lock();
    if given_up.len() >= GIVEN_UP {
        given_up.pop_first();
    }
    given_up.insert(key.clone(), reason.to_owned());
}

/// Why nothing on this machine can be restored from a snapshot made of these, if that is so.
fn unfit(parts: &KeyParts, sandbox: &str, here: &CpuFeatures) -> Option<String> {
    let there = CpuFeatures::parse(&parts.cpu);
    let missing = there.missing_on(here);
    if !missing.is_empty() {
        let missing = missing.join(" ");
        return Some(format!(
            "this processor lacks {missing}, which it was made with"
        ));
    }
    if there != *here {
        // Programs would go on without; a new one has the use of it.
        return Some("this processor offers more than the one it was made on".to_owned());
    }
    let same_build =
        parts.state_version == proto_sandbox::VERSION && parts.sandbox.starts_with(sandbox);
    (!same_build).then(|| "it was made by another build of the sandbox".to_owned())
}

/// What tells a program from another under the same path.
fn identity(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => format!(
            "{}:{}:{}:{}.{} ",
            path.display(),
            meta.ino(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        ),
        _ => format!("{} ", path.display()),
    }
}

/// A snapshot that the sandbox writes.
struct Making {
    pending: Pending,
    scanner: Scanner,
    about: About,
    max_bytes: u64,
    store: Arc<Store>,
    pages: CapturedPages,
    given_up: Arc<Mutex<BTreeMap<SnapshotKey, String>>>,
    /// Called when it is in place.
    ready: Box<dyn FnOnce() + Send>,
}

impl Making {
    /// Looks for secrets and puts the snapshot in place.
    fn finish(mut self, stood_still: Duration) -> Result<(), String> {
        match self.pending.find_secret(&self.scanner) {
            Ok(None) => {}
            Ok(Some((file, found))) => {
                return Err(format!(
                    "the secret {} is in the image: {file}, offset {}",
                    found.name, found.offset
                ));
            }
            Err(error) => return Err(format!("the image cannot be read: {error}")),
        }
        self.about.created_ms = base_clock::epoch_ms();
        self.about.capture_us = u64::try_from(stood_still.as_micros()).unwrap_or(u64::MAX);
        let committed = self.pending.commit(self.about);
        committed.map_err(|error| error.to_string())?;
        (self.ready)();
        Ok(())
    }
}

impl Capture for Making {
    fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn over<'a>(&'a mut self, origin: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (store, named) = (Arc::clone(&self.store), origin.to_owned());
            let opening = move || {
                let (key, digest) = named.split_once(' ')?;
                let opened = store.open_snapshot(&SnapshotKey::parse(key)?).ok()?;
                (opened.digest == digest).then_some(opened)
            };
            // Without it everything is written.
            if let Ok(Some(base)) = tokio::task::spawn_blocking(opening).await
                && self.pending.over(&base).is_ok()
            {
                self.pages = CapturedPages::Changed;
            }
        })
    }

    fn pages(&self) -> CapturedPages {
        self.pages
    }

    fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let files = self.pending.files();
        files
            .map(|file| file.try_clone().map(OwnedFd::from))
            .collect()
    }

    fn keep(self: Box<Self>, stood_still: Duration) -> BoxFuture<'static, Result<(), String>> {
        let (key, function) = (self.pending.key().clone(), self.about.function.clone());
        let given_up = Arc::clone(&self.given_up);
        Box::pin(async move {
            let finishing = tokio::task::spawn_blocking(move || self.finish(stood_still));
            let finished = finishing.await.map_err(|error| error.to_string());
            finished.flatten().inspect_err(|reason| {
                give_up(&given_up, &key, &function, reason);
            })
        })
    }

    fn give_up(self: Box<Self>, kind: RefusalKind, reason: &str) {
        match kind {
            // May go better next time.
            RefusalKind::Host | RefusalKind::Busy => {
                tracing::warn!(function = self.about.function, reason, "a capture failed");
            }
            RefusalKind::Unsupported
            | RefusalKind::Guest
            | RefusalKind::TooLarge
            | RefusalKind::Damaged
            | RefusalKind::Foreign => {
                give_up(
                    &self.given_up,
                    self.pending.key(),
                    &self.about.function,
                    reason,
                );
            }
        }
    }
}
