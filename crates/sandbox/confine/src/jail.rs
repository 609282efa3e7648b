//! The jail's two doors: [`Open::enter`] before anything is opened, [`Open::seal`] after.
//!
//! ```text
//! process with one thread ──Open::enter──▶ Open ──(opens files, makes stubs)──▶ Open::seal ──▶ Sealed
//!                          namespaces                                         root, rlimits, privileges,
//!                                                                             Landlock, seccomp
//! ```
//!
//! Stubs are made between the two doors: they bring stricter filters of their own.

use std::io;
use std::os::fd::BorrowedFd;

use host_sys::filter::Scope;
use host_sys::namespace::{self, Kind, Side};
use host_sys::rlimit::{self, Resource};
use host_sys::{filter, privilege};
use proto_sandbox::JailLayer;

use crate::files;
use crate::layers::Layers;
use crate::tasks;

/// Most descriptors that one kernel process holds, if the host permits as many.
pub const MAX_DESCRIPTORS: u64 = 65_536;

const WITHOUT_PIDS: [Kind; 6] = [
    Kind::User,
    Kind::Network,
    Kind::Ipc,
    Kind::Uts,
    Kind::Mount,
    Kind::Cgroup,
];

const WITH_PIDS: [Kind; 7] = [
    Kind::User,
    Kind::Network,
    Kind::Ipc,
    Kind::Uts,
    Kind::Mount,
    Kind::Cgroup,
    Kind::Pid,
];

/// Why the jail could not be closed. Without these layers no guest may run.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Rights could not be given up.
    #[error("cannot give up privileges")]
    Privileges(#[source] io::Error),
    /// The system call filter could not be installed.
    #[error("cannot install the system call filter")]
    Seccomp(#[source] io::Error),
}

/// What runs the guests of a sandbox, which decides what its kernel process must be able to ask of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Stub processes, which it traces.
    Processes,
    /// A virtual machine, which was made before.
    Machine,
}

/// In its own namespaces where permitted, but still able to open what it needs.
#[derive(Debug)]
pub struct Open {
    namespaces: JailLayer,
    own_namespaces: bool,
    empty_root: JailLayer,
    landlock: JailLayer,
}

/// A process that others are made from, each with namespaces of its own.
#[derive(Debug)]
pub struct Zygote {
    kinds: Vec<Kind>,
    ids: (u32, u32),
    parent: u32,
}

/// Which side of [`Zygote::fork`] this is.
#[derive(Debug)]
pub enum Forked {
    /// The zygote; the number is the child's.
    Parent(i32),
    /// The child, in its jail.
    Child(Open),
}

impl Zygote {
    /// Leaves the host's network, if permitted, for an empty one that all children share: none of them can make a
    /// socket, and a namespace each is what takes the host longest to make and to remove.
    #[must_use]
    pub fn prepare() -> Zygote {
        tasks::limit();
        let shares_network = namespace::unshare(&[Kind::Network]).is_ok();
        let own = |kind: &Kind| !(shares_network && *kind == Kind::Network);
        Zygote {
            kinds: WITH_PIDS.into_iter().filter(own).collect(),
            ids: privilege::effective_ids(),
            parent: std::os::unix::process::parent_id(),
        }
    }

    /// Divides. The caller must have one thread. The child is one of the caller's parent and dies with it.
    ///
    /// # Errors
    /// When the host permits no process.
    pub fn fork(&self) -> io::Result<Forked> {
        match namespace::fork_sibling(&self.kinds) {
            Ok(Side::Parent(pid)) => return Ok(Forked::Parent(pid)),
            Ok(Side::Child) => {
                let open = Open::inside(&WITH_PIDS, self.ids);
                first_of_its_namespace();
                return Ok(Forked::Child(open));
            }
            // The child tries what of it the host permits.
            Err(_) => {}
        }
        Ok(match namespace::fork_sibling(&[])? {
            Side::Parent(pid) => Forked::Parent(pid),
            Side::Child => {
                if !matches!(privilege::die_with_parent(self.parent), Ok(true)) {
                    std::process::exit(1);
                }
                Forked::Child(Open::leave_namespaces())
            }
        })
    }
}

/// For the first process of a process id namespace: ends with its parent, sees itself in /proc.
fn first_of_its_namespace() {
    // The parent is outside the namespace, so its number is 0 here; 1 or more means it is gone.
    if !matches!(privilege::die_with_parent(0), Ok(true)) {
        std::process::exit(1);
    }
    // Without it /proc still shows the outer namespace, which only costs accuracy of memory figures.
    let _ = namespace::mount_own_proc();
}

