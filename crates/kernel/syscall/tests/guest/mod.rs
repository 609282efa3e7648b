//! A whole sandbox without its jail: the machine's own programs on one of the platforms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use kernel_core::task::{ExitStatus, Protection, Rlimits};
use kernel_core::{Config, Kernel};
use kernel_files::console::{HostSide, StandardFiles, Stream};
use kernel_fs::host_view::{self, Identity};
use kernel_fs::{Budget, BudgetLimits, HostTree, TmpFs, dev};
use kernel_net::StackConfig;
use kernel_syscall::{Init, System, SystemConfig, start_init};
use kernel_vfs::{
    AccessMode, At, Credentials, Description, FdFlags, FdTable, FileSystem, FsContext, LastLink,
    MountFlags, MountTable, StatusFlags, Vfs,
};
use platform_api::Platform;
use platform_kvm::KvmPlatform;
use platform_process::ProcessPlatform;

const BUDGET: BudgetLimits = BudgetLimits {
    bytes: 64 << 20,
    inodes: 10_000,
};

/// Longest wait for anything in a test: `GUEST_PATIENCE` seconds, a minute where that is not set.
pub(crate) fn limit() -> Duration {
    base_eventually::limit()
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) status: Option<ExitStatus>,
}

impl Outcome {
    /// The output of a program that ended well.
    pub(crate) fn expect_success(self) -> String {
        let well = self.status == Some(ExitStatus::Code(0));
        assert!(well, "{:?}\n{}\n{}", self.status, self.output, self.errors);
        self.output
    }
}

/// The program on the host, in an empty directory, with the environment that a guest has: nothing of the tests' own, and
/// all signals at their defaults (who starts tests in the background has them ignore SIGINT).
#[allow(dead_code, reason = "not every test file compares")]
pub(crate) fn native(argv: &[&str]) -> Output {
    let place = tempfile::tempdir().expect("a directory");
    Command::new("/usr/bin/env")
        .arg("--default-signal")
        .args(argv)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/root")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .expect("env of the machine")
}

/// A kernel with everything mounted and nothing running. It ends when this is dropped.
pub(crate) struct Machine {
    pub(crate) system: Arc<System>,
    pub(crate) console: HostSide,
    pub(crate) standard: StandardFiles,
}

/// The platform that `GUEST_PLATFORM` names: `process`, which is the default, or `kvm`.
pub(crate) fn platform() -> Arc<dyn Platform> {
    match std::env::var("GUEST_PLATFORM").as_deref() {
        Ok("kvm") => Arc::new(KvmPlatform::new().expect("a virtual machine")),
        _ => Arc::new(ProcessPlatform::new().expect("platform")),
    }
}

/// A fresh machine whose monotonic clock has come so far.
#[allow(dead_code, reason = "not every test file needs a clock of its own")]
pub(crate) fn boot(monotonic: Duration) -> Machine {
    boot_on(platform(), monotonic, &[])
}

/// The same on a platform of the caller's, with directories of the host laid over the root.
pub(crate) fn boot_on(
    platform: Arc<dyn Platform>,
    monotonic: Duration,
    layers: &[PathBuf],
) -> Machine {
    let identity = Identity {
        hostname: String::from("guest"),
        uid: 0,
        gid: 0,
    };
    let host = host_view::host_layer().expect("host layer");
    let own = host_view::host_essentials(&identity).expect("essentials");
    let whole = |path: &PathBuf| HostTree::whole(path).expect("layer").root();
    let mut below: Vec<_> = layers.iter().map(whole).collect();
    below.extend([host.root(), own.root()]);
    let root = TmpFs::over(&below, Budget::new(BUDGET)).expect("root");
    let vfs = Arc::new(Vfs::default());
    let mounts = MountTable::new(Arc::clone(&vfs), root, "rootfs", MountFlags::empty()).unwrap();
    let kernel: Arc<OnceLock<Weak<System>>> = Arc::default();
    let random = Arc::clone(&kernel);
    let entropy = move |buffer: &mut [u8]| {
        if let Some(system) = random.get().and_then(Weak::upgrade) {
            system.kernel.rng.fill(buffer);
        }
    };
    let devices = dev::dev_fs(Budget::new(BUDGET), &vfs.drivers, Arc::new(entropy)).unwrap();
    let view = FsContext::new(Arc::clone(&mounts));
    let who = Credentials {
        privileged: true,
        ..Credentials::default()
    };
    let place = At::cwd(&view, &who)
        .find(b"/dev", LastLink::Follow)
        .unwrap();
    mounts
        .mount(devices, "dev", &place, MountFlags::empty())
        .unwrap();
    let config = Config {
        cpus: 2,
        ..Config::default()
    };
    let tracer: Option<kernel_syscall::Tracer> = std::env::var_os("GUEST_STRACE")
        .map(|_| -> kernel_syscall::Tracer { Box::new(|line| eprintln!("{line}")) });
    let core = Kernel::new(config, platform, seed());
    let api: SocketAddr = proto_sandbox::RUNTIME_API_ADDRESS
        .parse()
        .expect("an address");
    let config = SystemConfig {
        tracer,
        network: StackConfig {
            addresses: vec![api.ip()],
            ..StackConfig::default()
        },
        monotonic,
    };
    let system = Arc::new(System::new(core, Arc::clone(&mounts), config));
    let _ = kernel.set(Arc::downgrade(&system));
    system.mount_own().expect("own file systems");
    let (console, standard) = HostSide::streams(1 << 20, [1, 2, 3], [0; 2]);
    Machine {
        system,
        console,
        standard,
    }
}

