//! What a directory shows of the read-only layers below it.
//!
//! Layers are searched from the top. A directory found in several of them is their union, down to
//! the first that is no directory or says that it is opaque. Whiteouts of overlayfs (character
//! devices 0:0, `trusted.overlay.opaque`) and of image layers (`.wh.name`, `.wh..wh..opq`) hide what is below.

use std::sync::Arc;

use kernel_vfs::{Attr, Errno, FileType, Inode, Result};

/// A directory of one layer.
#[derive(Clone)]
pub(super) struct LowerDir {
    /// Index of the layer, the lowest is 0; makes inode numbers of layers distinct.
    pub(super) layer: u16,
    pub(super) inode: Arc<dyn Inode>,
}

/// A name found in the layers.
pub(super) struct LowerEntry {
    pub(super) inode: Arc<dyn Inode>,
    pub(super) attr: Attr,
    /// Number of the inode in the merged tree.
    pub(super) ino: u64,
    /// The directories of this name, topmost first; empty for anything else.
    pub(super) dirs: Vec<LowerDir>,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const LAYER_SHIFT: u32 = 48;

/// Inode numbers of layers keep their low 48 bits and carry the layer above them.
pub(super) fn merged_ino(layer: u16, ino: u64) -> u64 {
    (u64::from(layer) + 1) << LAYER_SHIFT | (ino & ((1 << LAYER_SHIFT) - 1))
}

/// Whether a name of a layer is a marker and no file.
pub(super) fn is_marker(name: &[u8]) -> bool {
    name.starts_with(WHITEOUT)
}

fn is_whiteout(attr: &Attr) -> bool {
    attr.file_type() == FileType::CharDevice && attr.rdev == 0
}

fn exists(dir: &LowerDir, name: &[u8]) -> Result<bool> {
    match dir.inode.lookup(name) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn hides_below(dir: &LowerDir, name: &[u8]) -> Result<bool> {
    let mut marker = WHITEOUT.to_vec();
    marker.extend_from_slice(name);
    Ok(marker.len() <= kernel_vfs::NAME_MAX && exists(dir, &marker)?)
}

fn is_opaque(dir: &Arc<dyn Inode>) -> Result<bool> {
    for name in [&b"trusted.overlay.opaque"[..], b"user.overlay.opaque"] {
        if dir.xattr(name).is_ok_and(|value| value == b"y") {
            return Ok(true);
        }
    }
    match dir.lookup(OPAQUE) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds a name in the layers of a directory.
pub(super) fn find(lowers: &[LowerDir], name: &[u8]) -> Result<Option<LowerEntry>> {
    if is_marker(name) {
        return Ok(None);
    }
    let mut found: Option<LowerEntry> = None;
    for (depth, dir) in lowers.iter().enumerate() {
        let last = depth + 1 == lowers.len();
        let inode = match dir.inode.lookup(name) {
            Ok(inode) => inode,
            Err(Errno::ENOENT) if last => break,
            Err(Errno::ENOENT) if hides_below(dir, name)? => break,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        let attr = inode.attr()?;
        if is_whiteout(&attr) {
            break;
        }
        let is_dir = attr.file_type() == FileType::Directory;
        if found.is_some() && !is_dir {
            break;
        }
        let entry = found.get_or_insert_with(|| LowerEntry {
            inode: Arc::clone(&inode),
            attr,
            ino: merged_ino(dir.layer, attr.ino),
            dirs: Vec::new(),
        });
        if !is_dir {
            break;
        }
        // Where nothing lies below, being opaque means nothing.
        let stop = !last && (is_opaque(&inode)? || hides_below(dir, name)?);
        entry.dirs.push(LowerDir {
            layer: dir.layer,
            inode,
        });
        if stop {
            break;
        }
    }
    Ok(found)
}

/// Lists a directory's names in the layers: each once, hidden ones left out.
pub(super) fn list(lowers: &[LowerDir], emit: &mut dyn FnMut(&[u8], u64, FileType)) -> Result<()> {
    let mut seen: std::collections::HashSet<Vec<u8>> = std::collections::HashSet::new();
    for (depth, dir) in lowers.iter().enumerate() {
        let mut names = Vec::new();
        let file = Arc::clone(&dir.inode).open(base_abi::general::O_DIRECTORY)?;
        file.read_dir(0, &mut |entry| {
            names.push((entry.name.to_vec(), entry.ino, entry.file_type));
            true
        })?;
        let merging = lowers.len() > 1;
        let mut hidden = Vec::new();
        for (name, ino, kind) in names {
            if name == b"." || name == b".." {
                continue;
            }
            if is_marker(&name) {
                hidden.push(name[WHITEOUT.len()..].to_vec());
                continue;
            }
            if kind == FileType::CharDevice && is_whiteout(&dir.inode.lookup(&name)?.attr()?) {
                seen.insert(name);
                continue;
            }
            if merging && !seen.insert(name.clone()) {
                continue;
            }
            emit(&name, merged_ino(dir.layer, ino), kind);
        }
        if depth + 1 < lowers.len() {
            seen.extend(hidden);
        }
    }
    Ok(())
}
