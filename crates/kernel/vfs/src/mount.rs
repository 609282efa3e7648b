//! Mounted file systems: what is put over which directory (mount_namespaces(7)).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::dentry::Limits;
use crate::{Dentry, Errno, FileSystem, Path, Result, Vfs};

bitflags::bitflags! {
    /// Per-mount flags with the values of mount(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// `MS_RDONLY`: every change is `EROFS`.
        const RDONLY = 1;
        /// `MS_NOSUID`: set-user-id bits are ignored at exec.
        const NOSUID = 2;
        /// `MS_NODEV`: device nodes cannot be opened.
        const NODEV = 4;
        /// `MS_NOEXEC`: programs cannot be executed.
        const NOEXEC = 8;
    }
}

/// One mount: a tree of names, seen from a mount point.
pub struct Mount {
    id: u64,
    fs: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
    source: String,
    flags: AtomicU32,
    point: RwLock<Option<Path>>,
    vfs: Arc<Vfs>,
    /// Whether this mount made the tree of names, and so frees it.
    owns_tree: bool,
}

impl Mount {
    /// A mount that is nowhere in the tree, for files without a place.
    #[must_use]
    pub(crate) fn detached(fs: Arc<dyn FileSystem>, root: Arc<Dentry>) -> Arc<Mount> {
        Arc::new(Mount {
            id: 0,
            fs,
            root,
            source: String::from("none"),
            flags: AtomicU32::new(0),
            point: RwLock::new(None),
            vfs: Arc::default(),
            owns_tree: false,
        })
    }

    /// Unique in its table; 0 for files without a place.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file system.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// The directory of the file system that is seen at the mount point.
    #[must_use]
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// What `/proc/mounts` names as the source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Flags now.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes the flags (`MS_REMOUNT`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// The directory it covers; `None` for the root mount and after unmounting.
    #[must_use]
    pub fn point(&self) -> Option<Path> {
        self.point.read().clone()
    }

    /// What this kernel's files share.
    #[must_use]
    pub fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }

    /// `EROFS` on a read-only mount.
    ///
    /// # Errors
    /// `EROFS`.
    pub fn writable(&self) -> Result<()> {
        if self.flags().contains(MountFlags::RDONLY) {
            return Err(Errno::EROFS);
        }
        Ok(())
    }
}

impl Mount {
    /// Forgets which names did not exist: the file system was filled behind the walks' back.
    pub fn forget_absent(&self) {
        self.root.forget_absent();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.owns_tree {
            self.root.forget_children();
        }
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mount({} {})", self.id, self.fs.name())
    }
}

/// Where a mount sits: mount id and the address of the dentry, which the mount keeps alive.
type Point = (u64, usize);

fn key(path: &Path) -> Point {
    (path.mount().id, Arc::as_ptr(path.dentry()) as usize)
}

/// All mounts of a sandbox.
pub struct MountTable {
    vfs: Arc<Vfs>,
    root: Path,
    next_id: AtomicU64,
    mounts: RwLock<Mounts>,
}

#[derive(Default)]
struct Mounts {
    by_point: HashMap<Point, Arc<Mount>>,
    in_order: Vec<Arc<Mount>>,
}

/// Most mounts of one sandbox.
const MAX_MOUNTS: usize = 1024;

impl MountTable {
    /// A table whose root is this file system.
    ///
    /// # Errors
    /// What the root inode fails with.
    pub fn new(
        vfs: Arc<Vfs>,
        root: Arc<dyn FileSystem>,
        source: &str,
        flags: MountFlags,
    ) -> Result<Arc<MountTable>> {
        let mount = Arc::new(Mount {
            id: 1,
            root: Dentry::root(root.root(), Limits::default())?,
            fs: root,
            source: source.to_owned(),
            flags: AtomicU32::new(flags.bits()),
            point: RwLock::new(None),
            vfs: Arc::clone(&vfs),
            owns_tree: true,
        });
        let path = Path::new(Arc::clone(&mount), Arc::clone(&mount.root));
        let mounts = Mounts {
            by_point: HashMap::new(),
            in_order: vec![mount],
        };
        Ok(Arc::new(MountTable {
            vfs,
            root: path,
            next_id: AtomicU64::new(2),
            mounts: RwLock::new(mounts),
        }))
    }

