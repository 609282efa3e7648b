//! The file that an open file description holds for a socket.

use std::sync::Arc;

use base_abi::structs::Stat;
use base_abi::{Errno, ioctl, net};
use kernel_vfs::save::{FileState, LoadError, Loader, Saved, Saver, Unsavable, decode};
use kernel_vfs::{
    AccessMode, Description, Events, File, FileType, PollTable, StatusFlags, UserMemory,
};

use crate::rights::{Carrier, Rights};
use crate::saved::{self, SocketState};
use crate::{Caller, MsgFlags, NetStack, Outgoing, Result, Socket, SocketBase, interface};

/// The file behind a socket descriptor.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

impl SocketFile {
    /// Kind of its saved state.
    pub const KIND: &'static str = crate::socket::KIND;

    /// Builds it, and with the first end of a connection the connection.
    ///
    /// # Errors
    /// What is wrong with the state.
    pub fn load(
        state: &FileState,
        stack: &Arc<NetStack>,
        loader: &mut Loader,
    ) -> std::result::Result<Arc<SocketFile>, LoadError> {
        let state: SocketState = decode(&state.bytes, "a socket")?;
        let socket = saved::load(state, stack, loader)?;
        Ok(Arc::new(SocketFile { socket }))
    }

    /// A description for a new socket.
    #[must_use]
    pub fn describe(socket: Arc<dyn Socket>, flags: StatusFlags) -> Arc<Description> {
        let file = Arc::new(SocketFile { socket });
        Description::anonymous(file, AccessMode::ReadWrite, flags)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The socket of a description.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    pub fn of(description: &Description) -> Result<&Arc<dyn Socket>> {
        let file = description.downcast::<SocketFile>();
        file.map(SocketFile::socket).ok_or(Errno::ENOTSOCK)
    }

    fn caller(&self) -> Caller<'static> {
        Caller {
            credentials: self.socket.base().creator,
            ..Caller::kernel()
        }
    }
}

impl File for SocketFile {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: SocketBase::DEVICE,
            ino: self.socket.base().ino,
            nlink: 1,
            mode: FileType::Socket.mode_bits() | 0o777,
            uid: self.socket.base().creator.uid,
            gid: self.socket.base().creator.gid,
            blksize: 4096,
            ..Stat::default()
        })
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let incoming = self.socket.recv(buf, MsgFlags::empty())?;
        Ok(incoming.copied)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        self.socket.send(&self.caller(), Outgoing::bytes(data))
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64)> {
        self.write_at(0, data).map(|n| (n, 0))
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        self.socket.poll(table)
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        let value = match request {
            ioctl::FIONREAD => self.socket.unread()?,
            ioctl::TIOCOUTQ => self.socket.unsent()?,
            ioctl::SIOCATMARK => usize::from(self.socket.at_mark()?),
            _ => return interface::ioctl(self.socket.base(), memory, request, arg),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        memory.write_bytes(arg, &value.to_ne_bytes())?;
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn release(&self) {
        self.socket.close();
    }

    fn save(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        self.socket.saved(saver)
    }

    fn anonymous_name(&self) -> String {
        format!("socket:[{}]", self.socket.base().ino)
    }
}

impl Carrier for SocketFile {
    fn visit_rights(&self, see: &mut dyn FnMut(&Arc<Description>)) {
        self.socket.visit_rights(see);
    }

    fn take_rights(&self) -> Vec<Rights> {
        self.socket.take_rights()
    }
}

/// The unix socket of a description, whose queue can hold descriptors.
pub(crate) fn carrier(description: &Description) -> Option<&dyn Carrier> {
    let file = description.downcast::<SocketFile>()?;
    (file.socket.base().domain == net::AF_UNIX).then_some(file as &dyn Carrier)
}
