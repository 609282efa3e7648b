//! Making, naming and connecting sockets, and their options: socket(2), socketpair(2), bind(2),
//! listen(2), accept(2), connect(2), shutdown(2), getsockopt(2) and their kin.

use std::sync::Arc;

use base_abi::{Errno, general, net};
use kernel_net::{Shutdown, Socket, SocketFile};
use kernel_vfs::{Description, PollTable, UserMemory};

use crate::call::{Args, Sys, SysResult};
use crate::descriptors::{fd_flags, returned, status_flags};
use crate::entry::Entry;
use crate::sockaddr::{as_caller, read_address, write_address};
use crate::socket_io::{Waiting, wait};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::partial(
        41,
        "socket",
        "dxd",
        socket,
        "unix, inet, inet6 and route netlink",
    ),
    Entry::full(53, "socketpair", "dxdp", socketpair),
    Entry::full(49, "bind", "dpd", bind),
    Entry::full(50, "listen", "dd", listen),
    Entry::full(43, "accept", "dpp", |s, a| accept(s, a, 0)),
    Entry::full(288, "accept4", "dppx", |s, a| accept(s, a, a.u32(3))),
    Entry::full(42, "connect", "dpd", connect),
    Entry::full(51, "getsockname", "dpp", getsockname),
    Entry::full(52, "getpeername", "dpp", getpeername),
    Entry::full(48, "shutdown", "dd", shutdown),
    Entry::partial(54, "setsockopt", "dddpd", setsockopt, "no packet filters"),
    Entry::full(55, "getsockopt", "dddpp", getsockopt),
];

/// Longest option value taken from a guest.
const MAX_OPTION: usize = 64 << 10;
/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC`, which are open(2)'s bits.
const TYPE_FLAGS: u32 = general::O_NONBLOCK | general::O_CLOEXEC;

/// The description and socket of a descriptor.
///
/// # Errors
/// `EBADF`, `ENOTSOCK`.
pub(crate) fn socket_of(
    sys: &mut Sys<'_>,
    fd: i32,
) -> Result<(Arc<Description>, Arc<dyn Socket>), Errno> {
    let description = sys.file(fd)?;
    let socket = Arc::clone(SocketFile::of(&description)?);
    Ok((description, socket))
}

fn install(sys: &Sys<'_>, socket: Arc<dyn Socket>, flags: u32) -> SysResult {
    let description = SocketFile::describe(socket, status_flags(flags));
    let fd = sys
        .files()
        .insert(description, fd_flags(flags), sys.nofile())?;
    Ok(returned(fd))
}

fn socket(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (domain, kind, protocol) = (args.u32(0), args.u32(1), args.u32(2));
    let flags = kind & TYPE_FLAGS;
    let stack = &sys.system.net;
    let made = as_caller(sys, |c| {
        stack.socket(c, domain, kind & !TYPE_FLAGS, protocol)
    })?;
    install(sys, made, flags)
}

fn socketpair(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (domain, kind, protocol) = (args.u32(0), args.u32(1), args.u32(2));
    let flags = kind & TYPE_FLAGS;
    let stack = &sys.system.net;
    let pair = as_caller(sys, |c| {
        stack.socket_pair(c, domain, kind & !TYPE_FLAGS, protocol)
    })?;
    let pair = pair.map(|s| SocketFile::describe(s, status_flags(flags)));
    let numbers = sys
        .files()
        .insert_pair(pair, fd_flags(flags), sys.nofile())?;
    if let Err(errno) = sys.mm().write_slice(args.u64(3), &numbers) {
        for fd in numbers {
            let _ = sys.files().close(fd);
        }
        return Err(errno.into());
    }
    Ok(0)
}

fn bind(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    let address = read_address(sys, args.u64(1), args.i32(2))?;
    as_caller(sys, |caller| socket.bind(caller, &address))?;
    Ok(0)
}

fn listen(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    as_caller(sys, |caller| socket.listen(caller, args.i32(1)))?;
    Ok(0)
}

fn accept(sys: &mut Sys<'_>, args: Args, flags: u32) -> SysResult {
    let description = sys.file(args.i32(0))?;
    if flags & !TYPE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let socket = Arc::clone(SocketFile::of(&description)?);
    // Who has no number for it leaves the connection to others.
    let number = sys.files().reserve(sys.nofile())?;
    let how = Waiting::to_receive(&description, &socket);
    let queue = |_: &Sys<'_>, table: &mut PollTable| {
        let _ = socket.poll(table);
    };
    let (accepted, peer) = wait(sys, how, queue, |_| socket.accept())?;
    let description = SocketFile::describe(accepted, status_flags(flags));
    write_address(sys, args.u64(1), args.u64(2), Some(&peer))?;
    Ok(returned(number.install(description, fd_flags(flags))))
}

fn connect(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let address = read_address(sys, args.u64(1), args.i32(2))?;
    let how = Waiting::to_send(&description, &socket);
    if description.nonblocking() {
        as_caller(sys, |caller| socket.connect(caller, &address))?;
        return Ok(0);
    }
    let queue = |sys: &Sys<'_>, table: &mut PollTable| {
        as_caller(sys, |c| {
            let _ = socket.poll_connect(c, &address, table);
        });
    };
    let tcp = socket.base().domain != net::AF_UNIX;
    let done = wait(sys, how, queue, |sys| {
        match as_caller(sys, |caller| socket.connect(caller, &address)) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => Err(Errno::EAGAIN),
            other => other,
        }
    });
    match done {
        // The attempt goes on without the caller.
        Err(crate::Stop::Errno(Errno::EAGAIN)) if tcp => Err(Errno::EINPROGRESS.into()),
        other => other.map(|()| 0),
    }
}

fn getsockname(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    let address = socket.local_address()?;
    give_address(sys, args, &address)
}

fn getpeername(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    let address = socket.peer_address()?;
    give_address(sys, args, &address)
}

fn give_address(sys: &Sys<'_>, args: Args, address: &kernel_net::Address) -> SysResult {
    if args.u64(1) == 0 {
        return Err(Errno::EFAULT.into());
    }
    write_address(sys, args.u64(1), args.u64(2), Some(address))?;
    Ok(0)
}

fn shutdown(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    socket.shutdown(Shutdown::from_raw(args.u32(1))?)?;
    Ok(0)
}

fn setsockopt(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    let len = usize::try_from(args.i32(4)).map_err(|_| Errno::EINVAL)?;
    if len > MAX_OPTION {
        return Err(Errno::EINVAL.into());
    }
    let mut value = vec![0; len];
    sys.mm().read_bytes(args.u64(3), &mut value)?;
    let (level, name) = (args.u32(1), args.u32(2));
    as_caller(sys, |caller| socket.set_option(caller, level, name, &value))?;
    Ok(0)
}

fn getsockopt(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (_, socket) = socket_of(sys, args.i32(0))?;
    let room: i32 = sys.mm().read_obj(args.u64(4))?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let value = socket.get_option(args.u32(1), args.u32(2), room)?;
    let fits = value.get(..room.min(value.len())).unwrap_or_default();
    sys.mm().write_bytes(args.u64(3), fits)?;
    let len = i32::try_from(fits.len()).unwrap_or(i32::MAX);
    sys.mm().write_obj(args.u64(4), &len)?;
    Ok(0)
}
