//! The runtimes of a node: their files written, ready to run functions.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proto_node::FunctionSpec;
use proto_sandbox::Layer;

use crate::{ALL, FunctionRuntime, Roots, RuntimeError};

/// How a function is run.
#[derive(Clone, Debug)]
pub struct Runnable {
    /// Path of the program in the sandbox, and its arguments.
    pub argv: Vec<String>,
    /// What is particular to its runtime.
    pub runtime: &'static dyn FunctionRuntime,
    /// Directory of the host that is `/var/task`.
    pub code: PathBuf,
    /// Directory of the host that is `/var/runtime`.
    pub runtime_directory: Option<PathBuf>,
    /// What runs, for `INIT_START`.
    pub version: String,
}

/// What this machine can run.
#[derive(Debug)]
pub struct Runtimes {
    directory: PathBuf,
    roots: Roots,
}

/// The texts of all files of all runtimes.
pub fn texts() -> impl Iterator<Item = &'static str> {
    let files = ALL.iter().filter_map(|runtime| runtime.files());
    files.flat_map(|files| files.files.iter().map(|(_, text)| *text))
}

impl Runtimes {
    /// Writes the runtimes' files below `directory`. Functions see these layers, the lowest first.
    ///
    /// # Errors
    /// What the host said when a file could not be written.
    pub fn install(directory: &Path, layers: Vec<Layer>) -> io::Result<Runtimes> {
        let directory = directory.join("runtimes");
        for files in ALL.iter().filter_map(|runtime| runtime.files()) {
            let directory = directory.join(files.directory);
            fs::create_dir_all(&directory)?;
            for (name, text) in files.files {
                put(&directory, name, text)?;
            }
        }
        Ok(Runtimes {
            directory,
            roots: Roots::new(layers),
        })
    }

    /// How to run `function`, whose code lies in `code`, on this machine.
    ///
    /// # Errors
    /// When it cannot be run here.
    pub fn find(&self, function: &FunctionSpec, code: &Path) -> Result<Runnable, RuntimeError> {
        let name = function.runtime.as_str();
        let mut all = ALL.iter().copied();
        let runtime =
            all.find(|runtime| runtime.runs(name))
                .ok_or_else(|| RuntimeError::Unavailable {
                    runtime: name.to_owned(),
                    reason: "this platform has no such runtime".to_owned(),
                })?;
        let mut command = runtime.command(function, code, &self.roots)?;
        let files = runtime.files();
        // A wrapper script of the function's own, given the command line to run; programs that functions bring have none.
        if let (Some(_), Some(wrapper)) =
            (files, function.environment.get("AWS_LAMBDA_EXEC_WRAPPER"))
        {
            command.argv.insert(0, wrapper.clone());
        }
        Ok(Runnable {
            argv: command.argv,
            runtime,
            runtime_directory: files.map(|files| self.directory.join(files.directory)),
            code: code.to_owned(),
            version: command.version,
        })
    }
}

/// Writes a file, unless it is there as it should be.
fn put(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = directory.join(name);
    if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    // Renamed into place: a running agent of the same directory sees whole files only.
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    let mut out = fs::File::create(&fresh)?;
    out.write_all(text.as_bytes())?;
    out.set_permissions(fs::Permissions::from_mode(0o644))?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::function;

    /// A root file system with these programs.
    fn root(programs: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for program in programs {
            let path = root.path().join(program);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(&path, "").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        root
    }

    fn find(root: &Path, runtime: &str, own: &[(&str, &str)]) -> Result<Runnable, RuntimeError> {
        let place = tempfile::tempdir().expect("a directory");
        let layers = vec![Layer::Directory(root.to_owned())];
        let runtimes = Runtimes::install(place.path(), layers).expect("installed");
        let mut function = function(own);
        function.runtime = runtime.to_owned();
        runtimes.find(&function, Path::new("/absent"))
    }

    #[test]
    fn each_runtime_finds_its_program() {
        let root = root(&["usr/bin/python3.11", "var/lang/bin/node", "opt/bootstrap"]);
        for (runtime, argv, version) in [
            (
                "python3.11",
                &["/usr/bin/python3.11", "/var/runtime/bootstrap.py"][..],
                "python:3.11",
            ),
            (
                "nodejs22.x",
                &["/var/lang/bin/node", "/var/runtime/bootstrap.js"],
                "nodejs:node",
            ),
            ("provided.al2023", &["/opt/bootstrap"], "provided:al2023"),
        ] {
            let found = find(root.path(), runtime, &[]).expect("found");
            assert_eq!(
                (&found.argv[..], found.version.as_str()),
                (
                    &argv.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()[..],
                    version
                )
            );
        }
        let wrapped = [("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap")];
        let found = find(root.path(), "python3.11", &wrapped).expect("found");
        assert_eq!(found.argv[..2], ["/opt/wrap", "/usr/bin/python3.11"]);
        let found = find(root.path(), "provided.al2", &wrapped).expect("found");
        assert_eq!(found.argv, ["/opt/bootstrap"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let empty = root(&[]);
        let reason = |runtime| {
            find(empty.path(), runtime, &[])
                .expect_err("missing")
                .to_string()
        };
        assert_eq!(
            reason("python3.12"),
            "runtime python3.12 is not available: there is no python3.12 in the root file system"
        );
        assert_eq!(
            reason("nodejs22.x"),
            "runtime nodejs22.x is not available: there is no node in the root file system"
        );
        assert_eq!(
            reason("provided.al2"),
            "couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
        );
        assert_eq!(
            reason("ruby3.3"),
            "runtime ruby3.3 is not available: this platform has no such runtime"
        );
    }
}
