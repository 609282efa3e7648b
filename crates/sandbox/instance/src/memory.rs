//! The memory limit: guest pages and kernel heap together, looked at every few milliseconds
//! while the guest runs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kernel_syscall::System;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(20);

/// What the watch found.
pub(crate) struct MemoryWatch {
    own: OwnMemory,
    pub(crate) highest: AtomicU64,
    pub(crate) exceeded: AtomicBool,
    pub(crate) stop: AtomicBool,
}

impl MemoryWatch {
    /// Watches a system until told to stop; kills it when it holds more than `limit` bytes.
    pub(crate) fn start(
        own: OwnMemory,
        system: Arc<System>,
        limit: u64,
    ) -> std::io::Result<Arc<MemoryWatch>> {
        let watch = Arc::new(MemoryWatch {
            own,
            highest: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let watcher = Arc::clone(&watch);
        #[expect(
            clippy::disallowed_methods,
            reason = "the host tells nobody when memory grows: looking again is the only way"
        )]
        std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || {
                while !watcher.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(PERIOD);
                    // Nothing grows while nothing runs: an idle instance costs no processor time.
                    system.kernel.freezer.wait_thawed();
                    if watcher.look(&system) > limit
                        && !watcher.exceeded.swap(true, Ordering::SeqCst)
                    {
                        tracing::info!(limit, "out of memory: the guest is killed");
                        system.kernel.kill_all();
                    }
                }
            })?;
        Ok(watch)
    }

    /// Bytes held now.
    pub(crate) fn look(&self, system: &System) -> u64 {
        let mut spaces = Vec::new();
        let tasks: Vec<_> = system.kernel.tree.lock().tasks().cloned().collect();
        let mut total = 0u64;
        for task in tasks {
            let mm = task.mm();
            if !spaces.contains(&mm.id()) {
                spaces.push(mm.id());
                total = total.saturating_add(mm.space().resident_bytes());
            }
        }
        total = total.saturating_add(self.own.bytes());
        self.highest.fetch_max(total, Ordering::Relaxed);
        total
    }
}

/// `/proc/self/statm`, opened before the jail closes.
pub(crate) struct OwnMemory(File);

impl OwnMemory {
    pub(crate) fn open() -> std::io::Result<OwnMemory> {
        File::open("/proc/self/statm").map(OwnMemory)
    }

    /// Bytes of this process that no file backs: the kernel's heap (proc_pid_statm(5)).
    fn bytes(&self) -> u64 {
        let mut text = [0u8; 128];
        let n = self.0.read_at(&mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..n]).unwrap_or("");
        let mut pages = text
            .split_ascii_whitespace()
            .map(|f| f.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
        resident.saturating_sub(shared).saturating_mul(4096)
    }
}
