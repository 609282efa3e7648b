//! Directories and files made by closures.

use std::sync::{Arc, Weak};

use base_abi::device;
use kernel_vfs::{
    Attr, DirEntry, Errno, File, FileSystem, FileType, FsStat, Inode, Path, Result, SetAttr,
};
use parking_lot::Mutex;

/// Makes a text.
pub(crate) type Read = Arc<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;
/// Takes a text.
pub(crate) type Write = Arc<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;
/// Finds the place behind a link.
pub(crate) type Follow = Arc<dyn Fn() -> Result<Path> + Send + Sync>;

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Node {
    /// A directory.
    Dir(Arc<dyn Directory>),
    /// A file that can be read, and written if there is a way.
    Text(Read, Option<Write>, u32),
    /// A symbolic link.
    Link(Read),
    /// A link of `/proc` that leads to a place whatever its text says.
    Magic(Read, Follow),
}

impl Node {
    /// A text anybody may read.
    pub(crate) fn text(make: impl Fn() -> Result<String> + Send + Sync + 'static) -> Node {
        Node::bytes(move || make().map(String::into_bytes))
    }

    /// Bytes anybody may read.
    pub(crate) fn bytes(make: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) -> Node {
        Node::Text(Arc::new(make), None, 0o444)
    }

    /// The same with other permission bits.
    pub(crate) fn with_mode(self, mode: u32) -> Node {
        match self {
            Node::Text(read, write, _) => Node::Text(read, write, mode),
            other => other,
        }
    }

    /// The same, writable by the owner.
    pub(crate) fn with_write(
        self,
        take: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Node {
        match self {
            Node::Text(read, _, mode) => Node::Text(read, Some(Arc::new(take)), mode | 0o200),
            other => other,
        }
    }

    /// A text that never changes, ended with a new line.
    pub(crate) fn fixed(text: impl Into<String>) -> Node {
        let mut text = text.into();
        text.push('\n');
        Node::text(move || Ok(text.clone()))
    }

    /// A link whose target never changes.
    pub(crate) fn link(target: &'static str) -> Node {
        Node::Link(Arc::new(move || Ok(target.as_bytes().to_vec())))
    }

    /// A directory of fixed names.
    pub(crate) fn dir(table: Table) -> Node {
        Node::Dir(Arc::new(table))
    }

    fn kind(&self) -> FileType {
        match self {
            Node::Dir(_) => FileType::Directory,
            Node::Text(..) => FileType::Regular,
            Node::Link(_) | Node::Magic(..) => FileType::Symlink,
        }
    }

    fn mode(&self) -> u32 {
        match self {
            Node::Dir(dir) => dir.mode(),
            Node::Text(_, _, mode) => *mode,
            Node::Link(_) => 0o777,
            Node::Magic(..) => 0o700,
        }
    }
}

/// A directory's contents.
pub(crate) trait Directory: Send + Sync {
    /// The node of a name.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Node>;

    /// All names, in the order of listing.
    ///
    /// # Errors
    /// `ENOENT` when what the directory tells about is gone.
    fn names(&self) -> Result<Vec<(Vec<u8>, FileType)>>;

    /// Owner of the directory and of what is in it; the parent's where it does not say.
    fn owner(&self) -> Option<(u32, u32)> {
        None
    }

    /// Permission bits.
    fn mode(&self) -> u32 {
        0o555
    }
}

/// A directory of fixed names.
#[derive(Default)]
pub(crate) struct Table(Vec<(&'static str, Node)>);

impl Table {
    pub(crate) fn new(entries: Vec<(&'static str, Node)>) -> Table {
        Table(entries)
    }
}

impl Directory for Table {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let found = self.0.iter().find(|(n, _)| n.as_bytes() == name);
        found.map(|(_, node)| node.clone()).ok_or(Errno::ENOENT)
    }

    fn names(&self) -> Result<Vec<(Vec<u8>, FileType)>> {
        let entry = |(name, node): &(&str, Node)| (name.as_bytes().to_vec(), node.kind());
        Ok(self.0.iter().map(entry).collect())
    }
}

/// A file system of such nodes.
pub(crate) struct SyntheticFs {
    me: Weak<SyntheticFs>,
    name: &'static str,
    minor: u32,
    magic: u64,
    root: Arc<dyn Directory>,
}

impl SyntheticFs {
    pub(crate) fn new(
        name: &'static str,
        minor: u32,
        magic: u64,
        root: Arc<dyn Directory>,
    ) -> Arc<SyntheticFs> {
        Arc::new_cyclic(|me| SyntheticFs {
            me: Weak::clone(me),
            name,
            minor,
            magic,
            root,
        })
    }
}

/// The root's inode number.
const ROOT_INO: u64 = 1;

impl FileSystem for SyntheticFs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        let root: Arc<dyn Directory> = Arc::clone(&self.root);
        Arc::new(SyntheticInode {
            fs: Weak::clone(&self.me),
            dev: self.dev(),
            ino: ROOT_INO,
            owner: (0, 0),
            node: Node::Dir(root),
        })
    }

    fn dev(&self) -> u64 {
        device::make(0, self.minor)
    }

    fn stat(&self) -> FsStat {
        FsStat {
            magic: self.magic,
            block_size: 4096,
            ..FsStat::default()
        }
    }
}

struct SyntheticInode {
    fs: Weak<SyntheticFs>,
    dev: u64,
    ino: u64,
    owner: (u32, u32),
    node: Node,
}

/// A number for a name in a directory: the same at every look (FNV-1a).
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = parent
        .to_le_bytes()
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, step);
    let hash = name.iter().copied().fold(seed, step);
    // Linux keeps these below 2^32; 0 and 1 are taken.
    (hash ^ hash >> 32) & 0xffff_ffff | 0x10
}

