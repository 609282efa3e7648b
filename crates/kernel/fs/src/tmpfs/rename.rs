//! Moving names within one file system (rename(2)).

use std::sync::Arc;

use kernel_vfs::{Errno, RenameMode, Result};

use super::node::{Directory, Node};
use crate::clock::now;

/// The entries of the two directories of a rename, which may be one.
enum Pair<'a> {
    One(&'a mut Directory),
    Two(&'a mut Directory, &'a mut Directory),
}

impl Pair<'_> {
    fn from(&mut self) -> &mut Directory {
        match self {
            Pair::One(both) => both,
            Pair::Two(from, _) => from,
        }
    }

    fn to(&mut self) -> &mut Directory {
        match self {
            Pair::One(both) => both,
            Pair::Two(_, to) => to,
        }
    }
}

pub(super) fn rename(
    from: &Arc<Node>,
    name: &[u8],
    to: &Arc<Node>,
    to_name: &[u8],
    mode: RenameMode,
) -> Result<()> {
    let _renaming = from.shared.renaming.lock();
    if Arc::ptr_eq(from, to) {
        let mut entries = from.entries()?.lock();
        return move_entry(from, name, to, to_name, mode, &mut Pair::One(&mut entries));
    }
    let (first, second) = if from.ino() < to.ino() {
        (from, to)
    } else {
        (to, from)
    };
    let mut first = first.entries()?.lock();
    let mut second = second.entries()?.lock();
    let mut pair = if from.ino() < to.ino() {
        Pair::Two(&mut first, &mut second)
    } else {
        Pair::Two(&mut second, &mut first)
    };
    move_entry(from, name, to, to_name, mode, &mut pair)
}

fn move_entry(
    from: &Arc<Node>,
    name: &[u8],
    to: &Arc<Node>,
    to_name: &[u8],
    mode: RenameMode,
    entries: &mut Pair<'_>,
) -> Result<()> {
    let source = from.child(entries.from(), name)?;
    let target = match to.child(entries.to(), to_name) {
        Ok(target) => Some(target),
        Err(Errno::ENOENT) => None,
        Err(error) => return Err(error),
    };
    to.alive()?;
    check(&source, target.as_ref(), from, to, mode)?;
    if let Some(target) = &target
        && Arc::ptr_eq(target, &source)
    {
        return Ok(());
    }
    for node in [Some(from), Some(to), Some(&source), target.as_ref()] {
        node.map_or(Ok(()), |node| node.changing())?;
    }
    match (&target, mode) {
        (Some(target), RenameMode::Exchange) => {
            entries.from().insert(name, Arc::clone(target));
            entries.to().insert(to_name, Arc::clone(&source));
            adopt(from, to, target);
        }
        _ => {
            entries.from().remove(name)?;
            entries.to().insert(to_name, Arc::clone(&source));
            if let Some(target) = &target {
                if target.is_dir() {
                    lose_subdirectory(to);
                }
                target.unlinked();
            }
        }
    }
    adopt(to, from, &source);
    source.meta.lock().ctime = now();
    from.meta.lock().modified();
    to.meta.lock().modified();
    Ok(())
}

fn check(
    source: &Arc<Node>,
    target: Option<&Arc<Node>>,
    from: &Arc<Node>,
    to: &Arc<Node>,
    mode: RenameMode,
) -> Result<()> {
    // The walk refuses moving a directory below itself; never lock one of the two again here.
    if Arc::ptr_eq(source, to) || target.is_some_and(|t| Arc::ptr_eq(t, from)) {
        return Err(Errno::EINVAL);
    }
    let Some(target) = target else {
        return match mode {
            RenameMode::Exchange => Err(Errno::ENOENT),
            _ => Ok(()),
        };
    };
    match mode {
        RenameMode::NoReplace => return Err(Errno::EEXIST),
        RenameMode::Exchange => return Ok(()),
        RenameMode::Replace => {}
    }
    match (source.is_dir(), target.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) if Arc::ptr_eq(source, target) => Ok(()),
        (true, true) if !target.entries()?.lock().is_empty()? => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}

/// A directory that moved has another parent.
fn adopt(parent: &Arc<Node>, old_parent: &Arc<Node>, child: &Arc<Node>) {
    let Ok(entries) = child.entries() else {
        return;
    };
    entries.lock().parent = Arc::downgrade(parent);
    if !Arc::ptr_eq(parent, old_parent) {
        lose_subdirectory(old_parent);
        parent.meta.lock().nlink += 1;
    }
}

fn lose_subdirectory(parent: &Arc<Node>) {
    let mut meta = parent.meta.lock();
    meta.nlink = meta.nlink.saturating_sub(1);
}
