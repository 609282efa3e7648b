//! What stands between a guest and this host, for this user, on this machine: found out by trying.

use std::fmt;
use std::process::{Command, Stdio};

use host_sys::cgroup::GroupState;
use proto_sandbox::JailLayer;

use crate::failure::{ExitCode, Failure};

/// One thing that holds a guest when the kernel of its sandbox does not, or keeps it within its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layer {
    /// The list of host calls that the kernel process may make (seccomp(2)).
    Seccomp,
    /// Which files it may open (landlock(7)).
    Landlock,
    /// Namespaces of its own (namespaces(7)).
    Namespaces,
    /// An empty root directory.
    EmptyRoot,
    /// No capabilities, and no way to get any.
    Privileges,
    /// Limits of the process (getrlimit(2)).
    Rlimits,
    /// A control group that limits memory.
    Memory,
    /// A control group that limits processes and threads.
    Tasks,
    /// A control group that shares processors by weight.
    Cpu,
}

impl Layer {
    /// Layers of the jail as the probe names them.
    const JAIL: [(&'static str, Layer); 6] = [
        ("seccomp", Layer::Seccomp),
        ("landlock", Layer::Landlock),
        ("namespaces", Layer::Namespaces),
        ("empty root", Layer::EmptyRoot),
        ("privileges", Layer::Privileges),
        ("rlimits", Layer::Rlimits),
    ];
    /// Layers that are controllers of the group, by controller.
    const GROUP: [(&'static str, Layer); 3] = [
        ("memory", Layer::Memory),
        ("pids", Layer::Tasks),
        ("cpu", Layer::Cpu),
    ];

    /// What a report calls it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Layer::Seccomp => "jail: host call filter",
            Layer::Landlock => "jail: landlock",
            Layer::Namespaces => "jail: namespaces",
            Layer::EmptyRoot => "jail: empty root directory",
            Layer::Privileges => "jail: privileges",
            Layer::Rlimits => "jail: resource limits",
            Layer::Memory => "control group: memory",
            Layer::Tasks => "control group: tasks",
            Layer::Cpu => "control group: processors",
        }
    }

    /// What gives it to this user.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Layer::Landlock => "boot with landlock in the list of lsm=, Linux 5.13 or later",
            Layer::Namespaces | Layer::EmptyRoot => {
                "permit user namespaces: sysctl -w user.max_user_namespaces=10000 (and kernel.unprivileged_userns_clone=1 on Debian, kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)"
            }
            Layer::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER",
            Layer::Privileges | Layer::Rlimits => {
                "start it without a supervisor that forbids prctl(2) or setrlimit(2)"
            }
            Layer::Memory | Layer::Tasks | Layer::Cpu => {
                "start it in a group of its own: systemd-run --user --scope -p Delegate=yes rekindle serve, or as root"
            }
        }
    }
}

/// A layer and whether it holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which.
    pub layer: Layer,
    /// Whether it holds.
    pub state: JailLayer,
}

/// Tries all layers: a real sandbox process enters its jail and says what holds. `groups` is what control groups came to.
///
/// # Errors
/// Why there can be no sandbox.
pub fn look(groups: &GroupState) -> Result<Vec<Held>, String> {
    let mut held = jail()?;
    held.extend(Layer::GROUP.map(|(controller, layer)| Held {
        layer,
        state: controlled(groups, controller),
    }));
    Ok(held)
}

fn jail() -> Result<Vec<Held>, String> {
    let output = Command::new("/proc/self/exe")
        .args(["sandbox", "--probe"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, why.trim()));
    }
    let said = serde_json::from_slice::<Vec<(String, JailLayer)>>(&output.stdout)
        .map_err(|_| "the probe said nothing readable".to_owned())?;
    let known = |(name, state): (String, JailLayer)| {
        let (_, layer) = Layer::JAIL.into_iter().find(|(known, _)| *known == name)?;
        Some(Held { layer, state })
    };
    Ok(said.into_iter().filter_map(known).collect())
}

