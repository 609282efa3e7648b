//! Socket addresses in guest memory, and who calls as the network sees it.

use std::sync::Arc;

use base_abi::Errno;
use kernel_net::{Address, Caller, SocketNames, Ucred};
use kernel_vfs::{Access, At, FileType, Inode, LastLink, Path, UserMemory, permitted};

use crate::call::Sys;

/// Bytes of `struct sockaddr_storage`.
const STORAGE: usize = 128;
/// `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;

/// Reads an address as bind(2), connect(2) and sendto(2) get it.
///
/// # Errors
/// `EINVAL` for a length that cannot be, `EFAULT`.
pub(crate) fn read_address(sys: &Sys<'_>, addr: u64, len: i32) -> Result<Address, Errno> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut storage = [0; STORAGE];
    let bytes = storage.get_mut(..len).ok_or(Errno::EINVAL)?;
    sys.mm().read_bytes(addr, bytes)?;
    Address::parse(bytes)
}

/// Writes an address and its real length where `len_at` says how much room there is; no address
/// has length 0. A null `addr` asks for nothing.
///
/// # Errors
/// `EFAULT`, `EINVAL` for a negative length.
pub(crate) fn write_address(
    sys: &Sys<'_>,
    addr: u64,
    len_at: u64,
    address: Option<&Address>,
) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    let room: i32 = sys.mm().read_obj(len_at)?;
    let len = write_bytes_of(sys, addr, room, address)?;
    sys.mm().write_obj(len_at, &len)
}

/// Writes as much of an address as fits; returns its real length.
///
/// # Errors
/// `EFAULT`, `EINVAL` for a negative length.
pub(crate) fn write_bytes_of(
    sys: &Sys<'_>,
    addr: u64,
    room: i32,
    address: Option<&Address>,
) -> Result<i32, Errno> {
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = address.map(Address::encode).unwrap_or_default();
    let fits = bytes.get(..room.min(bytes.len())).unwrap_or_default();
    sys.mm().write_bytes(addr, fits)?;
    Ok(i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

/// The caller's view of the file tree, for unix sockets with paths.
pub(crate) struct TaskNames<'a, 'b>(&'a Sys<'b>);

impl SocketNames for TaskNames<'_, '_> {
    fn create(&self, path: &[u8]) -> Result<Path, Errno> {
        let fs = self.0.fs();
        let fs = fs.read();
        let who = self.0.process().creds().for_files();
        let mode = 0o777 & !fs.umask();
        At::cwd(&fs, &who)
            .bind_socket(path, mode)
            .map_err(|errno| match errno {
                Errno::EEXIST => Errno::EADDRINUSE,
                other => other,
            })
    }

    fn find(&self, path: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let fs = self.0.fs();
        let fs = fs.read();
        let who = self.0.process().creds().for_files();
        let place = At::cwd(&fs, &who).find(path, LastLink::Follow)?;
        let attr = place.inode().attr()?;
        permitted(&attr, &who, Access::WRITE)?;
        if attr.file_type() != FileType::Socket {
            return Err(Errno::ECONNREFUSED);
        }
        Ok(Arc::clone(place.inode()))
    }
}

/// Runs a socket operation as the caller.
pub(crate) fn as_caller<R>(sys: &Sys<'_>, f: impl FnOnce(&Caller<'_>) -> R) -> R {
    let creds = sys.process().creds();
    let names = TaskNames(sys);
    f(&Caller {
        credentials: Ucred {
            pid: sys.task.pid(),
            uid: creds.euid,
            gid: creds.egid,
        },
        privileged: creds.has(NET_ADMIN),
        names: &names,
    })
}
