//! Options of level `SOL_SOCKET` (socket(7)).

use std::time::Duration;

use base_abi::structs::Timeval;
use base_abi::{Errno, net};
use zerocopy::{FromBytes, IntoBytes};

use super::{flag, give, int};
use crate::{Caller, Result};

/// Default buffer size (`net.core.rmem_default`), and the most without privilege before doubling.
pub(crate) const DEFAULT_BUFFER: usize = 212_992;
const MAX_BUFFER: usize = 212_992;
/// Most with privilege, after doubling.
const MAX_FORCED: usize = 8 << 20;
const MIN_SEND_BUFFER: usize = 4608;
const MIN_RECEIVE_BUFFER: usize = 2304;

/// How long a blocked call waits at most; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timeouts {
    /// `SO_RCVTIMEO`: receive and accept.
    pub receive: Option<Duration>,
    /// `SO_SNDTIMEO`: send and connect.
    pub send: Option<Duration>,
}

/// Which arrival time a receiver asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Timestamping {
    #[default]
    Off,
    /// `SO_TIMESTAMP`.
    Micro,
    /// `SO_TIMESTAMPNS`.
    Nano,
}

/// The options every socket has.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct SocketOptions {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) broadcast: bool,
    pub(crate) oob_in_line: bool,
    pub(crate) pass_credentials: bool,
    pub(crate) linger: Option<u32>,
    pub(crate) send_buffer: usize,
    pub(crate) receive_buffer: usize,
    pub(crate) low_water: usize,
    pub(crate) timestamping: Timestamping,
    pub(crate) timeouts: Timeouts,
    keep_alive: bool,
    dont_route: bool,
    no_check: bool,
    receive_overflow: bool,
    zero_copy: bool,
    pass_security: bool,
    bound_to_lo: bool,
    priority: i32,
    mark: i32,
    busy_poll: i32,
    incoming_cpu: i32,
    max_pacing_rate: u32,
}

impl SocketOptions {
    pub(crate) fn with_buffers(send_buffer: usize, receive_buffer: usize) -> SocketOptions {
        SocketOptions {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            oob_in_line: false,
            pass_credentials: false,
            linger: None,
            send_buffer,
            receive_buffer,
            low_water: 1,
            timestamping: Timestamping::Off,
            timeouts: Timeouts::default(),
            keep_alive: false,
            dont_route: false,
            no_check: false,
            receive_overflow: false,
            zero_copy: false,
            pass_security: false,
            bound_to_lo: false,
            priority: 0,
            mark: 0,
            busy_poll: 0,
            incoming_cpu: -1,
            max_pacing_rate: u32::MAX,
        }
    }

