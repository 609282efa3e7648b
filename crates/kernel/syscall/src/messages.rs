//! Sending and receiving: sendto(2), recvfrom(2), sendmsg(2), recvmsg(2), sendmmsg(2), recvmmsg(2).

use std::sync::Arc;

use base_abi::general::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use base_abi::structs::{Iovec, MsgHdr};
use base_abi::{Errno, net};
use kernel_net::{Control, Incoming, MsgFlags, Socket, Ucred, cmsg};
use kernel_vfs::{Description, FdFlags, UserMemory};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::clock;
use crate::entry::Entry;
use crate::sockaddr::{read_address, write_address, write_bytes_of};
use crate::socket_io::{Sending, Waiting, receive, send};
use crate::sockets::socket_of;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(44, "sendto", "dpuxpd", sendto),
    Entry::full(45, "recvfrom", "dpuxpp", recvfrom),
    Entry::full(46, "sendmsg", "dpx", sendmsg),
    Entry::full(47, "recvmsg", "dpx", recvmsg),
    Entry::partial(
        307,
        "sendmmsg",
        "dpux",
        sendmmsg,
        "later messages do not wait",
    ),
    Entry::full(299, "recvmmsg", "dpuxp", recvmmsg),
];

/// Bytes of `struct mmsghdr`, and where its `msg_len` is.
const MMSGHDR: u64 = 64;
const MMSGHDR_LEN: u64 = 56;
/// Most messages of one sendmmsg(2) or recvmmsg(2) (`UIO_MAXIOV`).
const MAX_MESSAGES: u32 = 1024;
/// Longest `msg_name`.
const MAX_NAME: i32 = 128;

fn flags_of(raw: u32) -> MsgFlags {
    MsgFlags::from_bits_truncate(raw)
}

fn sendto(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let flags = flags_of(args.u32(3));
    let to = match args.u64(4) {
        0 => None,
        addr => Some(read_address(sys, addr, args.i32(5))?),
    };
    let part = one_part(args)?;
    let how = Waiting::to_send(&description, &socket).with(flags);
    let sending = Sending {
        flags,
        to,
        ..Sending::default()
    };
    send(sys, how, &socket, &[part], &sending)
}

fn recvfrom(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let flags = flags_of(args.u32(3));
    let part = one_part(args)?;
    let how = Waiting::to_receive(&description, &socket).with(flags);
    let incoming = receive(sys, how, &socket, &[part], flags)?;
    write_address(sys, args.u64(4), args.u64(5), incoming.from.as_ref())?;
    Ok(incoming.length as u64)
}

fn one_part(args: Args) -> Result<Iovec, Errno> {
    let len = args.u64(2).min(kernel_mm::MAX_RW_BYTES);
    Ok(Iovec {
        base: args.u64(1),
        len,
    })
}

/// Reads a header; too long names are cut as Linux cuts them.
fn read_header(sys: &Sys<'_>, addr: u64) -> Result<(MsgHdr, Vec<Iovec>), Errno> {
    let mut header: MsgHdr = sys.mm().read_obj(addr)?;
    if header.namelen < 0 {
        return Err(Errno::EINVAL);
    }
    header.namelen = if header.name == 0 {
        0
    } else {
        header.namelen.min(MAX_NAME)
    };
    let count = usize::try_from(header.iovlen).map_err(|_| Errno::EMSGSIZE)?;
    if count > kernel_mm::IOV_MAX {
        return Err(Errno::EMSGSIZE);
    }
    let parts = sys.mm().read_iovecs(header.iov, count)?;
    Ok((header, parts))
}

fn sendmsg(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let flags = flags_of(args.u32(2));
    let how = Waiting::to_send(&description, &socket).with(flags);
    send_message(sys, how, &socket, args.u64(1), flags)
}

fn send_message(
    sys: &mut Sys<'_>,
    how: Waiting,
    socket: &Arc<dyn Socket>,
    addr: u64,
    flags: MsgFlags,
) -> SysResult {
    let (header, parts) = read_header(sys, addr)?;
    let to = match header.namelen {
        0 => None,
        len => Some(read_address(sys, header.name, len)?),
    };
    let mut sending = Sending {
        flags,
        to,
        ..Sending::default()
    };
    if header.control != 0 && header.controllen != 0 {
        read_control(sys, socket, &header, &mut sending)?;
    }
    send(sys, how, socket, &parts, &sending)
}

