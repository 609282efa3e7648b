//! Which control groups this process is in (`/proc/self/cgroup`, cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// One hierarchy and this process's place in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// The hierarchy of version 1 that has this controller.
    V1 {
        controller: String,
        directory: PathBuf,
    },
    /// The one hierarchy of version 2, with the directory of this process's group.
    V2 { directory: PathBuf },
}

impl Membership {
    /// The directory of the group that this process is in.
    pub(super) fn directory(&self) -> &Path {
        match self {
            Membership::V1 { directory, .. } | Membership::V2 { directory } => directory,
        }
    }
}

/// The groups of this process, one of each controller.
pub(super) fn of_this_process() -> io::Result<Vec<Membership>> {
    Ok(parse(&fs::read_to_string("/proc/self/cgroup")?))
}

/// Lines of the form `number:controllers:path`; the hierarchy of version 2 has no controllers there.
fn parse(text: &str) -> Vec<Membership> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        Some((controllers, fields.next()?.trim_start_matches('/')))
    });
    let mount = Path::new(MOUNT);
    let mut found = Vec::new();
    for (controllers, path) in lines {
        if controllers.is_empty() {
            found.push(Membership::V2 {
                directory: mount.join(path),
            });
            continue;
        }
        found.extend(controllers.split(',').map(|controller| Membership::V1 {
            controller: controller.to_owned(),
            directory: mount.join(controller).join(path),
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let v1 = |controller: &str, directory: &str| Membership::V1 {
            controller: controller.into(),
            directory: directory.into(),
        };
        let v2 = Membership::V2 {
            directory: "/sys/fs/cgroup/user.slice".into(),
        };
        assert_eq!(
            parse("5:cpu,cpuacct:/a\n4:memory:/\nnonsense\n0::/user.slice\n"),
            [
                v1("cpu", "/sys/fs/cgroup/cpu/a"),
                v1("cpuacct", "/sys/fs/cgroup/cpuacct/a"),
                v1("memory", "/sys/fs/cgroup/memory/"),
                v2,
            ]
        );
    }
}
