//! How an agent is set up.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use node_logs::LogStoreConfig;
use node_pool::PoolConfig;
use proto_sandbox::{Layer, PlatformChoice};

/// What an agent needs to know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Program and first arguments of a sandbox process; `--fd 0` is added, and its
    /// descriptor 0 is the socket.
    pub sandbox_command: Vec<OsString>,
    /// Read-only layers of every root file system, the lowest first.
    pub layers: Vec<Layer>,
    /// A directory of the agent's own; the runtimes' bootstraps are written there.
    pub directory: PathBuf,
    /// Where logs are kept; without it they are only published live.
    pub logs: Option<LogStoreConfig>,
    /// Where snapshots are kept and how many; without it there are none.
    pub snapshots: Option<node_snapshots::Config>,
    /// Whether new functions begin in a snapshot of their runtime.
    pub templates: TemplateUse,
    /// What the smallest function weighs beside the host's programs, in per cent of one of their processes.
    pub cpu_weight: u32,
    /// What runs functions' instructions.
    pub platform: PlatformChoice,
    /// How much may run and wait.
    pub pool: PoolConfig,
}

/// Whether new functions begin in a snapshot of their runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TemplateUse {
    /// They do, where one fits.
    On,
    /// Each starts from the beginning.
    #[default]
    Off,
}

impl AgentConfig {
    /// This program's own `sandbox` command, this machine's files, everything kept below
    /// `directory`, logs of two times 16 MiB per function.
    pub fn new(directory: PathBuf) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let logs = LogStoreConfig {
            directory: directory.join("logs"),
            file_bytes: 16 << 20,
        };
        Ok(Self {
            sandbox_command: vec![program.into(), "sandbox".into()],
            layers: vec![Layer::Host],
            snapshots: Some(node_snapshots::Config::new(directory.join("snapshots"))),
            templates: TemplateUse::default(),
            cpu_weight: 100,
            platform: PlatformChoice::default(),
            directory,
            logs: Some(logs),
            pool: PoolConfig::default(),
        })
    }
}
