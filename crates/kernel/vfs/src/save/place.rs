//! Places in the tree as plain data: a mount and the names below its root.

use std::sync::Arc;

use base_abi::structs::Timespec;
use serde::{Deserialize, Serialize};

use super::{LoadError, Loader, ObjectId, Saver, Unsavable, decode, encode};
use crate::{
    Credentials, Dentry, FileType, Inode, Mount, MountTable, PATH_MAX, Path, SetAttr, SetTime,
};

/// Bytes of removed but open files that a state may hold.
const UNLINKED_MAX: u64 = 64 << 20;

/// A place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceState {
    /// Index of the mount in order of mounting.
    mount: u32,
    /// Names from the mount's root, each preceded by a slash.
    path: Vec<u8>,
    node: NodeState,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum NodeState {
    /// Anything that has a name.
    Named {
        kind: u8,
        /// Size and time of change of a regular file of an image or of the guest: another file under the name is noticed.
        version: Option<(u64, Timespec)>,
    },
    /// A regular file without a name, a shared object: it is made anew, once for all that have it open.
    Nameless { file: ObjectId },
}

/// A regular file without a name.
#[derive(Debug, Serialize, Deserialize)]
struct NamelessState {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timespec,
    content: Vec<u8>,
}

/// A file without a name that was made anew.
struct Nameless(Arc<dyn Inode>);

pub(super) fn save(saver: &mut Saver, path: &Path) -> Result<PlaceState, Unsavable> {
    let mounts = Arc::clone(saver.mounts());
    let lossy = |path: &Path| {
        let text = path.text(mounts.root());
        Unsavable::new(String::from_utf8_lossy(&text).into_owned())
    };
    let list = mounts.list();
    let index = list.iter().position(|m| Arc::ptr_eq(m, path.mount()));
    let mount = index.and_then(|i| u32::try_from(i).ok());
    let mount = mount.ok_or_else(|| lossy(path))?;
    let dentry = path.dentry();
    let mut names = Vec::new();
    let mut at = Arc::clone(dentry);
    while !Arc::ptr_eq(&at, path.mount().root()) {
        names.push(at.name());
        at = at.parent().ok_or_else(|| lossy(path))?;
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    let node = if dentry.is_deleted() {
        let inode = dentry.inode();
        let file = saver.nameless(inode.id().map_err(|_| lossy(path))?, || {
            nameless(dentry).ok_or_else(|| lossy(path))
        })?;
        NodeState::Nameless { file }
    } else {
        NodeState::Named {
            kind: dentry.kind() as u8,
            version: version(path),
        }
    };
    Ok(PlaceState {
        mount,
        path: text,
        node,
    })
}

/// Only file systems that keep their files have versions of them.
fn version(path: &Path) -> Option<(u64, Timespec)> {
    let kept = matches!(path.mount().fs().name(), "overlay" | "tmpfs");
    if !kept || path.dentry().kind() != FileType::Regular {
        return None;
    }
    let attr = path.inode().attr().ok()?;
    // Files that the kernel makes for each sandbox are of the epoch.
    (attr.mtime != Timespec::default()).then_some((attr.size, attr.mtime))
}

/// Its state; none for what is no file, too large, or has another name still, under which it will be another file.
fn nameless(dentry: &Dentry) -> Option<Vec<u8>> {
    let attr = dentry.inode().attr().ok()?;
    if dentry.kind() != FileType::Regular || attr.size > UNLINKED_MAX || attr.nlink > 0 {
        return None;
    }
    let file = Arc::clone(dentry.inode()).open(0).ok()?;
    let mut content = vec![0; usize::try_from(attr.size).ok()?];
    let mut done = 0;
    while let Some(rest) = content.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(done as u64, rest).ok()? {
            0 => break,
            n => done += n,
        }
    }
    content.truncate(done);
    let state = NamelessState {
        mode: attr.mode & 0o7777,
        uid: attr.uid,
        gid: attr.gid,
        mtime: attr.mtime,
        content,
    };
    encode(&state).ok()
}

/// The mount of a saved place.
pub(super) fn mount(mounts: &MountTable, state: &PlaceState) -> Option<Arc<Mount>> {
    let index = usize::try_from(state.mount).ok()?;
    mounts.list().get(index).cloned()
}

/// Walks to a saved place.
pub(super) fn load(loader: &mut Loader, state: &PlaceState) -> Result<Path, LoadError> {
    let mount = mount(loader.mounts(), state).ok_or(LoadError::Malformed("number of a mount"))?;
    if state.path.len() > 16 * PATH_MAX {
        return Err(LoadError::Malformed("path of an open file"));
    }
    let lost = || LoadError::failed(String::from_utf8_lossy(&state.path).into_owned());
    let mut at = Arc::clone(mount.root());
    let mut names = state.path.split(|b| *b == b'/').filter(|n| !n.is_empty());
    match &state.node {
        NodeState::Named { kind, version: was } => {
            for name in names {
                at = at.lookup(name).map_err(lost())?;
            }
            let now = version(&Path::new(Arc::clone(&mount), Arc::clone(&at)));
            if at.kind() as u8 != *kind || now != *was {
                return Err(LoadError::Differs(
                    String::from_utf8_lossy(&state.path).into_owned(),
                ));
            }
        }
        NodeState::Nameless { file } => {
            let last = names.next_back().unwrap_or(b"#");
            for name in names {
                // Directories that are gone too are left out of what the file says it was called.
                match at.lookup(name) {
                    Ok(next) if next.is_dir() => at = next,
                    _ => break,
                }
            }
            let root = mount.root();
            let inode = loader.shared(*file, |bytes, _| {
                let made = temporary(root, bytes, &state.path)?;
                Ok(Arc::new(Nameless(made)))
            })?;
            let inode = Arc::clone(&inode.0);
            at = at.unnamed(last, inode).map_err(lost())?;
        }
    }
    Ok(Path::new(mount, at))
}

/// Makes a file without a name; its last descriptor takes it away.
fn temporary(root: &Dentry, bytes: &[u8], path: &[u8]) -> Result<Arc<dyn Inode>, LoadError> {
    let lost = || LoadError::failed(String::from_utf8_lossy(path).into_owned());
    let state: NamelessState = decode(bytes, "a removed file")?;
    let who = Credentials {
        uid: state.uid,
        gid: state.gid,
        privileged: true,
        ..Credentials::default()
    };
    let inode = root.inode().temporary(state.mode, &who).map_err(lost())?;
    let file = Arc::clone(&inode)
        .open(base_abi::general::O_RDWR)
        .map_err(lost())?;
    let mut done = 0;
    while let Some(rest) = state.content.get(done..).filter(|rest| !rest.is_empty()) {
        let n = file.write_at(done as u64, rest).map_err(lost())?;
        if n == 0 {
            return Err(LoadError::Malformed("content of a removed file"));
        }
        done += n;
    }
    let change = SetAttr {
        mtime: Some(SetTime::At(state.mtime)),
        ..SetAttr::default()
    };
    inode.set_attr(&change).map_err(lost())?;
    Ok(inode)
}
