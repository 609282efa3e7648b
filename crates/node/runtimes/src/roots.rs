//! Where programs of the root file system are found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proto_node::FunctionSpec;
use proto_sandbox::Layer;

use crate::RuntimeError;

/// Where interpreters are looked for in a layer, best first.
const PROGRAM_DIRECTORIES: [&str; 3] = ["/var/lang/bin", "/usr/local/bin", "/usr/bin"];

/// The layers that make the root file system of functions.
#[derive(Clone, Debug)]
pub struct Roots(Vec<Layer>);

impl Roots {
    /// Layers, the lowest first.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Roots {
        Roots(layers)
    }

    /// The path in the sandbox of a program by the first of these names that there is, and the name of the file that it
    /// leads to.
    pub(crate) fn interpreter(
        &self,
        name: &str,
        others: &[&str],
        function: &FunctionSpec,
    ) -> Result<(String, String), RuntimeError> {
        let mut names = std::iter::once(name).chain(others.iter().copied());
        let found = names.find_map(|name| self.program(name));
        found.ok_or_else(|| RuntimeError::Unavailable {
            runtime: function.runtime.clone(),
            reason: format!("there is no {name} in the root file system"),
        })
    }

    fn program(&self, name: &str) -> Option<(String, String)> {
        for root in self.directories() {
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

    /// Whether there is a program at this path, which is relative to the root.
    pub(crate) fn has_program(&self, path: &str) -> bool {
        self.directories()
            .any(|root| is_executable(&root.join(path)))
    }

    /// Directories of the host that make the root file system, the highest first.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().rev().map(|layer| match layer {
            Layer::Host => Path::new("/"),
            Layer::Directory(path) => path.as_path(),
        })
    }
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
