//! Runtimes without a function: interpreter started, common modules loaded. A new function begins there, and its
//! snapshot lies over this one.
//!
//! A template is made in the background when the first function that could have used it has its own snapshot.
//! What a function has that matters before its code is loaded (variables that the interpreter or the loader look
//! at, libraries of its own) keeps it from beginning in one: it starts from the beginning then.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node_runtimes::{FunctionRuntime, Template, function_environment};
use node_sandboxes::{SandboxProcess, Sandboxes};
use node_snapshots::{About, KeyParts, Opened, SnapshotState, StoreError};
use parking_lot::Mutex;
use proto_node::{FunctionSpec, Revision, SnapStart};
use proto_sandbox::{
    CaptureSpec, CapturedPages, FromSandbox, Initialization, RUNTIME_API_ADDRESS, StartSpec,
    ToSandbox, WorkloadSpec,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::launched::Launched;
use crate::restore;
use crate::snapshots::{Snapshots, TEMPLATE};

/// Longest time until a template is there.
const LIMIT: Duration = Duration::from_secs(60);
/// Functions whose start from a template went wrong, and templates that could not be made, that are remembered.
const REMEMBERED: usize = 4096;
/// Memory of a template whose interpreter does not look at it.
const MEMORY: u64 = 1 << 30;
/// Files that a template may write.
const WRITABLE: u64 = 64 << 20;

/// Variables that decide something before a function's code is loaded: these, and those that begin so.
const EARLY: [&str; 6] = ["LANG", "LANGUAGE", "TZ", "TZDIR", "PATH", "HOME"];
const EARLY_PREFIXES: [&str; 15] = [
    "PYTHON", "NODE_", "LD_", "LC_", "MALLOC_", "GLIBC_", "OPENSSL", "SSL_", "UV_", "V8_",
    "GCONV_", "LOC", "NLS", "XDG_", "ICU_",
];

/// Makes templates and has functions begin in them.
pub(crate) struct Templates {
    snapshots: Arc<Snapshots>,
    sandboxes: Arc<Sandboxes>,
    /// What `/var/task` is while there is no function.
    empty: PathBuf,
    state: Mutex<Doubts>,
    /// One is made at a time.
    making: Semaphore,
}

#[derive(Default)]
struct Doubts {
    /// Functions that start from the beginning.
    distrusted: BTreeSet<Revision>,
    /// Templates that cannot be made, by what they are made of; and those that are being made.
    given_up: BTreeSet<String>,
}

/// What a function could begin in.
struct Plan {
    parts: KeyParts,
    spec: StartSpec,
}

impl Templates {
    pub(crate) fn new(
        snapshots: Arc<Snapshots>,
        sandboxes: Arc<Sandboxes>,
        directory: &Path,
    ) -> std::io::Result<Arc<Templates>> {
        let empty = directory.join("no-function");
        fs::create_dir_all(&empty)?;
        Ok(Arc::new(Templates {
            snapshots,
            sandboxes,
            empty,
            state: Mutex::default(),
            making: Semaphore::new(1),
        }))
    }

    /// The template that `function`, which would be started so, could begin in.
    fn plan(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        start: &StartSpec,
    ) -> Option<Plan> {
        let template = runtime.snapshots().template;
        let captured = function.snap_start == SnapStart::On;
        let own = function.environment.keys().any(|name| decides_early(name));
        if template == Template::None
            || !captured
            || own
            || self.state.lock().distrusted.contains(&function.revision)
        {
            return None;
        }
        let bare = FunctionSpec {
            environment: std::collections::BTreeMap::new(),
            name: String::new(),
            handler: String::new(),
            version: String::new(),
            region: String::new(),
            memory_mb: 0,
            ..function.clone()
        };
        let mut spec = start.clone();
        spec.program.env = function_environment(&bare, runtime, "", RUNTIME_API_ADDRESS)
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "AWS_LAMBDA_INITIALIZATION_TYPE" => (name, "template".to_owned()),
                _ => (name, value),
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        spec.id = format!("{TEMPLATE}{}", function.runtime);
        spec.hostname = "rekindle-template".to_owned();
        for mount in &mut spec.rootfs.mounts {
            if mount.target == "/var/task" {
                mount.source.clone_from(&self.empty);
            }
        }
        spec.rootfs.writable_bytes = WRITABLE;
        if template == Template::AnyMemory {
            spec.limits.memory_bytes = MEMORY;
        }
        if let WorkloadSpec::Lambda(runtime_api) = &mut spec.workload {
            runtime_api.initialization = Initialization::Template;
        }
        let parts = self.snapshots.parts_of(&spec.id, "", &spec);
        Some(Plan { parts, spec })
    }

    /// `function`, begun in its template; nothing if there is none, or it is no good.
    pub(crate) async fn begin(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        start: &StartSpec,
        stream: &str,
    ) -> Option<Launched> {
        let plan = self.plan(function, runtime, start)?;
        let key = plan.parts.key();
        if self.snapshots.store.state(&key) != SnapshotState::Ready || has_libraries(code_of(start))
        {
            return None;
        }
        let (store, wanted) = (Arc::clone(&self.snapshots.store), key.clone());
        let opening = tokio::task::spawn_blocking(move || store.open_snapshot(&wanted));
        let opened: Opened = opening.await.ok()?.ok()?;
        let variables = function_environment(function, runtime, stream, RUNTIME_API_ADDRESS);
        let begun = match restore::shell(&self.sandboxes, start, &opened, &[]).await {
            Ok(shell) => restore::into(shell, variables, None).await,
            Err(refusal) => Err(refusal),
        };
        match begun {
            Ok(launched) => {
                tracing::debug!(function = function.name, template = %key, "begins in a template");
                Some(launched.grown_out_of(format!("{key} {}", opened.digest)))
            }
            Err(refusal) => {
                let subject = Revision(plan.parts.subject);
                self.snapshots.refused(&key, &subject, refusal).await;
                None
            }
        }
    }

    /// An instance that began in a template did not come up.
    pub(crate) fn distrust(&self, function: &FunctionSpec) {
        tracing::warn!(
            function = function.name,
            "did not come up from a template; starts from the beginning"
        );
        let mut state = self.state.lock();
        if state.distrusted.len() >= REMEMBERED {
            state.distrusted.pop_first();
        }
        state.distrusted.insert(function.revision.clone());
    }

    /// Makes the template that `function` could have begun in, if there is none.
    pub(crate) async fn make_for(
        &self,
        function: &FunctionSpec,
        runtime: &dyn FunctionRuntime,
        start: &StartSpec,
    ) {
        let Some(Plan { parts, spec }) = self.plan(function, runtime, start) else {
            return;
        };
        let key = parts.key();
        if self.snapshots.store.state(&key) == SnapshotState::Ready {
            return;
        }
        {
            let mut state = self.state.lock();
            if state.given_up.len() >= REMEMBERED {
                state.given_up.pop_first();
            }
            // Whoever makes it takes this back, if it succeeds.
            if !state.given_up.insert(key.to_string()) {
                return;
            }
        }
        let Ok(_turn) = self.making.acquire().await else {
            return;
        };
        let name = function.runtime.clone();
        match timeout(LIMIT, self.make(parts, &spec, name)).await {
            Ok(Ok(())) => {
                self.state.lock().given_up.remove(key.as_str());
            }
            Ok(Err(reason)) => {
                tracing::warn!(runtime = function.runtime, reason, "no template is made");
            }
            Err(_) => tracing::warn!(runtime = function.runtime, "a template took too long"),
        }
    }

    async fn make(&self, parts: KeyParts, spec: &StartSpec, runtime: String) -> Result<(), String> {
        let store = Arc::clone(&self.snapshots.store);
        let beginning = tokio::task::spawn_blocking(move || {
            let mut pending = store.begin(parts)?;
            let file = pending.create(Snapshots::FILE)?.try_clone();
            let file = file.map_err(|_| StoreError::FileName(Snapshots::FILE.to_owned()))?;
            Ok::<_, StoreError>((pending, OwnedFd::from(file)))
        });
        let (pending, file) = beginning.await.map_err(text)?.map_err(text)?;
        let mut process = self.sandboxes.spawn(spec).await.map_err(text)?;
        let captured = self.capture(&mut process, spec, file).await;
        let said = process.end().await;
        let stood_still = captured.map_err(|reason| format!("{reason}: {said}"))?;
        let about = About {
            function: String::new(),
            version: String::new(),
            runtime,
            created_ms: base_clock::epoch_ms(),
            capture_us: stood_still / 1000,
        };
        let committing = tokio::task::spawn_blocking(move || pending.commit(about));
        committing.await.map_err(text)?.map_err(text)?;
        Ok(())
    }

    /// Starts a runtime and captures it where it asks for a function. Nanoseconds that it stood still.
    async fn capture(
        &self,
        process: &mut SandboxProcess,
        spec: &StartSpec,
        file: OwnedFd,
    ) -> Result<u64, String> {
        let start = ToSandbox::Start(Box::new(spec.clone()));
        process.send_all(&start, &[], &[]).await.map_err(text)?;
        let mut file = Some(file);
        loop {
            let message = process.receive_message().await.map_err(text)?;
            match message.map(|message| message.head) {
                Some(FromSandbox::RestorePoint) => {
                    let Some(file) = file.take() else {
                        return Err("it asks twice".to_owned());
                    };
                    let spec = CaptureSpec {
                        max_bytes: self.snapshots.store.budget(),
                        pages: CapturedPages::All,
                    };
                    let capture = ToSandbox::Capture(spec);
                    process
                        .send_all(&capture, &[], &[file])
                        .await
                        .map_err(text)?;
                }
                Some(FromSandbox::Captured { nanoseconds, .. }) => return Ok(nanoseconds),
                Some(FromSandbox::Stage { .. } | FromSandbox::Log { .. }) => {}
                Some(other) => return Err(format!("it said {other:?}")),
                None => return Err("it ended".to_owned()),
            }
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn decides_early(name: &str) -> bool {
    EARLY.contains(&name) || EARLY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a function brings libraries that the loader would have taken in place of the system's
/// (`LD_LIBRARY_PATH` names its directory and `lib` in it).
fn code_of(start: &StartSpec) -> &Path {
    let mut mounts = start.rootfs.mounts.iter();
    let code = mounts.find(|mount| mount.target == "/var/task");
    code.map_or(Path::new(""), |mount| &mount.source)
}

fn has_libraries(code: &Path) -> bool {
    [code.to_owned(), code.join("lib")].iter().any(|directory| {
        let Ok(listing) = fs::read_dir(directory) else {
            return false;
        };
        listing.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.contains(".so") || name == "glibc-hwcaps"
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interpreter_looks_at_first_keeps_a_function_out() {
        for name in [
            "PYTHONPATH",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "TZ",
            "LC_ALL",
            "HOME",
        ] {
            assert!(decides_early(name), "{name}");
        }
        for name in [
            "TABLE_NAME",
            "AWS_REGION",
            "TZ_NAME",
            "REKINDLE_WARM_UP",
            "PATHS",
        ] {
            assert!(!decides_early(name), "{name}");
        }
    }

    #[test]
    fn libraries_of_its_own_keep_a_function_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let code = directory.path();
        fs::write(code.join("index.py"), "").expect("written");
        assert!(!has_libraries(code));
        fs::create_dir(code.join("lib")).expect("made");
        fs::write(code.join("lib/libz.so.1"), "").expect("written");
        assert!(has_libraries(code));
        assert!(!has_libraries(&code.join("absent")));
    }
}
