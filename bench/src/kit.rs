//! What guests need: the program and a file, in a directory that ends with the benchmark.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_cli::PlatformArg;
use tempfile::TempDir;

/// The guest program, as the build made it.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));

/// The environment of every guest: what the caller's own holds (certificates to load, for one) would be measured too.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/bin:/bin"), ("HOME", "/root")];

/// Where the directory is in a sandbox.
const INSIDE: &str = "/bench";

/// A directory with `guest` and a `page` of 4 KiB.
pub(crate) struct Kit {
    directory: TempDir,
    platform: PlatformArg,
}

impl Kit {
    /// For sandboxes on this platform.
    pub(crate) fn unpack(platform: PlatformArg) -> io::Result<Kit> {
        let directory = tempfile::Builder::new()
            .prefix("rekindle-bench-")
            .tempdir()?;
        // Readable in the sandbox, whoever runs there.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let guest = directory.path().join("guest");
        fs::write(&guest, GUEST)?;
        fs::set_permissions(&guest, fs::Permissions::from_mode(0o755))?;
        fs::write(directory.path().join("page"), [b'x'; 4096])?;
        Ok(Kit {
            directory,
            platform,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The same command for the host and for a sandbox; arguments that begin with `@` name files of the kit.
    pub(crate) fn commands(&self, line: &[&str]) -> (Command, Command) {
        self.commands_with(self.platform, &[], line)
    }

    /// The same on any platform, with more options of `rekindle run`.
    pub(crate) fn commands_with(
        &self,
        platform: PlatformArg,
        options: &[&str],
        line: &[&str],
    ) -> (Command, Command) {
        let at = |root: &Path| -> Vec<PathBuf> {
            line.iter()
                .map(|word| match word.strip_prefix('@') {
                    Some(name) => root.join(name),
                    None => PathBuf::from(word),
                })
                .collect()
        };
        let outside = at(self.path());
        let mut native = Command::new(&outside[0]);
        native.args(&outside[1..]).env_clear().envs(ENVIRONMENT);
        let mut sandbox = Command::new(crate::rekindle());
        sandbox
            .env_clear()
            .envs(ENVIRONMENT)
            .args(["run", "--platform", platform.name()])
            .args(options)
            .args(["--rootfs", "host", "--mount"])
            .arg(format!("{}:{INSIDE}:ro", self.path().display()));
        for (name, _) in ENVIRONMENT {
            sandbox.args(["--env", name]);
        }
        sandbox.arg("--").args(at(Path::new(INSIDE)));
        (native, sandbox)
    }
}