    /// getsockopt(2) for what was set, or could be. What a socket is, `SocketBase` knows; `SO_ERROR`, `SO_ACCEPTCONN` and
    /// `SO_PEERCRED` are the socket's own matter.
    pub(crate) fn get(&self, name: u32) -> Result<Vec<u8>> {
        Ok(match name {
            net::SO_REUSEADDR => give(self.reuse_address),
            net::SO_REUSEPORT => give(self.reuse_port),
            net::SO_KEEPALIVE => give(self.keep_alive),
            net::SO_BROADCAST => give(self.broadcast),
            net::SO_DONTROUTE => give(self.dont_route),
            net::SO_OOBINLINE => give(self.oob_in_line),
            net::SO_NO_CHECK => give(self.no_check),
            net::SO_PASSCRED => give(self.pass_credentials),
            net::SO_PASSSEC => give(self.pass_security),
            net::SO_RXQ_OVFL => give(self.receive_overflow),
            net::SO_ZEROCOPY => give(self.zero_copy),
            net::SO_SNDBUF => give(to_i64(self.send_buffer)),
            net::SO_RCVBUF => give(to_i64(self.receive_buffer)),
            net::SO_RCVLOWAT => give(to_i64(self.low_water)),
            net::SO_SNDLOWAT => give(1),
            net::SO_PRIORITY => give(self.priority),
            net::SO_MARK => give(self.mark),
            net::SO_BUSY_POLL => give(self.busy_poll),
            net::SO_INCOMING_CPU => give(self.incoming_cpu),
            net::SO_INCOMING_NAPI_ID | net::SO_DEBUG | net::SO_BSDCOMPAT => give(0),
            net::SO_ACCEPTCONN => give(0),
            net::SO_TIMESTAMP_OLD => give(self.timestamping == Timestamping::Micro),
            net::SO_TIMESTAMPNS_OLD => give(self.timestamping == Timestamping::Nano),
            net::SO_TIMESTAMPING_OLD => give(0),
            net::SO_MAX_PACING_RATE => self.max_pacing_rate.to_ne_bytes().to_vec(),
            net::SO_BINDTODEVICE if self.bound_to_lo => b"lo\0".to_vec(),
            net::SO_BINDTODEVICE => Vec::new(),
            net::SO_BINDTOIFINDEX => give(self.bound_to_lo),
            net::SO_LINGER => {
                let on = i32::from(self.linger.is_some());
                let seconds = self.linger.unwrap_or(0);
                [on.to_ne_bytes(), seconds.to_ne_bytes()].concat()
            }
            net::SO_RCVTIMEO_OLD | net::SO_RCVTIMEO_NEW => timeval(self.timeouts.receive),
            net::SO_SNDTIMEO_OLD | net::SO_SNDTIMEO_NEW => timeval(self.timeouts.send),
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    /// setsockopt(2).
    pub(crate) fn set(&mut self, caller: &Caller<'_>, name: u32, value: &[u8]) -> Result<()> {
        match name {
            net::SO_BINDTODEVICE => return self.bind_to_device(value),
            net::SO_LINGER => return self.set_linger(value),
            net::SO_RCVTIMEO_OLD | net::SO_RCVTIMEO_NEW => {
                self.timeouts.receive = duration(value)?;
                return Ok(());
            }
            net::SO_SNDTIMEO_OLD | net::SO_SNDTIMEO_NEW => {
                self.timeouts.send = duration(value)?;
                return Ok(());
            }
            _ => {}
        }
        let number = int(value)?;
        match name {
            net::SO_DEBUG if number != 0 && !caller.privileged => return Err(Errno::EACCES),
            net::SO_DEBUG | net::SO_BSDCOMPAT => {}
            net::SO_REUSEADDR => self.reuse_address = flag(value)?,
            net::SO_REUSEPORT => self.reuse_port = flag(value)?,
            net::SO_KEEPALIVE => self.keep_alive = flag(value)?,
            net::SO_BROADCAST => self.broadcast = flag(value)?,
            net::SO_DONTROUTE => self.dont_route = flag(value)?,
            net::SO_OOBINLINE => self.oob_in_line = flag(value)?,
            net::SO_NO_CHECK => self.no_check = flag(value)?,
            net::SO_PASSCRED => self.pass_credentials = flag(value)?,
            net::SO_PASSSEC => self.pass_security = flag(value)?,
            net::SO_RXQ_OVFL => self.receive_overflow = flag(value)?,
            net::SO_ZEROCOPY => self.zero_copy = flag(value)?,
            net::SO_SNDBUF => self.send_buffer = buffer(number, MIN_SEND_BUFFER),
            net::SO_RCVBUF => self.receive_buffer = buffer(number, MIN_RECEIVE_BUFFER),
            net::SO_SNDBUFFORCE => self.send_buffer = forced(caller, number, MIN_SEND_BUFFER)?,
            net::SO_RCVBUFFORCE => {
                self.receive_buffer = forced(caller, number, MIN_RECEIVE_BUFFER)?;
            }
            net::SO_RCVLOWAT => self.set_low_water(number),
            net::SO_PRIORITY if !(0..=6).contains(&number) && !caller.privileged => {
                return Err(Errno::EPERM);
            }
            net::SO_PRIORITY => self.priority = number,
            net::SO_MARK if !caller.privileged => return Err(Errno::EPERM),
            net::SO_MARK => self.mark = number,
            net::SO_BUSY_POLL if number < 0 => return Err(Errno::EINVAL),
            net::SO_BUSY_POLL => self.busy_poll = number,
            net::SO_INCOMING_CPU => self.incoming_cpu = number,
            net::SO_MAX_PACING_RATE => self.max_pacing_rate = number.cast_unsigned(),
            net::SO_TIMESTAMP_OLD => self.set_timestamping(number, Timestamping::Micro),
            net::SO_TIMESTAMPNS_OLD => self.set_timestamping(number, Timestamping::Nano),
            net::SO_TIMESTAMPING_OLD => {}
            net::SO_BINDTOIFINDEX => match number {
                0 => self.bound_to_lo = false,
                crate::loopback::LO_INDEX => self.bound_to_lo = true,
                _ => return Err(Errno::ENODEV),
            },
            // There is no program to run on packets here; detaching nothing is ENOENT.
            net::SO_ATTACH_FILTER | net::SO_ATTACH_BPF => return Err(Errno::EINVAL),
            net::SO_DETACH_FILTER => return Err(Errno::ENOENT),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn set_low_water(&mut self, number: i32) {
        let wanted = match number {
            n if n < 0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(1).max(1),
        };
        // More than half of the buffer could never become readable.
        self.low_water = wanted.min(self.receive_buffer / 2);
    }

    fn set_timestamping(&mut self, number: i32, which: Timestamping) {
        self.timestamping = if number == 0 {
            Timestamping::Off
        } else {
            which
        };
    }

    fn set_linger(&mut self, value: &[u8]) -> Result<()> {
        let on = int(value)? != 0;
        let seconds = int(value.get(4..).unwrap_or_default())?;
        self.linger = on.then_some(seconds.max(0).cast_unsigned());
        Ok(())
    }

    fn bind_to_device(&mut self, value: &[u8]) -> Result<()> {
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        self.bound_to_lo = match value.get(..end) {
            Some([]) | None => false,
            Some(b"lo") => true,
            Some(_) => return Err(Errno::ENODEV),
        };
        Ok(())
    }
}

fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn buffer(number: i32, least: usize) -> usize {
    let wanted = usize::try_from(number).unwrap_or(MAX_BUFFER);
    (wanted.min(MAX_BUFFER) * 2).max(least)
}

fn forced(caller: &Caller<'_>, number: i32, least: usize) -> Result<usize> {
    if !caller.privileged {
        return Err(Errno::EPERM);
    }
    let wanted = usize::try_from(number).unwrap_or(0);
    Ok(wanted.saturating_mul(2).clamp(least, MAX_FORCED))
}

fn timeval(timeout: Option<Duration>) -> Vec<u8> {
    let timeout = timeout.unwrap_or_default();
    let value = Timeval {
        sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        usec: i64::from(timeout.subsec_micros()),
    };
    value.as_bytes().to_vec()
}

fn duration(value: &[u8]) -> Result<Option<Duration>> {
    let (time, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    let Ok(micros @ 0..1_000_000) = u32::try_from(time.usec) else {
        return Err(Errno::EDOM);
    };
    // Linux lets a negative number of seconds mean "do not wait".
    let Ok(seconds) = u64::try_from(time.sec) else {
        return Ok(Some(Duration::ZERO));
    };
    let timeout = Duration::new(seconds, micros * 1000);
    Ok((!timeout.is_zero()).then_some(timeout))
}
