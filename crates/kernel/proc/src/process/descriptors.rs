//! `/proc/<pid>/fd` and `/proc/<pid>/fdinfo` (proc_pid_fd(5), proc_pid_fdinfo(5)).

use std::sync::Arc;

use kernel_vfs::{Description, Errno, FdFlags, FileType, Path, Result};

use super::Subject;
use crate::synthetic::{Directory, Node, text};

fn descriptor(name: &[u8]) -> Result<i32> {
    let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
    let fd: i32 = text.parse().map_err(|_| Errno::ENOENT)?;
    if fd < 0 || fd.to_string() != text {
        return Err(Errno::ENOENT);
    }
    Ok(fd)
}

fn find(subject: &Subject, fd: i32) -> Result<(Arc<Description>, FdFlags)> {
    let files = subject.task()?.files();
    files.get_with_flags(fd).map_err(|_| Errno::ENOENT)
}

fn list(subject: &Subject, kind: FileType, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
    subject.check_access()?;
    let files = subject.task()?.files();
    let mut from = 0;
    while let Some((fd, _, _)) = files.next(from) {
        emit(fd.to_string().as_bytes(), kind);
        from = fd + 1;
    }
    Ok(())
}

/// `/proc/<pid>/fd`.
pub(super) struct Links(pub(super) Subject);

impl Directory for Links {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.0.check_access()?;
        let fd = descriptor(name)?;
        let (open, _) = find(&self.0, fd)?;
        let (shown, followed) = (self.0.clone(), self.0.clone());
        let read = move || {
            let (description, _) = find(&shown, fd)?;
            let Some(place) = description.location() else {
                return Ok(description.file().anonymous_name().into_bytes());
            };
            let root = shown.task()?.fs().read().root().clone();
            Ok(place.text(&root))
        };
        let follow = move || {
            let (description, _) = find(&followed, fd)?;
            Path::of(&description)
        };
        let (readable, writable) = (open.access().readable(), open.access().writable());
        let mode = 0o100 | if readable { 0o400 } else { 0 } | if writable { 0o200 } else { 0 };
        Ok(self.0.owned(Node::magic(read, follow).with_mode(mode)))
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        list(&self.0, FileType::Symlink, emit)
    }
}

/// `/proc/<pid>/fdinfo`.
pub(super) struct Infos(pub(super) Subject);

impl Directory for Infos {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.0.check_access()?;
        let fd = descriptor(name)?;
        find(&self.0, fd)?;
        let subject = self.0.clone();
        Ok(self.0.owned(text(move || info(&subject, fd))))
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        list(&self.0, FileType::Regular, emit)
    }
}

fn info(subject: &Subject, fd: i32) -> Result<String> {
    let (description, flags) = find(subject, fd)?;
    let cloexec = if flags.contains(FdFlags::CLOEXEC) {
        base_abi::general::O_CLOEXEC
    } else {
        0
    };
    let access = match (
        description.access().readable(),
        description.access().writable(),
    ) {
        (_, false) => 0,
        (false, true) => 1,
        (true, true) => 2,
    };
    let flags = description.flags().bits() | cloexec | access;
    let mount = description.location().map_or(0, |p| p.mount().id());
    let ino = description.file().stat().map_or(0, |s| s.ino);
    let offset = description.offset();
    let more = description.file().fd_info();
    Ok(format!(
        "pos:\t{offset}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n{more}"
    ))
}
