//! The guest's file tree from its specification.

use std::fs::File;
use std::path::Path as HostPath;
use std::sync::{Arc, OnceLock, Weak};

use kernel_fs::host_view::{self, Identity};
use kernel_fs::{Budget, BudgetLimits, HostTree, RootAttr, TmpFs, dev};
use kernel_syscall::{FilePages, System};
use kernel_vfs::{
    At, Credentials, Errno, FileSystem, FsContext, Inode, LastLink, MountFlags, MountTable, Path,
    Vfs,
};
use proto_sandbox::{Access, Layer, Mount, StartSpec};

use crate::BuildError;

/// Nodes that the writable layers may hold.
const INODES: u64 = 200_000;

/// A file tree whose random devices wait for their kernel.
pub(crate) struct Tree {
    pub(crate) mounts: Arc<MountTable>,
    kernel: Arc<OnceLock<Weak<System>>>,
    /// What `/`, `/dev/shm` and writable mounts may hold.
    disk: Budget,
    devices: Budget,
    /// Host directories that the jail must leave readable.
    pub(crate) readable: Vec<File>,
    /// Host directories whose names it must leave readable, and no more.
    pub(crate) listed: Vec<File>,
}

/// Everything below `/` but `/proc`, `/sys` and `/dev/pts`, which need the kernel.
pub(crate) fn build(spec: &StartSpec) -> Result<Tree, BuildError> {
    let budget = Budget::new(BudgetLimits {
        bytes: spec.rootfs.writable_bytes,
        inodes: INODES,
    });
    let identity = Identity {
        hostname: spec.hostname.clone(),
        uid: spec.program.uid,
        gid: spec.program.gid,
    };
    let mut layers: Vec<Arc<dyn Inode>> = Vec::new();
    let mut host = false;
    // Memory figures of stubs come from the jail's own /proc.
    let mut readable = vec![open_directory("/proc".as_ref())?];
    let mut listed = Vec::new();
    for layer in &spec.rootfs.layers {
        let fs = match layer {
            Layer::Host => {
                host = true;
                let shown = host_view::shown();
                let open = |path| File::open(path).ok();
                readable.extend(shown.whole.iter().filter_map(open));
                listed.extend(shown.on_the_way.iter().filter_map(open));
                host_view::host_layer()
            }
            Layer::Directory(path) => {
                readable.push(open_directory(path)?);
                HostTree::whole(path)
            }
        };
        layers.push(
            fs.map_err(|e| BuildError::rootfs("cannot open a layer", &e))?
                .root(),
        );
    }
    let own = if host {
        host_view::host_essentials(&identity)
    } else {
        host_view::essentials(&identity)
    };
    let own = own.map_err(|e| BuildError::rootfs("cannot make the base directories", &e))?;
    // The machine's own files lie below what is made; an image's own files lie above it.
    if host {
        layers.push(own.root());
    } else {
        layers.insert(0, own.root());
    }
    let failed = |e: Errno| BuildError::rootfs("cannot put the root file system together", &e);
    let root = TmpFs::over(&layers, budget.clone()).map_err(failed)?;
    for path in ["proc", "sys", "dev"] {
        host_view::directory(&root.root(), path, 0o755).map_err(failed)?;
    }
    let vfs = Arc::new(Vfs::default());
    let mounts =
        MountTable::new(Arc::clone(&vfs), root, "rootfs", MountFlags::empty()).map_err(failed)?;
    let kernel: Arc<OnceLock<Weak<System>>> = Arc::default();
    let random = Arc::clone(&kernel);
    let entropy = move |buffer: &mut [u8]| {
        if let Some(system) = random.get().and_then(Weak::upgrade) {
            system.kernel.rng.fill(buffer);
        }
    };
    let devices = Budget::new(BudgetLimits {
        bytes: 1 << 20,
        inodes: 1024,
    });
    let dev = dev::dev_fs(devices.clone(), &vfs.drivers, Arc::new(entropy)).map_err(failed)?;
    let mut tree = Tree {
        mounts,
        kernel,
        disk: budget,
        devices,
        readable,
        listed,
    };
    tree.put(dev, "devtmpfs", "/dev").map_err(failed)?;
    for mount in &spec.rootfs.mounts {
        tree.mount(mount)?;
    }
    Ok(tree)
}

fn open_directory(path: &HostPath) -> Result<File, BuildError> {
    File::open(path).map_err(|e| BuildError::rootfs(&format!("cannot open {}", path.display()), &e))
}

impl Tree {
    /// Gives the tree its kernel: random numbers, terminals, shared memory, `/proc` and `/sys`.
    pub(crate) fn attach(&self, system: &Arc<System>) -> Result<(), BuildError> {
        let failed =
            |e: Errno| BuildError::rootfs("cannot mount the kernel's own file systems", &e);
        let _ = self.kernel.set(Arc::downgrade(system));
        system.mount_own().map_err(failed)?;
        let shm = RootAttr {
            mode: 0o1777,
            uid: 0,
            gid: 0,
        };
        for budget in [&self.disk, &self.devices] {
            let budget = budget.clone();
            system.memory.count_files(Box::new(move || {
                let pages = budget.pages();
                FilePages {
                    held: pages.held,
                    paid: pages.paid,
                    unpaid: pages.unpaid,
                }
            }));
        }
        let shm = TmpFs::new(self.disk.clone(), shm).map_err(failed)?;
        self.put(shm, "shm", "/dev/shm").map_err(failed)
    }

    /// Mounts a file system at a path that exists.
    pub(crate) fn put(&self, fs: Arc<dyn FileSystem>, source: &str, at: &str) -> Result<(), Errno> {
        let place = self.find(at)?;
        self.mounts
            .mount(fs, source, &place, MountFlags::empty())
            .map(|_| ())
    }

    fn find(&self, path: &str) -> Result<Path, Errno> {
        let fs = FsContext::new(Arc::clone(&self.mounts));
        let root = Credentials {
            privileged: true,
            ..Credentials::default()
        };
        At::cwd(&fs, &root).find(path.as_bytes(), LastLink::Follow)
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), BuildError> {
        let text = format!(
            "cannot mount {} at {}",
            mount.source.display(),
            mount.target
        );
        let failed = |e: Errno| BuildError::rootfs(&text, &e);
        self.make_directories(&mount.target).map_err(failed)?;
        let image = HostTree::whole(HostPath::new(&mount.source))
            .map_err(|e| BuildError::rootfs(&text, &e))?;
        self.readable.push(open_directory(&mount.source)?);
        let place = self.find(&mount.target).map_err(failed)?;
        let source = mount.source.to_string_lossy();
        let (fs, flags): (Arc<dyn FileSystem>, _) = match mount.access {
            Access::ReadOnly => (image, MountFlags::RDONLY),
            Access::CopyOnWrite => {
                let over = TmpFs::over(&[image.root()], self.disk.clone()).map_err(failed)?;
                (over, MountFlags::empty())
            }
        };
        self.mounts
            .mount(fs, &source, &place, flags)
            .map(|_| ())
            .map_err(failed)
    }

    fn make_directories(&self, target: &str) -> Result<(), Errno> {
        let fs = FsContext::new(Arc::clone(&self.mounts));
        let root = Credentials {
            privileged: true,
            ..Credentials::default()
        };
        let at = At::cwd(&fs, &root);
        let mut path = String::new();
        for name in target.split('/').filter(|n| !n.is_empty()) {
            path.push('/');
            path.push_str(name);
            match at.mkdir(path.as_bytes(), 0o755) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