fn controlled(groups: &GroupState, controller: &str) -> JailLayer {
    match groups {
        GroupState::Missing(reason) => JailLayer::missing(reason),
        GroupState::InForce(controllers) => {
            let mut controllers = controllers.split(' ');
            match controllers.find(|name| name.split('/').next() == Some(controller)) {
                Some(name) => JailLayer::in_force(name),
                None => JailLayer::missing("the host does not give this group the controller"),
            }
        }
    }
}

/// Refuses to go on without layers that were asked for, and, unless that is accepted, where nothing but the sandbox's own
/// kernel would keep a guest from this user's other processes.
///
/// # Errors
/// [`ExitCode::Unsupported`], with what gives the first that is missing.
pub fn require(held: &[Held], required: &[Layer], exposure: Exposure) -> Result<(), Failure> {
    let missing = |layer: Layer| {
        held.iter()
            .any(|held| held.layer == layer && matches!(held.state, JailLayer::Missing(_)))
    };
    if let Some(layer) = required.iter().find(|layer| missing(**layer)) {
        let text = format!("{} is required and not in force", layer.title());
        return Err(Failure::new(ExitCode::Unsupported, text).next(layer.remedy()));
    }
    let exposed = missing(Layer::Landlock) && missing(Layer::Namespaces);
    if exposed && exposure == Exposure::Refused {
        let text = "neither Landlock nor namespaces are in force: a guest that broke its kernel could reach the other \
                    processes of this user";
        let next = format!(
            "{}; or take that risk with --insecure",
            Layer::Namespaces.remedy()
        );
        return Err(Failure::new(ExitCode::Unsupported, text).next(next));
    }
    Ok(())
}

/// Whether a server may run where Landlock and namespaces are both missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// It may not.
    Refused,
    /// Whoever started it accepts that.
    Accepted,
}

/// What holds on one line, and a line with its remedy for each thing that does not.
pub struct Summary<'a>(pub &'a [Held]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in force:")?;
        for held in self.0 {
            match &held.state {
                JailLayer::InForce(detail) if detail.is_empty() => {
                    write!(f, " {};", held.layer.title())?;
                }
                JailLayer::InForce(detail) => write!(f, " {} ({detail});", held.layer.title())?,
                JailLayer::Missing(_) => {}
            }
        }
        for held in self.0 {
            if let JailLayer::Missing(reason) = &held.state {
                let (title, remedy) = (held.layer.title(), held.layer.remedy());
                write!(f, "\nNOT in force: {title}: {reason}; to have it: {remedy}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(layer: Layer, state: JailLayer) -> Held {
        Held { layer, state }
    }

    #[test]
    fn what_is_required_and_missing_is_refused() {
        let all = [
            held(Layer::Landlock, JailLayer::in_force("ABI 6")),
            held(Layer::Namespaces, JailLayer::missing("EPERM")),
            held(Layer::Memory, JailLayer::missing("no controllers")),
        ];
        assert!(require(&all, &[Layer::Landlock], Exposure::Refused).is_ok());
        let refused = require(&all, &[Layer::Landlock, Layer::Memory], Exposure::Accepted);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("control group: memory"), "{text}");
        assert!(text.contains("Delegate=yes"), "{text}");
    }

    #[test]
    fn without_landlock_and_namespaces_nothing_starts_unless_that_is_accepted() {
        let exposed = [
            held(Layer::Landlock, JailLayer::missing("ENOSYS")),
            held(Layer::Namespaces, JailLayer::missing("EPERM")),
        ];
        assert!(require(&exposed, &[], Exposure::Refused).is_err());
        assert!(require(&exposed, &[], Exposure::Accepted).is_ok());
    }

    #[test]
    fn controllers_are_told_apart() {
        let groups = GroupState::InForce("memory/v1 pids/v1".to_owned());
        assert_eq!(
            controlled(&groups, "memory"),
            JailLayer::in_force("memory/v1")
        );
        assert!(matches!(controlled(&groups, "cpu"), JailLayer::Missing(_)));
        let text = Summary(&[held(Layer::Cpu, controlled(&groups, "cpu"))]).to_string();
        assert!(
            text.contains("NOT in force: control group: processors"),
            "{text}"
        );
    }
}
