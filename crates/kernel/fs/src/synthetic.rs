//! Files made by closures: what `/proc` and `/sys` are built of.
//!
//! A [`Node`] is a directory (fixed or asked name by name), a text generated when it is read, a file
//! opened by a closure, a link, or a link that leads to a place itself. Nothing is cached.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base_abi::structs::Timespec;
use kernel_vfs::{
    Attr, Credentials, DirEntry, Errno, Events, File, FileSystem, FileType, FsStat, Inode, NewNode,
    Path, PollTable, Result, SetAttr,
};
use parking_lot::Mutex;

use crate::clock::now;

/// A directory whose entries are asked for.
pub trait Directory: Send + Sync {
    /// The node of a name.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, name: &[u8]) -> Result<Node>;

    /// Gives every name with its type, in a stable order.
    ///
    /// # Errors
    /// `ENOENT` when what it describes is gone.
    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()>;

    /// `st_nlink`: two, and one more for each directory in it, as programs count on (some look there for threads).
    fn links(&self) -> u64 {
        2
    }

    /// Whether a name may stand for something else later; one that never does can be mounted on.
    fn volatile(&self) -> bool {
        true
    }
}

/// A file whose text is made when it is read from the start.
pub trait Text: Send + Sync {
    /// The whole text now.
    ///
    /// # Errors
    /// Shown to the reader.
    fn read(&self) -> Result<Vec<u8>>;

    /// Takes what one write(2) wrote.
    ///
    /// # Errors
    /// `EINVAL` for a value that is none; `EAGAIN` to be asked again when [`poll`](Text::poll) says
    /// so; `EPERM` by default.
    fn write(&self, data: &[u8]) -> Result<()> {
        let _ = data;
        Err(Errno::EPERM)
    }

    /// Registers with what it waits for and tells what can be done now: everything, by default.
    fn poll(&self, table: &mut PollTable) -> Events {
        let _ = table;
        Events::READABLE | Events::WRITABLE
    }
}

impl<F: Fn() -> Result<Vec<u8>> + Send + Sync> Text for F {
    fn read(&self) -> Result<Vec<u8>> {
        self()
    }
}

type LinkText = dyn Fn() -> Result<Vec<u8>> + Send + Sync;
type Place = dyn Fn() -> Result<Path> + Send + Sync;
type Opener = dyn Fn(u32) -> Result<Arc<dyn File>> + Send + Sync;

#[derive(Clone)]
enum Body {
    Directory(Arc<dyn Directory>),
    Text(Arc<dyn Text>),
    File(Arc<Opener>),
    Link(Arc<LinkText>),
    Magic(Arc<LinkText>, Arc<Place>),
}

/// Something with a name in a synthetic file system.
#[derive(Clone)]
pub struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    body: Body,
}

impl Node {
    fn new(mode: u32, body: Body) -> Node {
        Node {
            mode,
            uid: 0,
            gid: 0,
            body,
        }
    }

    /// A directory with mode 0555.
    #[must_use]
    pub fn directory(directory: impl Directory + 'static) -> Node {
        Node::new(0o555, Body::Directory(Arc::new(directory)))
    }

    /// A text with these permission bits, usually 0444.
    #[must_use]
    pub fn text(mode: u32, text: impl Text + 'static) -> Node {
        Node::new(mode, Body::Text(Arc::new(text)))
    }

    /// A text that never changes, mode 0444.
    #[must_use]
    pub fn fixed(text: impl Into<Vec<u8>>) -> Node {
        let text = text.into();
        Node::text(0o444, move || Ok(text.clone()))
    }

    /// A file that a closure opens with the flags of open(2).
    #[must_use]
    pub fn file(
        mode: u32,
        open: impl Fn(u32) -> Result<Arc<dyn File>> + Send + Sync + 'static,
    ) -> Node {
        Node::new(mode, Body::File(Arc::new(open)))
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(target: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) -> Node {
        Node::new(0o777, Body::Link(Arc::new(target)))
    }

    /// A link that shows a text and leads to a place, whatever the text says (`/proc/<pid>/fd/<n>`).
    #[must_use]
    pub fn magic(
        text: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
        place: impl Fn() -> Result<Path> + Send + Sync + 'static,
    ) -> Node {
        Node::new(0o777, Body::Magic(Arc::new(text), Arc::new(place)))
    }

    /// Other permission bits.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Node {
        Node { mode, ..self }
    }

