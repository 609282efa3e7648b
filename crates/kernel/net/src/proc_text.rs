//! The text of `/proc/net` (proc_pid_net(5)).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use base_abi::net;

use crate::inet::{TcpSocket, UdpSocket};
use crate::option::TcpState;
use crate::registry::Registry;
use crate::{Address, NetStack, Socket, UnixName};

/// An address as `/proc/net` writes it: host-order words in hexadecimal.
fn hex(addr: SocketAddr, domain: u32) -> String {
    let mut out = String::new();
    let octets = match (addr.ip(), domain) {
        (IpAddr::V4(ip), net::AF_INET6) if ip.is_unspecified() => vec![0; 16],
        (IpAddr::V4(ip), net::AF_INET6) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V4(ip), _) => ip.octets().to_vec(),
        (IpAddr::V6(ip), _) => ip.octets().to_vec(),
    };
    for word in octets.as_chunks::<4>().0 {
        let _ = write!(out, "{:08X}", u32::from_ne_bytes(*word));
    }
    let _ = write!(out, ":{:04X}", addr.port());
    out
}

impl NetStack {
    /// A table of `/proc/net` by its file name.
    #[must_use]
    pub fn proc_table(&self, name: &str) -> Option<String> {
        Some(match name {
            "tcp" => self.proc_tcp(),
            "tcp6" => self.proc_tcp6(),
            "udp" => self.proc_udp(),
            "udp6" => self.proc_udp6(),
            "unix" => self.proc_unix(),
            "sockstat" => self.proc_sockstat(),
            "dev" => self.proc_dev(),
            "route" => self.proc_route(),
            "if_inet6" => self.proc_if_inet6(),
            _ => return None,
        })
    }

    /// `/proc/net/tcp`.
    #[must_use]
    pub fn proc_tcp(&self) -> String {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        self.tcp_table(net::AF_INET, head)
    }

    /// `/proc/net/tcp6`.
    #[must_use]
    pub fn proc_tcp6(&self) -> String {
        let head = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        self.tcp_table(net::AF_INET6, head)
    }

    fn tcp_table(&self, domain: u32, head: &str) -> String {
        let mut out = format!("{head:<149}\n");
        let shown = self
            .family::<Registry<TcpSocket>>()
            .all()
            .into_iter()
            .filter(|s| s.base().domain == domain);
        let open = shown.filter(|s| s.tcp_state() != TcpState::Close);
        for (line, socket) in open.enumerate() {
            let (local, remote, tx, rx) = socket.describe();
            let _ = writeln!(
                out,
                "{line:4}: {} {} {:02X} {tx:08X}:{rx:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000 20 4 0 10 -1",
                hex(local, domain),
                hex(remote, domain),
                socket.tcp_state() as u8,
                socket.base().creator.uid,
                socket.base().ino,
            );
        }
        out
    }

    /// `/proc/net/udp`.
    #[must_use]
    pub fn proc_udp(&self) -> String {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        self.udp_table(net::AF_INET, head)
    }

    /// `/proc/net/udp6`.
    #[must_use]
    pub fn proc_udp6(&self) -> String {
        let head = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        self.udp_table(net::AF_INET6, head)
    }

    fn udp_table(&self, domain: u32, head: &str) -> String {
        let mut out = format!("{head:<127}\n");
        let shown = self
            .family::<Registry<UdpSocket>>()
            .all()
            .into_iter()
            .filter(|s| s.base().domain == domain);
        let bound = shown.filter(|s| s.describe().0.port() != 0);
        for (line, socket) in bound.enumerate() {
            let (local, remote, rx, drops) = socket.describe();
            let state = if remote.port() == 0 {
                TcpState::Close
            } else {
                TcpState::Established
            };
            let _ = writeln!(
                out,
                "{line:5}: {} {} {:02X} 00000000:{rx:08X} 00:00000000 00000000 {:5}        0 {} 2 0000000000000000 {drops}",
                hex(local, domain),
                hex(remote, domain),
                state as u8,
                socket.base().creator.uid,
                socket.base().ino,
            );
        }
        out
    }

    /// `/proc/net/unix`.
    #[must_use]
    pub fn proc_unix(&self) -> String {
        let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
        for socket in self.family::<Registry<dyn Socket>>().all() {
            let base = socket.base();
            let listening = socket.get_option(net::SOL_SOCKET, net::SO_ACCEPTCONN, 4);
            let listening = listening.is_ok_and(|v| v.first() == Some(&1));
            let flags = if listening { 0x10000 } else { 0 };
            // SS_UNCONNECTED or SS_CONNECTED.
            let state = if socket.peer_address().is_ok() { 3 } else { 1 };
            let _ = write!(
                out,
                "{:016X}: 00000002 00000000 {flags:08X} {:04X} {state:02X} {:5}",
                0, base.kind, base.ino
            );
            match socket.local_address() {
                Ok(Address::Unix(UnixName::Path(path))) => {
                    let _ = write!(out, " {}", String::from_utf8_lossy(&path));
                }
                Ok(Address::Unix(UnixName::Abstract(name))) => {
                    let shown = String::from_utf8_lossy(&name).replace('\0', "@");
                    let _ = write!(out, " @{shown}");
                }
                _ => {}
            }
            out.push('\n');
        }
        out
    }

    /// `/proc/net/sockstat`.
    #[must_use]
    pub fn proc_sockstat(&self) -> String {
        let tcp = self
            .family::<Registry<TcpSocket>>()
            .all()
            .iter()
            .filter(|s| s.base().domain == net::AF_INET)
            .count();
        let udp = self
            .family::<Registry<UdpSocket>>()
            .all()
            .iter()
            .filter(|s| s.base().domain == net::AF_INET)
            .count();
        let pages = self.buffered_bytes().div_ceil(4096);
        format!(
            "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem {pages}\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
            self.socket_count()
        )
    }

    /// `/proc/net/dev`.
    #[must_use]
    pub fn proc_dev(&self) -> String {
        String::from(
            "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
        )
    }

    /// `/proc/net/route`: nothing but local routes, which it does not show.
    #[must_use]
    pub fn proc_route(&self) -> String {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        format!("{head:<127}\n")
    }

    /// `/proc/net/if_inet6`.
    #[must_use]
    pub fn proc_if_inet6(&self) -> String {
        let mut out = String::from("00000000000000000000000000000001 01 80 10 80       lo\n");
        for ip in &self.config().local.own {
            if let IpAddr::V6(ip) = ip {
                for octet in ip.octets() {
                    let _ = write!(out, "{octet:02x}");
                }
                out.push_str(" 01 80 10 80       lo\n");
            }
        }
        out
    }
}
