//! The same interpreter with the same imports, started by the host.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Where a node looks for interpreters, in its order.
const DIRECTORIES: [&str; 3] = ["/var/lang/bin", "/usr/local/bin", "/usr/bin"];

/// A command of the host that does nothing but come up.
pub(crate) struct Native {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
}

/// The first of these programs that functions of this machine would get.
pub(crate) fn interpreter(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| {
        let paths = DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(name));
        paths.into_iter().find(|path| path.is_file())
    })
}

impl Native {
    pub(crate) fn new(program: PathBuf, arguments: &[&str], directory: &Path) -> Native {
        Native {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            directory: directory.to_owned(),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        // As little environment as the sandbox side has: certificates to load, for one, would be measured too.
        Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
    }

    /// Milliseconds until each of so many, started at once, had ended; in the order of their starts.
    pub(crate) fn burst(&self, count: usize) -> io::Result<Vec<f64>> {
        let started = Instant::now();
        let mut children = Vec::with_capacity(count);
        for _ in 0..count {
            children.push(self.spawn()?);
        }
        let mut times = Vec::with_capacity(count);
        for mut child in children {
            let status = child.wait()?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            if !status.success() {
                let program = self.program.display();
                return Err(io::Error::other(format!("{program} ended with {status}")));
            }
        }
        Ok(times)
    }
}