    /// Another owner.
    #[must_use]
    pub fn owned_by(self, uid: u32, gid: u32) -> Node {
        Node { uid, gid, ..self }
    }

    /// Its type.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        match self.body {
            Body::Directory(_) => FileType::Directory,
            Body::Text(_) | Body::File(_) => FileType::Regular,
            Body::Link(_) | Body::Magic(..) => FileType::Symlink,
        }
    }
}

/// A directory with fixed names.
#[derive(Clone, Default)]
pub struct Fixed(BTreeMap<Vec<u8>, Node>);

impl Fixed {
    /// No names.
    #[must_use]
    pub fn new() -> Fixed {
        Fixed::default()
    }

    /// With another name.
    #[must_use]
    pub fn with(mut self, name: &str, node: Node) -> Fixed {
        self.0.insert(name.as_bytes().to_vec(), node);
        self
    }

    /// The node of a name, for directories that add names of their own.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        self.0.get(name).cloned()
    }
}

impl Directory for Fixed {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.get(name).ok_or(Errno::ENOENT)
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        for (name, node) in &self.0 {
            emit(name, node.file_type());
        }
        Ok(())
    }

    fn links(&self) -> u64 {
        let inner = self
            .0
            .values()
            .filter(|n| n.file_type() == FileType::Directory);
        2 + inner.count() as u64
    }

    fn volatile(&self) -> bool {
        false
    }
}

/// A file system made of [`Node`]s.
pub struct SyntheticFs {
    name: &'static str,
    magic: u64,
    dev: u64,
    root: Node,
    born: Timespec,
    me: Weak<SyntheticFs>,
}

impl SyntheticFs {
    /// A file system; `name` and `magic` are what `/proc/mounts` and statfs(2) say (`proc`, 0x9fa0).
    #[must_use]
    pub fn new(name: &'static str, magic: u64, root: Node) -> Arc<SyntheticFs> {
        Arc::new_cyclic(|me| SyntheticFs {
            name,
            magic,
            dev: crate::next_dev(),
            root,
            born: now(),
            me: Weak::clone(me),
        })
    }

    fn inode(self: &Arc<Self>, ino: u64, parent: u64, node: Node) -> Arc<dyn Inode> {
        Arc::new_cyclic(|me| SyntheticInode {
            fs: Arc::clone(self),
            me: Weak::clone(me),
            ino,
            parent,
            node,
        })
    }
}

const ROOT_INO: u64 = 1;

impl FileSystem for SyntheticFs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        let me = self.me.upgrade();
        // A file system that is being dropped has nobody left to ask for its root but itself.
        let me = me.unwrap_or_else(|| SyntheticFs::new(self.name, self.magic, self.root.clone()));
        me.inode(ROOT_INO, ROOT_INO, self.root.clone())
    }

    fn dev(&self) -> u64 {
        self.dev
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
    fs: Arc<SyntheticFs>,
    me: Weak<SyntheticInode>,
    ino: u64,
    parent: u64,
    node: Node,
}

/// A number that stays the same for the same path (FNV-1a over the parent's number and the name).
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = parent.to_le_bytes();
    let hash = bytes
        .iter()
        .chain(name)
        .fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(PRIME)
        });
    // Keep clear of the root's number and within what 32-bit `ino_t` users print nicely.
    (hash & 0xffff_ffff) | 0x1_0000_0000
}