/// Random numbers of no two machines are the same.
fn seed() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(7);
    let mut seed = [7; 32];
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

impl Drop for Machine {
    /// What a test that failed leaves running would take the time and the descriptors of those after it.
    fn drop(&mut self) {
        self.system.kernel.kill_all();
        self.system.kernel.thaw();
    }
}

impl Machine {
    /// Starts a program of the machine.
    #[allow(dead_code, reason = "not every test file runs programs as root")]
    pub(crate) fn start(&self, argv: &[&str]) {
        self.start_as([0; 2], argv);
    }

    /// The same as this user and group.
    pub(crate) fn start_as(&self, owner: [u32; 2], argv: &[&str]) {
        self.start_with(owner, Protection::FromAll, argv);
    }

    /// The same with more or less that does nothing to it.
    pub(crate) fn start_with(&self, [uid, gid]: [u32; 2], protection: Protection, argv: &[&str]) {
        let (system, streams) = (&self.system, self.standard.clone());
        let files = Arc::new(FdTable::new());
        let accesses = [AccessMode::Read, AccessMode::Write, AccessMode::Write];
        for (file, access) in streams.into_iter().zip(accesses) {
            let description = Description::anonymous(file, access, StatusFlags::empty());
            files.insert(description, FdFlags::empty(), 16).unwrap();
        }
        let bytes = |text: &&str| text.as_bytes().to_vec();
        let init = Init {
            program: argv[0].as_bytes().to_vec(),
            argv: argv.iter().map(bytes).collect(),
            envp: vec![b"PATH=/usr/bin:/bin".to_vec(), b"HOME=/root".to_vec()],
            cwd: b"/tmp".to_vec(),
            uid,
            gid,
            limits: Rlimits::default(),
            protection,
        };
        start_init(system, init, files).expect("start");
    }

    /// Waits for the end of the program.
    pub(crate) fn finish(&self) -> Outcome {
        let (system, console) = (&self.system, &self.console);
        let status = system.kernel.wait_ended(Some(Instant::now() + limit()));
        if status.is_none() {
            system.kernel.kill_all();
        }
        let text =
            |stream| String::from_utf8_lossy(&console.take_output(stream, 1 << 20)).into_owned();
        Outcome {
            output: text(Stream::Output),
            errors: text(Stream::Error),
            status,
        }
    }
}

/// Runs a program of the machine with this standard input.
#[allow(dead_code, reason = "not every test file runs programs to their end")]
pub(crate) fn run(argv: &[&str], input: &str) -> Outcome {
    run_as([0; 2], argv, input)
}

/// The same as this user and group, to whom the standard streams belong.
#[allow(
    dead_code,
    reason = "not every test file runs programs as ordinary users"
)]
pub(crate) fn run_as(owner: [u32; 2], argv: &[&str], input: &str) -> Outcome {
    let mut machine = boot(Duration::ZERO);
    (machine.console, machine.standard) = HostSide::streams(1 << 20, [1, 2, 3], owner);
    machine.start_as(owner, argv);
    machine.console.push_input(input.as_bytes());
    machine.console.set_closed(Stream::Input);
    machine.finish()
}
