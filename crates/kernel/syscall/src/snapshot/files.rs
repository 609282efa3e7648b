//! Which crate builds which kind of file.

use std::sync::Arc;

use kernel_core::task::Process;
use kernel_files::console::{ConsoleFile, StandardFiles};
use kernel_files::pipe::PipeEnd;
use kernel_files::{Epoll, EventFd, Inotify, MemFd, PidFd, SignalFd, TimerFd};
use kernel_net::SocketFile;
use kernel_vfs::save::{FileMaker, FileState, LoadError, Loader};
use kernel_vfs::{File, Path};

use crate::System;
use crate::current::CallerSignals;

/// Builds files for a kernel whose processes exist already.
pub(super) struct Maker<'a> {
    pub(super) system: &'a Arc<System>,
    pub(super) standard: &'a StandardFiles,
}

impl FileMaker for Maker<'_> {
    fn make(
        &self,
        state: &FileState,
        place: Option<&Path>,
        loader: &mut Loader,
    ) -> Result<Arc<dyn File>, LoadError> {
        let objects = &self.system.objects;
        Ok(match state.kind.as_str() {
            EventFd::KIND => EventFd::load(state)?,
            TimerFd::KIND => TimerFd::load(state, &objects.clock)?,
            SignalFd::KIND => SignalFd::load(state, Arc::new(CallerSignals))?,
            PipeEnd::KIND => {
                PipeEnd::load(state, place, loader, &objects.pipe_pages, &objects.fifos)?
            }
            Inotify::KIND => {
                let changes = &self.system.mounts.vfs().notify;
                Inotify::load(state, loader, changes, &objects.inotify_watches)?
            }
            Epoll::KIND => Epoll::load(state, loader, &objects.epoll_watches)?,
            MemFd::KIND => {
                let id = MemFd::saved_id(state)?;
                let census = &self.system.memory.shared;
                let first = loader.shared(id, |bytes, _| {
                    let file = MemFd::load(bytes, &objects.memfd_bytes)?;
                    let host = file.memory_file();
                    census.add(&host.map_err(LoadError::failed("memory file"))?);
                    Ok(file)
                })?;
                first.again()
            }
            PidFd::KIND => {
                let process = self.process(PidFd::saved_pid(state)?)?;
                crate::pidfd::restored(&self.system.kernel, &process)
            }
            SocketFile::KIND => SocketFile::load(state, &self.system.net, loader)?,
            ConsoleFile::KIND => ConsoleFile::load(state, self.standard)?,
            other => return Err(LoadError::UnknownKind(other.to_owned())),
        })
    }
}

impl Maker<'_> {
    fn process(&self, pid: i32) -> Result<Arc<Process>, LoadError> {
        let tree = self.system.kernel.tree.lock();
        let links = tree.links(pid);
        links
            .map(|l| Arc::clone(&l.process))
            .ok_or(LoadError::Malformed("process of a descriptor"))
    }
}