impl Inode for SyntheticInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.fs) as Arc<dyn FileSystem>
    }

    fn kind(&self) -> Result<FileType> {
        Ok(self.node.file_type())
    }

    fn attr(&self) -> Result<Attr> {
        let kind = self.node.file_type();
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino,
            mode: kind.mode_bits() | self.node.mode,
            nlink: match &self.node.body {
                Body::Directory(directory) => directory.links(),
                _ => 1,
            },
            uid: self.node.uid,
            gid: self.node.gid,
            atime: self.fs.born,
            mtime: self.fs.born,
            ctime: self.fs.born,
            btime: self.fs.born,
            ..Attr::default()
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        // O_TRUNC before a write is harmless; nothing else can be changed.
        let only_size = change.mode.is_none()
            && change.uid.is_none()
            && change.gid.is_none()
            && change.atime.is_none()
            && change.mtime.is_none();
        if only_size { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let Body::Directory(directory) = &self.node.body else {
            return Err(Errno::ENOTDIR);
        };
        let node = directory.lookup(name)?;
        Ok(self.fs.inode(child_ino(self.ino, name), self.ino, node))
    }

    fn volatile(&self) -> bool {
        match &self.node.body {
            Body::Directory(directory) => directory.volatile(),
            _ => true,
        }
    }

    fn create(&self, _: &[u8], _: NewNode<'_>, _: u32, _: &Credentials) -> Result<Arc<dyn Inode>> {
        Err(Errno::EACCES)
    }

    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.node.body {
            Body::Link(text) | Body::Magic(text, _) => text(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn magic_link(&self) -> Result<Option<Path>> {
        match &self.node.body {
            Body::Magic(_, place) => place().map(Some),
            _ => Ok(None),
        }
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        match &self.node.body {
            Body::File(open) => open(flags),
            Body::Link(_) | Body::Magic(..) => Err(Errno::ELOOP),
            Body::Directory(_) | Body::Text(_) => {
                let inode = self.me.upgrade().ok_or(Errno::ESTALE)?;
                Ok(Arc::new(SyntheticFile {
                    inode: inode as Arc<dyn Inode>,
                    ino: self.ino,
                    parent: self.parent,
                    body: self.node.body.clone(),
                    text: Mutex::default(),
                    names: Mutex::default(),
                }))
            }
        }
    }
}

struct SyntheticFile {
    inode: Arc<dyn Inode>,
    ino: u64,
    parent: u64,
    body: Body,
    text: Mutex<Option<Vec<u8>>>,
    /// The names as they were when listing began: a listing in parts skips nothing although
    /// entries go meanwhile, as when a process closes what `/proc/self/fd` shows.
    names: Mutex<Option<Vec<ListedName>>>,
}

/// A name with its number and type.
type ListedName = (Vec<u8>, u64, FileType);

impl File for SyntheticFile {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        match &self.body {
            Body::Text(text) => text.poll(table),
            _ => Events::READABLE | Events::WRITABLE,
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Body::Text(text) = &self.body else {
            return Err(Errno::EISDIR);
        };
        let mut made = self.text.lock();
        if offset == 0 || made.is_none() {
            *made = Some(text.read()?);
        }
        let made = made.as_deref().unwrap_or_default();
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(made.len());
        let n = buf.len().min(made.len() - from);
        buf[..n].copy_from_slice(&made[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        let Body::Text(text) = &self.body else {
            return Err(Errno::EISDIR);
        };
        text.write(data)?;
        Ok(data.len())
    }

    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let Body::Directory(directory) = &self.body else {
            return Err(Errno::ENOTDIR);
        };
        let kept = if from == 0 {
            None
        } else {
            self.names.lock().take()
        };
        let names = match kept {
            Some(names) => names,
            None => self.listing(directory.as_ref())?,
        };
        for ((name, ino, file_type), next) in names.iter().zip(1u64..) {
            let entry = DirEntry {
                name,
                ino: *ino,
                file_type: *file_type,
                next,
            };
            if next > from && !emit(entry) {
                break;
            }
        }
        *self.names.lock() = Some(names);
        Ok(())
    }
}

impl SyntheticFile {
    fn listing(&self, directory: &dyn Directory) -> Result<Vec<ListedName>> {
        let mut names = vec![
            (b".".to_vec(), self.ino, FileType::Directory),
            (b"..".to_vec(), self.parent, FileType::Directory),
        ];
        directory.list(&mut |name, kind| {
            names.push((name.to_vec(), child_ino(self.ino, name), kind));
        })?;
        Ok(names)
    }
}