    /// What this kernel's files share: watches, locks, drivers.
    #[must_use]
    pub fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }

    /// The root of everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a file system over a directory (or a file over a file).
    ///
    /// # Errors
    /// `ENOTDIR` when the types differ, `ENOSPC` with too many mounts.
    pub fn mount(
        &self,
        fs: Arc<dyn FileSystem>,
        source: &str,
        at: &Path,
        flags: MountFlags,
    ) -> Result<Arc<Mount>> {
        let root = Dentry::root(fs.root(), Limits::default())?;
        self.attach(fs, root, source, at, flags, true)
    }

    /// Shows a place a second time elsewhere (`MS_BIND`).
    ///
    /// # Errors
    /// As [`mount`](MountTable::mount).
    pub fn bind(&self, from: &Path, at: &Path, flags: MountFlags) -> Result<Arc<Mount>> {
        let mount = from.mount();
        let (fs, root) = (Arc::clone(&mount.fs), Arc::clone(from.dentry()));
        self.attach(fs, root, &mount.source, at, flags, false)
    }

    fn attach(
        &self,
        fs: Arc<dyn FileSystem>,
        root: Arc<Dentry>,
        source: &str,
        at: &Path,
        flags: MountFlags,
        owns_tree: bool,
    ) -> Result<Arc<Mount>> {
        if root.is_dir() != at.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let at = self.topmost(at.clone());
        let mut mounts = self.mounts.write();
        if mounts.in_order.len() >= MAX_MOUNTS {
            return Err(Errno::ENOSPC);
        }
        let mount = Arc::new(Mount {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            source: source.to_owned(),
            flags: AtomicU32::new(flags.bits()),
            point: RwLock::new(Some(at.clone())),
            vfs: Arc::clone(&self.vfs),
            owns_tree,
        });
        at.dentry().begin_mount();
        mounts.by_point.insert(key(&at), Arc::clone(&mount));
        mounts.in_order.push(Arc::clone(&mount));
        Ok(mount)
    }

    /// Takes away the mount whose root this is.
    ///
    /// # Errors
    /// `EINVAL` when it is no mount root or the root of everything; `EBUSY` when files of it
    /// or mounts below it are in use, unless `how` is [`Unmount::Detach`].
    pub fn unmount(&self, at: Path, how: Unmount) -> Result<()> {
        let mut mounts = self.mounts.write();
        let mount = Arc::clone(at.mount());
        if !Arc::ptr_eq(&mount.root, at.dentry()) {
            return Err(Errno::EINVAL);
        }
        let point = mount.point().ok_or(Errno::EINVAL)?;
        drop(at);
        // Held by the two lists of the table and here.
        if how == Unmount::IfUnused && Arc::strong_count(&mount) > 3 {
            return Err(Errno::EBUSY);
        }
        mounts.by_point.remove(&key(&point));
        mounts.in_order.retain(|m| !Arc::ptr_eq(m, &mount));
        point.dentry().end_mount();
        *mount.point.write() = None;
        Ok(())
    }

    /// The place itself, or the root of what is mounted over it.
    #[must_use]
    pub fn topmost(&self, mut path: Path) -> Path {
        while path.dentry().is_mount_point() {
            let Some(mount) = self.mounts.read().by_point.get(&key(&path)).cloned() else {
                break;
            };
            let root = Arc::clone(&mount.root);
            path = Path::new(mount, root);
        }
        path
    }

    /// The mounts in the order they were made.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().in_order.clone()
    }

    /// `/proc/<pid>/mountinfo` for a task with this root (proc_pid_mountinfo(5)).
    #[must_use]
    pub fn mountinfo(&self, root: &Path) -> Vec<u8> {
        let mut text = Vec::new();
        for mount in self.list() {
            let Some(point) = point_text(&mount, root) else {
                continue;
            };
            let parent = mount.point().map_or(0, |p| p.mount().id);
            let dev = mount.fs.dev();
            let (major, minor) = (base_abi::device::major(dev), base_abi::device::minor(dev));
            let inside = Path::inside(&mount.root);
            text.extend_from_slice(format!("{} {parent} {major}:{minor} ", mount.id).as_bytes());
            text.extend_from_slice(&escape(&inside));
            text.push(b' ');
            text.extend_from_slice(&escape(&point));
            let tail = format!(
                " {} - {} {} {}\n",
                options(mount.flags()),
                mount.fs.name(),
                mount.source,
                access(mount.flags())
            );
            text.extend_from_slice(tail.as_bytes());
        }
        text
    }

    /// `/proc/mounts` for a task with this root (fstab(5) form).
    #[must_use]
    pub fn mounts(&self, root: &Path) -> Vec<u8> {
        let mut text = Vec::new();
        for mount in self.list() {
            let Some(point) = point_text(&mount, root) else {
                continue;
            };
            text.extend_from_slice(format!("{} ", mount.source).as_bytes());
            text.extend_from_slice(&escape(&point));
            let tail = format!(" {} {} 0 0\n", mount.fs.name(), options(mount.flags()));
            text.extend_from_slice(tail.as_bytes());
        }
        text
    }
}

/// What to do with a mount in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Refuse (`umount(2)` without flags).
    IfUnused,
    /// Take it out of the tree; those who have it keep it (`MNT_DETACH`).
    Detach,
}

fn point_text(mount: &Arc<Mount>, root: &Path) -> Option<Vec<u8>> {
    Path::new(Arc::clone(mount), Arc::clone(&mount.root)).reachable_from(root)
}

fn access(flags: MountFlags) -> &'static str {
    if flags.contains(MountFlags::RDONLY) {
        "ro"
    } else {
        "rw"
    }
}

fn options(flags: MountFlags) -> String {
    let mut text = access(flags).to_owned();
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
    ] {
        if flags.contains(flag) {
            text.push_str(name);
        }
    }
    text.push_str(",noatime");
    text
}

/// Blanks and backslashes as octal, as the tables under `/proc` show them.
fn escape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\') {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}
