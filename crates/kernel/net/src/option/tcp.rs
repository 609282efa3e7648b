//! Options of level `IPPROTO_TCP` (tcp(7)). Most are kept for the reader only: there are no
//! packets whose timing they could change.

use base_abi::{Errno, net};

use super::{give, int};
use crate::Result;

/// Size of `struct tcp_info` up to `tcpi_snd_wnd` (linux/tcp.h).
const INFO_SIZE: usize = 232;
/// The only congestion control here; nothing is congested.
const CONGESTION: &[u8] = b"cubic";
/// Segment size of the loopback interface.
const LOOPBACK_MSS: i32 = 32741;

/// States of a connection as `tcpi_state` and `/proc/net/tcp` number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TcpState {
    Established = 1,
    SynSent = 2,
    FinWait2 = 5,
    Close = 7,
    CloseWait = 8,
    Listen = 10,
}

/// The TCP options of one socket.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct TcpOptions {
    no_delay: bool,
    cork: bool,
    quick_ack: bool,
    keep_idle: i32,
    keep_interval: i32,
    keep_count: i32,
    syn_count: i32,
    linger2: i32,
    defer_accept: i32,
    window_clamp: i32,
    user_timeout: i32,
    not_sent_low_water: i32,
    fast_open: i32,
    fast_open_connect: bool,
    max_segment: i32,
    report_queue: bool,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            no_delay: false,
            cork: false,
            quick_ack: true,
            keep_idle: 7200,
            keep_interval: 75,
            keep_count: 9,
            syn_count: 6,
            linger2: 60,
            defer_accept: 0,
            window_clamp: 0,
            user_timeout: 0,
            not_sent_low_water: 0,
            fast_open: 0,
            fast_open_connect: false,
            max_segment: 0,
            report_queue: false,
        }
    }
}

impl TcpOptions {
    pub(crate) fn get(&self, name: u32, state: TcpState) -> Result<Vec<u8>> {
        Ok(match name {
            net::TCP_NODELAY => give(self.no_delay),
            net::TCP_CORK => give(self.cork),
            net::TCP_QUICKACK => give(self.quick_ack),
            net::TCP_KEEPIDLE => give(self.keep_idle),
            net::TCP_KEEPINTVL => give(self.keep_interval),
            net::TCP_KEEPCNT => give(self.keep_count),
            net::TCP_SYNCNT => give(self.syn_count),
            net::TCP_LINGER2 => give(self.linger2),
            net::TCP_DEFER_ACCEPT => give(self.defer_accept),
            net::TCP_WINDOW_CLAMP => give(self.window_clamp),
            net::TCP_USER_TIMEOUT => give(self.user_timeout),
            net::TCP_NOTSENT_LOWAT => give(self.not_sent_low_water),
            net::TCP_FASTOPEN => give(self.fast_open),
            net::TCP_FASTOPEN_CONNECT => give(self.fast_open_connect),
            net::TCP_INQ => give(self.report_queue),
            net::TCP_MAXSEG => give(match state {
                TcpState::Close | TcpState::Listen if self.max_segment != 0 => self.max_segment,
                TcpState::Close | TcpState::Listen => 536,
                _ => LOOPBACK_MSS,
            }),
            net::TCP_CONGESTION => {
                let mut name = CONGESTION.to_vec();
                name.resize(16, 0);
                name
            }
            net::TCP_INFO => info(state),
            net::TCP_ULP => Vec::new(),
            net::TCP_REPAIR | net::TCP_IS_MPTCP | net::TCP_TIMESTAMP => give(0),
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    pub(crate) fn set(&mut self, name: u32, value: &[u8], state: TcpState) -> Result<()> {
        match name {
            net::TCP_CONGESTION => return known_congestion(value),
            net::TCP_ULP => return Err(Errno::ENOENT),
            _ => {}
        }
        let number = int(value)?;
        let within = |low: i32, high: i32| {
            let ok = (low..=high).contains(&number);
            if ok { Ok(number) } else { Err(Errno::EINVAL) }
        };
        match name {
            net::TCP_NODELAY => self.no_delay = number != 0,
            net::TCP_CORK => self.cork = number != 0,
            net::TCP_QUICKACK => self.quick_ack = number != 0,
            net::TCP_KEEPIDLE => self.keep_idle = within(1, 32767)?,
            net::TCP_KEEPINTVL => self.keep_interval = within(1, 32767)?,
            net::TCP_KEEPCNT => self.keep_count = within(1, 127)?,
            net::TCP_SYNCNT => self.syn_count = within(1, 127)?,
            net::TCP_LINGER2 => self.linger2 = number.clamp(-1, 120),
            net::TCP_DEFER_ACCEPT => self.defer_accept = number.max(0),
            net::TCP_WINDOW_CLAMP if number == 0 && state != TcpState::Close => {
                return Err(Errno::EINVAL);
            }
            net::TCP_WINDOW_CLAMP => self.window_clamp = number.max(0),
            net::TCP_USER_TIMEOUT => self.user_timeout = within(0, i32::MAX)?,
            net::TCP_NOTSENT_LOWAT => self.not_sent_low_water = number,
            net::TCP_FASTOPEN if state != TcpState::Close && state != TcpState::Listen => {
                return Err(Errno::EINVAL);
            }
            net::TCP_FASTOPEN => self.fast_open = within(0, i32::MAX)?,
            net::TCP_FASTOPEN_CONNECT if state != TcpState::Close => return Err(Errno::EINVAL),
            net::TCP_FASTOPEN_CONNECT => self.fast_open_connect = within(0, 1)? != 0,
            net::TCP_MAXSEG if number != 0 => self.max_segment = within(88, 32767)?,
            net::TCP_MAXSEG => self.max_segment = 0,
            net::TCP_INQ => self.report_queue = within(0, 1)? != 0,
            net::TCP_THIN_LINEAR_TIMEOUTS | net::TCP_THIN_DUPACK => drop(within(0, 1)?),
            net::TCP_REPAIR => return Err(Errno::EPERM),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

fn known_congestion(value: &[u8]) -> Result<()> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    match value.get(..end) {
        Some(b"") | None => Err(Errno::EINVAL),
        Some(b"reno" | b"cubic") => Ok(()),
        Some(_) => Err(Errno::ENOENT),
    }
}

/// `struct tcp_info` of a connection that never loses anything.
fn info(state: TcpState) -> Vec<u8> {
    let mut info = vec![0; INFO_SIZE];
    if let Some(first) = info.first_mut() {
        *first = state as u8;
    }
    let mut word = |index: usize, value: i32| {
        let at = 8 + index * 4;
        if let Some(place) = info.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
    };
    word(0, 200_000); // tcpi_rto, microseconds
    word(1, 40_000); // tcpi_ato
    word(2, LOOPBACK_MSS); // tcpi_snd_mss
    word(3, LOOPBACK_MSS); // tcpi_rcv_mss
    word(13, 65535); // tcpi_pmtu
    word(15, 30); // tcpi_rtt, microseconds
    word(16, 10); // tcpi_rttvar
    word(17, i32::MAX); // tcpi_snd_ssthresh
    word(18, 10); // tcpi_snd_cwnd
    word(19, LOOPBACK_MSS); // tcpi_advmss
    info
}
