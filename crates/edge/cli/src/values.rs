//! Arguments with an inner form: root file systems, mounts, variables.

use std::path::PathBuf;
use std::str::FromStr;

use proto_sandbox::{Access, Layer, Mount, PlatformChoice};

/// `--rootfs host` or `--rootfs DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootFsArg {
    /// The machine's own interpreters, read-only.
    Host,
    /// A directory.
    Directory(PathBuf),
}

impl FromStr for RootFsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<RootFsArg, String> {
        if text == "host" {
            return Ok(RootFsArg::Host);
        }
        existing_directory(text).map(RootFsArg::Directory)
    }
}

impl From<RootFsArg> for Layer {
    fn from(arg: RootFsArg) -> Layer {
        match arg {
            RootFsArg::Host => Layer::Host,
            RootFsArg::Directory(path) => Layer::Directory(path),
        }
    }
}

/// `--mount SOURCE:TARGET[:ro|cow]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountArg(pub Mount);

impl FromStr for MountArg {
    type Err = String;

    fn from_str(text: &str) -> Result<MountArg, String> {
        let fields: Vec<&str> = text.split(':').collect();
        let (source, target, access) = match fields[..] {
            [source, target] => (source, target, "ro"),
            [source, target, access] => (source, target, access),
            _ => return Err("expected SOURCE:TARGET[:ro|cow]".to_owned()),
        };
        if !target.starts_with('/') || target.split('/').any(|part| part == "..") {
            return Err(format!("`{target}` must be an absolute path without `..`"));
        }
        let access = match access {
            "ro" => Access::ReadOnly,
            "cow" => Access::CopyOnWrite,
            "rw" => {
                return Err(
                    "nothing that a sandbox writes reaches the host: use cow, which keeps it in the sandbox"
                        .to_owned(),
                );
            }
            other => return Err(format!("unknown access `{other}`, use ro or cow")),
        };
        let source = std::fs::canonicalize(source).map_err(|error| format!("{source}: {error}"))?;
        Ok(MountArg(Mount {
            source,
            target: target.to_owned(),
            access,
        }))
    }
}

/// What runs the guest's instructions.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformArg {
    /// A virtual machine where leaving one is cheap on this host, else processes.
    Auto,
    /// Processes of the host that are traced; everywhere.
    #[default]
    Process,
    /// Ring 3 of a virtual machine; where the host has KVM.
    Kvm,
}

impl PlatformArg {
    /// The word for it on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PlatformArg::Auto => "auto",
            PlatformArg::Process => "process",
            PlatformArg::Kvm => "kvm",
        }
    }
}

impl From<PlatformArg> for PlatformChoice {
    fn from(given: PlatformArg) -> PlatformChoice {
        match given {
            // What was not measured is taken for dear.
            PlatformArg::Auto | PlatformArg::Process => PlatformChoice::Process,
            PlatformArg::Kvm => PlatformChoice::Kvm,
        }
    }
}

/// `--env NAME=VALUE`, or `--env NAME` for the caller's own value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar(pub String, pub String);

impl FromStr for EnvVar {
    type Err = String;

    fn from_str(text: &str) -> Result<EnvVar, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (
                text,
                std::env::var(text).map_err(|_| format!("`{text}` is not set here"))?,
            ),
        };
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        Ok(EnvVar(name.to_owned(), value))
    }
}

fn existing_directory(text: &str) -> Result<PathBuf, String> {
    let path = std::fs::canonicalize(text).map_err(|error| format!("{text}: {error}"))?;
    if path.is_dir() {
        Ok(path)
    } else {
        Err(format!("{text} is not a directory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_only_unless_said() {
        let MountArg(mount) = "/usr:/data".parse().unwrap();
        assert_eq!(
            (mount.target.as_str(), mount.access),
            ("/data", Access::ReadOnly)
        );
        let MountArg(mount) = "/usr:/data:cow".parse().unwrap();
        assert_eq!(mount.access, Access::CopyOnWrite);
        let refused = "/usr:/data:rw".parse::<MountArg>().unwrap_err();
        assert!(refused.contains("use cow"), "{refused}");
    }

    #[test]
    fn mounts_that_make_no_sense_are_refused() {
        for bad in [
            "/usr",
            "/usr:data",
            "/usr:/a/../b",
            "/usr:/d:rx",
            "/no/such/dir:/d",
            "a:b:c:d",
        ] {
            assert!(bad.parse::<MountArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_have_names() {
        assert_eq!("A=b=c".parse(), Ok(EnvVar("A".into(), "b=c".into())));
        assert!("=x".parse::<EnvVar>().is_err());
    }
}
