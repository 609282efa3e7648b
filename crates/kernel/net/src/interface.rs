//! The loopback interface and the ioctls that ask about it (netdevice(7)).

use std::net::{IpAddr, Ipv4Addr};

use base_abi::{Errno, ioctl as req};
use kernel_vfs::UserMemory;

use crate::loopback::{ARPHRD_LOOPBACK, LO_FLAGS, LO_INDEX, LO_MTU};
use crate::{Address, Result, SocketBase};

/// Bytes of `struct ifreq`.
const IFREQ: usize = 40;
const NAME: &[u8; 16] = b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The addresses of `lo` with their prefix lengths.
pub(crate) fn addresses(base: &SocketBase) -> Vec<(IpAddr, u8)> {
    let mut all = vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)];
    all.push((IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128));
    let own = &base.stack.config().local.own;
    all.extend(
        own.iter()
            .map(|ip| (*ip, if ip.is_ipv4() { 32 } else { 128 })),
    );
    all
}

/// ioctl(2) on any socket for what is not the socket's own matter.
///
/// # Errors
/// `ENOTTY` for unknown requests, `ENODEV` for other interfaces, `EPERM` for changes.
pub(crate) fn ioctl(
    base: &SocketBase,
    memory: &dyn UserMemory,
    request: u32,
    arg: u64,
) -> Result<u64> {
    match request {
        req::SIOCGIFCONF => return configuration(base, memory, arg),
        req::SIOCGIFNAME
        | req::SIOCGIFFLAGS
        | req::SIOCGIFADDR
        | req::SIOCGIFDSTADDR
        | req::SIOCGIFBRDADDR
        | req::SIOCGIFNETMASK
        | req::SIOCGIFMETRIC
        | req::SIOCGIFMTU
        | req::SIOCGIFHWADDR
        | req::SIOCGIFINDEX
        | req::SIOCGIFTXQLEN
        | req::SIOCGIFMAP => {}
        req::SIOCSIFFLAGS | req::SIOCSIFADDR | req::SIOCSIFNETMASK | req::SIOCSIFMTU => {
            return Err(Errno::EPERM);
        }
        _ => return Err(Errno::ENOTTY),
    }
    let mut ifreq = [0; IFREQ];
    memory.read_bytes(arg, &mut ifreq)?;
    let (name, value) = ifreq.split_at_mut(NAME.len());
    if request == req::SIOCGIFNAME {
        let index = value
            .first_chunk::<4>()
            .map_or(0, |i| i32::from_ne_bytes(*i));
        if index != LO_INDEX {
            return Err(Errno::ENODEV);
        }
        name.copy_from_slice(NAME);
    } else {
        let end = name.iter().position(|b| *b == 0).ok_or(Errno::ENODEV)?;
        if name.get(..end) != Some(b"lo") {
            return Err(Errno::ENODEV);
        }
        answer(request, value);
    }
    memory.write_bytes(arg, &ifreq)?;
    Ok(0)
}

fn answer(request: u32, value: &mut [u8]) {
    let inet = |ip: Ipv4Addr| Address::V4(std::net::SocketAddrV4::new(ip, 0)).encode();
    let bytes = match request {
        req::SIOCGIFFLAGS => LO_FLAGS.to_ne_bytes()[..2].to_vec(),
        req::SIOCGIFADDR | req::SIOCGIFDSTADDR => inet(Ipv4Addr::LOCALHOST),
        req::SIOCGIFBRDADDR => inet(Ipv4Addr::UNSPECIFIED),
        req::SIOCGIFNETMASK => inet(Ipv4Addr::new(255, 0, 0, 0)),
        req::SIOCGIFMTU => LO_MTU.to_ne_bytes().to_vec(),
        req::SIOCGIFHWADDR => {
            let mut address = ARPHRD_LOOPBACK.to_ne_bytes().to_vec();
            address.resize(16, 0);
            address
        }
        req::SIOCGIFINDEX => LO_INDEX.to_ne_bytes().to_vec(),
        req::SIOCGIFTXQLEN => 1000i32.to_ne_bytes().to_vec(),
        _ => vec![0; 24],
    };
    for (place, byte) in value.iter_mut().zip(bytes) {
        *place = byte;
    }
}

/// `SIOCGIFCONF`: one `struct ifreq` for each IPv4 address.
fn configuration(base: &SocketBase, memory: &dyn UserMemory, arg: u64) -> Result<u64> {
    let mut ifconf = [0; 16];
    memory.read_bytes(arg, &mut ifconf)?;
    let (head, buffer) = ifconf.split_at(8);
    let room = head
        .first_chunk::<4>()
        .map_or(0, |n| i32::from_ne_bytes(*n));
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let buffer = buffer.try_into().map_or(0, u64::from_ne_bytes);
    let mut list = Vec::new();
    for (ip, _) in addresses(base) {
        let IpAddr::V4(ip) = ip else { continue };
        let mut entry = NAME.to_vec();
        entry.extend(Address::V4(std::net::SocketAddrV4::new(ip, 0)).encode());
        entry.resize(IFREQ, 0);
        list.extend(entry);
    }
    // Without a buffer the question is how large it must be.
    if buffer != 0 {
        list.truncate(room / IFREQ * IFREQ);
        memory.write_bytes(buffer, &list)?;
    }
    let len = i32::try_from(list.len()).unwrap_or(i32::MAX);
    memory.write_bytes(arg, &len.to_ne_bytes())?;
    Ok(0)
}
