//! The life of names in memory: asked for once, moved by a rename, gone with their removal, forgotten when there are many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_vfs::{Attr, Dentry, Errno, File, FileSystem, FileType, FsStat, Inode, Limits, Result};

/// A file system whose directories have any number as a name, each a directory; it counts what it is asked.
#[derive(Default)]
struct Numbers {
    asked: AtomicUsize,
}

struct Number {
    fs: Arc<Numbers>,
    ino: u64,
}

impl FileSystem for Numbers {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Number {
            fs: Arc::default(),
            ino: 0,
        })
    }

    fn dev(&self) -> u64 {
        1
    }

    fn stat(&self) -> FsStat {
        FsStat::default()
    }
}

impl Inode for Number {
    fn fs(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.fs) as _
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            ino: self.ino,
            mode: FileType::Directory.mode_bits() | 0o755,
            ..Attr::default()
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.fs.asked.fetch_add(1, Ordering::Relaxed);
        let number = std::str::from_utf8(name).ok().and_then(|n| n.parse().ok());
        Ok(Arc::new(Number {
            fs: Arc::clone(&self.fs),
            ino: number.ok_or(Errno::ENOENT)?,
        }))
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
}

fn tree(entries: usize) -> (Arc<Numbers>, Arc<Dentry>) {
    let fs = Arc::new(Numbers::default());
    let root = Arc::new(Number {
        fs: Arc::clone(&fs),
        ino: 0,
    });
    (fs, Dentry::root(root, Limits { entries }).unwrap())
}

fn asked(fs: &Numbers) -> usize {
    fs.asked.load(Ordering::Relaxed)
}

#[test]
fn a_name_is_one_dentry_and_is_asked_for_once() {
    let (fs, root) = tree(100);
    let first = root.lookup(b"7").unwrap();
    let again = root.lookup(b"7").unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!((asked(&fs), &*first.name()), (1, &b"7"[..]));
    assert!(Arc::ptr_eq(&first.parent().unwrap(), &root));
    // Also one that is not there.
    for _ in 0..3 {
        assert_eq!(root.lookup(b"x").unwrap_err(), Errno::ENOENT);
    }
    assert_eq!(asked(&fs), 2);
}

#[test]
fn no_more_names_are_kept_than_the_limit_says_but_those_in_use() {
    const ENTRIES: usize = 16;
    let (fs, root) = tree(ENTRIES);
    let held: Vec<_> = (0..4)
        .map(|n: usize| root.lookup(n.to_string().as_bytes()).unwrap())
        .collect();
    for n in 4..200usize {
        root.lookup(n.to_string().as_bytes()).unwrap();
    }
    let before = asked(&fs);
    // Those in use are the same as before; the latest are still known.
    for (n, dentry) in held.iter().enumerate() {
        let again = root.lookup(n.to_string().as_bytes()).unwrap();
        assert!(Arc::ptr_eq(dentry, &again), "{n}");
    }
    root.lookup(b"199").unwrap();
    assert_eq!(asked(&fs), before);
    // Of the others the oldest are asked for again.
    root.lookup(b"4").unwrap();
    assert_eq!(asked(&fs), before + 1);
}

#[test]
fn a_directory_in_use_keeps_its_way_to_the_root() {
    let (fs, root) = tree(2);
    let deep = (0..10).fold(Arc::clone(&root), |at, n: usize| {
        at.lookup(n.to_string().as_bytes()).unwrap()
    });
    for n in 100..140usize {
        root.lookup(n.to_string().as_bytes()).unwrap();
    }
    let before = asked(&fs);
    let mut names = Vec::new();
    let mut at = Arc::clone(&deep);
    while let Some(parent) = at.parent() {
        names.push(String::from_utf8(at.name().to_vec()).unwrap());
        at = parent;
    }
    assert_eq!(names, ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    let again = (0..10).fold(root, |at, n: usize| {
        at.lookup(n.to_string().as_bytes()).unwrap()
    });
    assert!(Arc::ptr_eq(&deep, &again));
    assert_eq!(asked(&fs), before);
}
