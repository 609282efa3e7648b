//! Which program runs a function of which runtime, and the bootstraps it needs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use node_pool::{FunctionEnvironment, LaunchError};
use proto_node::{FunctionSpec, SnapStart};
use proto_sandbox::Layer;

/// The bootstraps of managed runtimes; each becomes `/var/runtime` of its functions.
const BOOTSTRAPS: [(&str, &str); 2] = [("python", "bootstrap.py"), ("nodejs", "bootstrap.js")];

/// Every file of them: directory, name, text.
const FILES: [(&str, &str, &str); 9] = [
    (
        "python",
        "bootstrap.py",
        include_str!("../../../../runtimes/python/bootstrap.py"),
    ),
    (
        "python",
        "rekindle_restore.py",
        include_str!("../../../../runtimes/python/rekindle_restore.py"),
    ),
    (
        "python",
        "snapshot_restore_py.py",
        include_str!("../../../../runtimes/python/snapshot_restore_py.py"),
    ),
    (
        "python",
        "rekindle_template.py",
        include_str!("../../../../runtimes/python/rekindle_template.py"),
    ),
    (
        "nodejs",
        "bootstrap.js",
        include_str!("../../../../runtimes/nodejs/bootstrap.js"),
    ),
    (
        "nodejs",
        "rekindle.js",
        include_str!("../../../../runtimes/nodejs/rekindle.js"),
    ),
    (
        "nodejs",
        "restore.js",
        include_str!("../../../../runtimes/nodejs/restore.js"),
    ),
    (
        "nodejs",
        "template.js",
        include_str!("../../../../runtimes/nodejs/template.js"),
    ),
    (
        "nodejs",
        "openssl.cnf",
        include_str!("../../../../runtimes/nodejs/openssl.cnf"),
    ),
];

/// Where interpreters are looked for in a layer, best first.
const PROGRAM_DIRECTORIES: [&str; 3] = ["/var/lang/bin", "/usr/local/bin", "/usr/bin"];

/// The texts of all bootstraps.
pub(crate) fn texts() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(_, _, text)| *text)
}

/// How a function is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runtime {
    pub(crate) argv: Vec<String>,
    pub(crate) environment: FunctionEnvironment,
    /// Directory of the host that is `/var/runtime`.
    pub(crate) runtime_directory: Option<PathBuf>,
    /// For INIT_START.
    pub(crate) version: String,
}

/// What this machine can run.
#[derive(Debug)]
pub(crate) struct Runtimes {
    directory: PathBuf,
    layers: Vec<Layer>,
}

impl Runtimes {
    /// Writes the bootstraps below `directory`.
    pub(crate) fn install(directory: &Path, layers: Vec<Layer>) -> io::Result<Self> {
        let directory = directory.join("runtimes");
        for (name, file, text) in FILES {
            let directory = directory.join(name);
            fs::create_dir_all(&directory)?;
            let path = directory.join(file);
            if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
                continue;
            }
            // Renamed into place: a running agent of the same directory sees whole files only.
            let fresh = directory.join(format!(".{file}.{}", std::process::id()));
            let mut out = fs::File::create(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.set_permissions(fs::Permissions::from_mode(0o644))?;
            fs::rename(fresh, path)?;
        }
        Ok(Self { directory, layers })
    }

    /// How to run `function` on this machine.
    pub(crate) fn find(&self, function: &FunctionSpec) -> Result<Runtime, LaunchError> {
        let name = function.runtime.as_str();
        if name.starts_with("provided") {
            return self.provided(function);
        }
        let unavailable = |reason| LaunchError::RuntimeUnavailable {
            runtime: name.to_owned(),
            reason,
        };
        let (family, wanted, environment) = if name.starts_with("python3") {
            // The exact version if it is there, else whatever Python 3 there is.
            (0, vec![name, "python3"], FunctionEnvironment::Python)
        } else if name.starts_with("nodejs") {
            (1, vec!["node", "nodejs"], FunctionEnvironment::Node)
        } else {
            return Err(unavailable("this platform has no such runtime".to_owned()));
        };
        let Some((program, version)) = wanted.iter().find_map(|program| self.program(program))
        else {
            return Err(unavailable(format!(
                "there is no {} in the root file system",
                wanted[0]
            )));
        };
        let (directory, bootstrap) = BOOTSTRAPS[family];
        let mut argv = vec![program];
        if environment == FunctionEnvironment::Node && draws_from_processor(function) {
            argv.push("--openssl-config=/var/runtime/openssl.cnf".to_owned());
        }
        argv.push(format!("/var/runtime/{bootstrap}"));
        // A wrapper script of the function's own, given the command line to run.
        if let Some(wrapper) = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER") {
            argv.insert(0, wrapper.clone());
        }
        let version = match version.strip_prefix("python") {
            Some(version) => format!("python:{version}"),
            None => format!("{directory}:{version}"),
        };
        let runtime_directory = Some(self.directory.join(directory));
        Ok(Runtime {
            argv,
            environment,
            runtime_directory,
            version,
        })
    }

    /// A `bootstrap` in the function's code, or in `/opt`.
    fn provided(&self, function: &FunctionSpec) -> Result<Runtime, LaunchError> {
        let own = function.code.directory.join("bootstrap");
        let argv = if is_executable(&own) {
            "/var/task/bootstrap"
        } else if self
            .roots()
            .any(|root| is_executable(&root.join("opt/bootstrap")))
        {
            "/opt/bootstrap"
        } else {
            let searched = "[/var/task/bootstrap /opt/bootstrap]".to_owned();
            return Err(LaunchError::InvalidEntrypoint { searched });
        };
        Ok(Runtime {
            argv: vec![argv.to_owned()],
            environment: FunctionEnvironment::Provided,
            runtime_directory: None,
            version: function.runtime.replacen('.', ":", 1),
        })
    }

    /// The path of a program in the guest and the name of the file it leads to.
    fn program(&self, name: &str) -> Option<(String, String)> {
        for root in self.roots() {
            for directory in PROGRAM_DIRECTORIES {
                let inside = format!("{directory}/{name}");
                let path = root.join(inside.trim_start_matches('/'));
                if is_executable(&path) {
                    let target = fs::read_link(&path).ok();
                    let file = target.as_deref().unwrap_or(&path).file_name();
                    let file = file.map_or_else(String::new, |f| f.to_string_lossy().into_owned());
                    return Some((inside, file));
                }
            }
        }
        None
    }

    /// Directories of the host that make the root file system, the highest first.
    fn roots(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().rev().map(|layer| match layer {
            Layer::Host => Path::new("/"),
            Layer::Directory(path) => path.as_path(),
        })
    }
}

/// Whether OpenSSL of a Node.js function is to draw its random numbers from the processor, so that no clone has those
/// of another. One with a configuration of its own for OpenSSL keeps it, and is not captured.
fn draws_from_processor(function: &FunctionSpec) -> bool {
    function.snap_start == SnapStart::On
        && !function.environment.contains_key("OPENSSL_CONF")
        && std::arch::is_x86_feature_detected!("rdrand")
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