impl Open {
    /// Leaves the host's namespaces. The process must have one thread; afterwards it may start more.
    ///
    /// Where process id namespaces are permitted the caller goes on in a child process, as the first of the new
    /// namespace: when it ends, the host ends whatever it started. The original process waits and ends likewise.
    #[must_use]
    pub fn enter() -> Open {
        tasks::limit();
        Open::leave_namespaces()
    }

    fn leave_namespaces() -> Open {
        let ids = privilege::effective_ids();
        if namespace::unshare(&WITH_PIDS).is_ok() {
            return Open::enter_pids(ids);
        }
        match namespace::unshare(&WITHOUT_PIDS) {
            Ok(()) => Open::inside(&WITHOUT_PIDS, ids),
            Err(error) => Open {
                namespaces: JailLayer::missing(error),
                own_namespaces: false,
                empty_root: JailLayer::missing("not applied"),
                landlock: JailLayer::missing("not applied"),
            },
        }
    }

    fn enter_pids(ids: (u32, u32)) -> Open {
        // Before the fork: a child must find its ids mapped.
        let mut open = Open::inside(&WITH_PIDS, ids);
        match namespace::fork_once() {
            Ok(Side::Parent(child)) => namespace::stand_in_for(child),
            Ok(Side::Child) => first_of_its_namespace(),
            Err(error) => open.namespaces = JailLayer::missing(error),
        }
        open
    }

    fn inside(kinds: &[Kind], (uid, gid): (u32, u32)) -> Open {
        let mut names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        if map_ids(uid, gid).is_err() {
            // Unmapped ids show as the overflow ids inside; on the host they are still ours.
            names.push("unmapped ids");
        }
        Open {
            namespaces: JailLayer::in_force(names.join(" ")),
            own_namespaces: true,
            empty_root: JailLayer::missing("not applied"),
            landlock: JailLayer::missing("not applied"),
        }
    }

    /// Whether the process has namespaces of its own, network and mounts among them.
    #[must_use]
    pub fn has_own_namespaces(&self) -> bool {
        self.own_namespaces
    }

    /// Leaves the host's file tree behind. From here on this process, and every thread and process it starts, opens nothing but files
    /// beneath the given directories; of `listed` ones it reads names alone. Call it with one thread, before the first stub is made: Landlock
    /// lets a process trace only those of its own domain.
    ///
    /// # Errors
    /// When privileges could not be given up.
    pub fn restrict_files(
        &mut self,
        read_only: &[BorrowedFd<'_>],
        listed: &[BorrowedFd<'_>],
    ) -> Result<(), JailError> {
        // Landlock forbids changes of mounts.
        self.empty_root = if self.own_namespaces {
            match namespace::enter_empty_root() {
                Ok(()) => JailLayer::in_force(""),
                Err(error) => JailLayer::missing(error),
            }
        } else {
            JailLayer::missing("no own mount namespace")
        };
        privilege::set_no_new_privs().map_err(JailError::Privileges)?;
        self.landlock = files::restrict(read_only, listed);
        Ok(())
    }

    /// Closes the jail for good, for all threads.
    ///
    /// # Errors
    /// When a layer that every host has cannot be applied.
    pub fn seal(self, guests: Guests) -> Result<Layers, JailError> {
        let rlimits = limit_resources();
        privilege::set_no_new_privs().map_err(JailError::Privileges)?;
        privilege::drop_capabilities().map_err(JailError::Privileges)?;
        let list = crate::program_for(guests, std::process::id());
        filter::install(&list, Scope::Process).map_err(JailError::Seccomp)?;
        Ok(Layers {
            seccomp: JailLayer::in_force(format!("{} host calls", crate::allowed(guests).len())),
            landlock: self.landlock,
            namespaces: self.namespaces,
            empty_root: self.empty_root,
            privileges: JailLayer::in_force("no capabilities, no new ones"),
            rlimits,
        })
    }
}

fn limit_resources() -> JailLayer {
    let wanted = [
        (Resource::Core, 0),
        (Resource::LockedMemory, 0),
        (Resource::MessageQueues, 0),
        (Resource::OpenFiles, MAX_DESCRIPTORS),
    ];
    for (resource, most) in wanted {
        let result = rlimit::get(resource).and_then(|(_, hard)| {
            let limit = hard.min(most);
            rlimit::set(resource, limit, limit)
        });
        if let Err(error) = result {
            return JailLayer::missing(error);
        }
    }
    JailLayer::in_force("no core, no locked memory, bounded descriptors")
}

/// Maps the caller's user and group to themselves (user_namespaces(7)).
fn map_ids(uid: u32, gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