impl SyntheticInode {
    fn directory(&self) -> Result<&Arc<dyn Directory>> {
        match &self.node {
            Node::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

impl Inode for SyntheticInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            None => SyntheticFs::new("none", 0, 0, Arc::new(Table::default())),
        }
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: self.dev,
            ino: self.ino,
            mode: self.node.kind().mode_bits() | self.node.mode(),
            nlink: if self.node.kind() == FileType::Directory {
                2
            } else {
                1
            },
            uid: self.owner.0,
            gid: self.owner.1,
            ..Attr::default()
        })
    }

    /// open(2) with `O_TRUNC` and chmod(2) come this way: accepted without effect where writing is possible.
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        match (&self.node, change.size) {
            (Node::Text(_, Some(_), _), Some(_)) => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let dir = self.directory()?;
        let node = dir.lookup(name)?;
        let own = match &node {
            Node::Dir(dir) => dir.owner(),
            _ => None,
        };
        Ok(Arc::new(SyntheticInode {
            fs: Weak::clone(&self.fs),
            dev: self.dev,
            ino: child_ino(self.ino, name),
            owner: own.or_else(|| dir.owner()).unwrap_or(self.owner),
            node,
        }))
    }

    fn volatile(&self) -> bool {
        true
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.node {
            Node::Link(read) | Node::Magic(read, _) => read(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn magic_link(&self) -> Result<Option<Path>> {
        match &self.node {
            Node::Magic(_, follow) => follow().map(Some),
            _ => Ok(None),
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        let inode: Arc<dyn Inode> = self.clone();
        match &self.node {
            Node::Dir(dir) => Ok(Arc::new(OpenDir {
                dir: Arc::clone(dir),
                ino: self.ino,
                inode,
            })),
            Node::Text(read, write, _) => Ok(Arc::new(OpenText {
                read: Arc::clone(read),
                write: write.clone(),
                inode,
                text: Mutex::new(None),
            })),
            _ => Err(Errno::ELOOP),
        }
    }
}

struct OpenDir {
    dir: Arc<dyn Directory>,
    ino: u64,
    inode: Arc<dyn Inode>,
}

impl File for OpenDir {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let dots = [b".".as_slice(), b".."].map(|n| (n.to_vec(), FileType::Directory));
        let all = dots.into_iter().chain(self.dir.names()?);
        for (position, (name, file_type)) in (0..).zip(all) {
            let ino = if name.starts_with(b".") {
                self.ino
            } else {
                child_ino(self.ino, &name)
            };
            let entry = DirEntry {
                name: &name,
                ino,
                file_type,
                next: position + 1,
            };
            if position >= from && !emit(entry) {
                break;
            }
        }
        Ok(())
    }
}

/// An open text: made at the first read and again when reading starts over.
struct OpenText {
    read: Read,
    write: Option<Write>,
    inode: Arc<dyn Inode>,
    text: Mutex<Option<Vec<u8>>>,
}

/// Longest write taken, as Linux takes a page.
const WRITE_LIMIT: usize = 4096;

impl File for OpenText {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let kept = if offset == 0 {
            None
        } else {
            self.text.lock().take()
        };
        let text = match kept {
            Some(text) => text,
            None => (self.read)()?,
        };
        let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..));
        let rest = rest.unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        *self.text.lock() = Some(text);
        Ok(n)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        let write = self.write.as_ref().ok_or(Errno::EINVAL)?;
        if data.len() > WRITE_LIMIT {
            return Err(Errno::EINVAL);
        }
        write(data)?;
        Ok(data.len())
    }

    fn truncate(&self, _len: u64) -> Result<()> {
        Ok(())
    }
}
