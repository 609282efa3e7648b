//! Places in the tree as plain data: a mount and the names below its root.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LoadError, Unsavable};
use crate::{Credentials, Dentry, FileType, MountTable, PATH_MAX, Path, SetAttr, SetTime};

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
        version: Option<(u64, base_abi::structs::Timespec)>,
    },
    /// A regular file without a name: it is made anew.
    Nameless {
        mode: u32,
        uid: u32,
        gid: u32,
        mtime: base_abi::structs::Timespec,
        content: Vec<u8>,
    },
}

pub(super) fn save(mounts: &MountTable, path: &Path) -> Result<PlaceState, Unsavable> {
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
        nameless(dentry).ok_or_else(|| lossy(path))?
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
fn version(path: &Path) -> Option<(u64, base_abi::structs::Timespec)> {
    let kept = matches!(path.mount().fs().name(), "overlay" | "tmpfs");
    if !kept || path.dentry().kind() != FileType::Regular {
        return None;
    }
    let attr = path.inode().attr().ok()?;
    Some((attr.size, attr.mtime))
}

fn nameless(dentry: &Dentry) -> Option<NodeState> {
    let attr = dentry.inode().attr().ok()?;
    if dentry.kind() != FileType::Regular || attr.size > UNLINKED_MAX {
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
    Some(NodeState::Nameless {
        mode: attr.mode & 0o7777,
        uid: attr.uid,
        gid: attr.gid,
        mtime: attr.mtime,
        content,
    })
}

/// Walks to a saved place.
pub(super) fn load(mounts: &MountTable, state: &PlaceState) -> Result<Path, LoadError> {
    let list = mounts.list();
    let mount = usize::try_from(state.mount).ok().and_then(|i| list.get(i));
    let mount = mount.ok_or(LoadError::Malformed("number of a mount"))?;
    if state.path.len() > 16 * PATH_MAX {
        return Err(LoadError::Malformed("path of an open file"));
    }
    let lost = || LoadError::failed(String::from_utf8_lossy(&state.path).into_owned());
    let mut at = Arc::clone(mount.root());
    let names = state.path.split(|b| *b == b'/').filter(|n| !n.is_empty());
    match &state.node {
        NodeState::Named { kind, version: was } => {
            for name in names {
                at = at.lookup(name).map_err(lost())?;
            }
            let now = version(&Path::new(Arc::clone(mount), Arc::clone(&at)));
            if at.kind() as u8 != *kind || now != *was {
                return Err(LoadError::Differs(
                    String::from_utf8_lossy(&state.path).into_owned(),
                ));
            }
        }
        NodeState::Nameless {
            mode,
            uid,
            gid,
            mtime,
            content,
        } => {
            let mut names = names;
            let name = names.next_back().unwrap_or(b"#");
            let who = Credentials {
                uid: *uid,
                gid: *gid,
                privileged: true,
                ..Credentials::default()
            };
            let inode = at.inode().temporary(*mode, &who).map_err(lost())?;
            let file = Arc::clone(&inode)
                .open(base_abi::general::O_RDWR)
                .map_err(lost())?;
            let mut done = 0;
            while let Some(rest) = content.get(done..).filter(|rest| !rest.is_empty()) {
                let n = file.write_at(done as u64, rest).map_err(lost())?;
                if n == 0 {
                    return Err(LoadError::Malformed("content of a removed file"));
                }
                done += n;
            }
            let change = SetAttr {
                mtime: Some(SetTime::At(*mtime)),
                ..SetAttr::default()
            };
            inode.set_attr(&change).map_err(lost())?;
            at = at.unnamed(name, inode).map_err(lost())?;
        }
    }
    Ok(Path::new(Arc::clone(mount), at))
}