/// Takes descriptors and credentials out of a control buffer.
fn read_control(
    sys: &Sys<'_>,
    socket: &Arc<dyn Socket>,
    header: &MsgHdr,
    sending: &mut Sending,
) -> Result<(), Errno> {
    let len = usize::try_from(header.controllen).map_err(|_| Errno::ENOBUFS)?;
    if len > cmsg::MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let mut buffer = vec![0; len];
    sys.mm().read_bytes(header.control, &mut buffer)?;
    let unix = socket.base().domain == net::AF_UNIX;
    for control in cmsg::parse(&buffer)? {
        match (control.level, control.kind) {
            (net::SOL_SOCKET, net::SCM_RIGHTS) if unix => {
                for fd in cmsg::rights(control.data)? {
                    let known = sys.restart.files.get(fd).map(Arc::clone);
                    let file = known.map_or_else(|| sys.files().get(fd), Ok)?;
                    sending.rights.push((fd, file));
                }
                if sending.rights.len() > cmsg::MAX_RIGHTS {
                    return Err(Errno::EINVAL);
                }
            }
            (net::SOL_SOCKET, net::SCM_CREDENTIALS) if unix => {
                let claimed = cmsg::credentials(control.data)?;
                sending.credentials = Some(check_credentials(sys, claimed)?);
            }
            (net::SOL_SOCKET, net::SCM_RIGHTS | net::SCM_CREDENTIALS) => {}
            (net::SOL_SOCKET, _) => return Err(Errno::EINVAL),
            (net::SOL_IP, net::IP_TTL) => sending.hops = byte(control.data)?.filter(|n| *n > 0),
            (net::SOL_IPV6, net::IPV6_HOPLIMIT) => sending.hops = byte(control.data)?,
            (net::SOL_IP, net::IP_TOS) if control.data.len() == 1 => {
                sending.class = control.data.first().copied();
            }
            (net::SOL_IP, net::IP_TOS) | (net::SOL_IPV6, net::IPV6_TCLASS) => {
                sending.class = byte(control.data)?;
            }
            // Segmentation must be done or refused; hints about routes may be ignored.
            (net::SOL_UDP, _) => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(())
}

/// An `int` that is a byte, or -1 for the socket's own value.
fn byte(data: &[u8]) -> Result<Option<u8>, Errno> {
    let four = data.try_into().map_err(|_| Errno::EINVAL)?;
    match i32::from_ne_bytes(four) {
        -1 => Ok(None),
        n => u8::try_from(n).map(Some).map_err(|_| Errno::EINVAL),
    }
}

/// Who one may claim to be (unix(7), `SCM_CREDENTIALS`).
fn check_credentials(sys: &Sys<'_>, claimed: Ucred) -> Result<Ucred, Errno> {
    let creds = sys.process().creds();
    let pid = claimed.pid == sys.task.pid() || creds.has(CAP_SYS_ADMIN);
    let uids = [creds.uid, creds.euid, creds.suid];
    let gids = [creds.gid, creds.egid, creds.sgid];
    let uid = uids.contains(&claimed.uid) || creds.has(CAP_SETUID);
    let gid = gids.contains(&claimed.gid) || creds.has(CAP_SETGID);
    if pid && uid && gid {
        Ok(claimed)
    } else {
        Err(Errno::EPERM)
    }
}

fn recvmsg(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let flags = flags_of(args.u32(2));
    let how = Waiting::to_receive(&description, &socket).with(flags);
    receive_message(sys, how, &socket, args.u64(1), flags)
}

fn receive_message(
    sys: &mut Sys<'_>,
    how: Waiting,
    socket: &Arc<dyn Socket>,
    addr: u64,
    flags: MsgFlags,
) -> SysResult {
    let (mut header, parts) = read_header(sys, addr)?;
    let mut incoming = receive(sys, how, socket, &parts, flags)?;
    if header.name != 0 {
        let from = incoming.from.as_ref();
        header.namelen = write_bytes_of(sys, header.name, header.namelen, from)?;
    }
    let (control, cut) = write_control(sys, &header, &mut incoming, flags)?;
    header.controllen = control;
    let asked = flags & MsgFlags::CMSG_CLOEXEC;
    header.flags = (incoming.flags | cut | asked).bits();
    sys.mm().write_obj(addr, &header)?;
    Ok(incoming.length as u64)
}

/// Installs received descriptors and writes the control buffer; returns its length.
fn write_control(
    sys: &Sys<'_>,
    header: &MsgHdr,
    incoming: &mut Incoming,
    flags: MsgFlags,
) -> Result<(u64, MsgFlags), Errno> {
    let room = if header.control == 0 {
        0
    } else {
        header.controllen
    };
    let room = usize::try_from(room).unwrap_or(cmsg::MAX_CONTROL);
    let mut writer = cmsg::ControlWriter::new(room);
    for control in std::mem::take(&mut incoming.control) {
        match control {
            Control::Rights(descriptions) => {
                let numbers = install_rights(sys, descriptions, flags, &mut writer);
                if !numbers.is_empty() {
                    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
                    writer.put(net::SOL_SOCKET, net::SCM_RIGHTS, &bytes);
                }
            }
            other => writer.put_control(&other),
        }
    }
    let (bytes, cut) = writer.finish();
    sys.mm().write_bytes(header.control, &bytes)?;
    Ok((bytes.len() as u64, cut))
}

/// Gives received descriptions numbers, as many as the buffer and the table have room for.
fn install_rights(
    sys: &Sys<'_>,
    descriptions: Vec<Arc<Description>>,
    flags: MsgFlags,
    writer: &mut cmsg::ControlWriter,
) -> Vec<i32> {
    let fd_flags = if flags.contains(MsgFlags::CMSG_CLOEXEC) {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let most = writer.room_for_rights();
    let mut numbers = Vec::new();
    for description in descriptions {
        let installed = if numbers.len() < most {
            sys.files().insert(description, fd_flags, sys.nofile()).ok()
        } else {
            None
        };
        match installed {
            Some(fd) => numbers.push(fd),
            None => {
                writer.cut();
                break;
            }
        }
    }
    numbers
}

fn sendmmsg(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let flags = flags_of(args.u32(3));
    let first = Waiting::to_send(&description, &socket).with(flags);
    let mut sent = 0u32;
    while sent < args.u32(2).min(MAX_MESSAGES) {
        let addr = args.u64(1).wrapping_add(u64::from(sent) * MMSGHDR);
        let how = Waiting {
            nonblocking: first.nonblocking || sent > 0,
            ..first
        };
        let n = match send_message(sys, how, &socket, addr, flags) {
            Ok(n) => n,
            Err(_) if sent > 0 => break,
            Err(stop) => return Err(stop),
        };
        sys.restart.progress = 0;
        let len = u32::try_from(n).unwrap_or(u32::MAX);
        sys.mm().write_obj(addr.wrapping_add(MMSGHDR_LEN), &len)?;
        sent += 1;
    }
    Ok(u64::from(sent))
}

/// How many messages there are is the progress of the call, so that a signal gives that count.
fn recvmmsg(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (description, socket) = socket_of(sys, args.i32(0))?;
    let mut flags = flags_of(args.u32(3)) - MsgFlags::WAITALL;
    if args.u64(4) != 0 {
        let timeout = clock::read_timespec(&sys.mm(), args.u64(4))?;
        sys.set_timeout(Some(timeout));
    }
    let wait_for_one = flags.contains(MsgFlags::WAITFORONE);
    flags -= MsgFlags::WAITFORONE;
    let vlen = u64::from(args.u32(2).min(MAX_MESSAGES));
    while sys.restart.progress < vlen {
        let count = sys.restart.progress;
        let addr = args.u64(1).wrapping_add(count * MMSGHDR);
        let mut how = Waiting::to_receive(&description, &socket).with(flags);
        how.nonblocking |= wait_for_one && count > 0;
        match receive_message(sys, how, &socket, addr, flags) {
            Ok(n) => {
                let len = u32::try_from(n).unwrap_or(u32::MAX);
                sys.mm().write_obj(addr.wrapping_add(MMSGHDR_LEN), &len)?;
                sys.restart.progress = count + 1;
            }
            Err(Stop::Block(mut blocked)) => {
                if count > 0 {
                    blocked.on_signal = kernel_core::task::OnSignal::Partial;
                }
                return Err(Stop::Block(blocked));
            }
            Err(_) if count > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(sys.restart.progress)
}
