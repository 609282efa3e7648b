//! `/proc/net` (proc_pid_net(5)): one loopback interface; the tables of sockets come from the network.

use crate::View;
use crate::synthetic::{Node, table, text};

/// Name and heading of each table.
const TABLES: &[(&str, &str)] = &[
    (
        "arp",
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    ),
    (
        "dev",
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
    ),
    (
        "if_inet6",
        "00000000000000000000000000000001 01 80 10 80       lo\n",
    ),
    (
        "ipv6_route",
        "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n",
    ),
    (
        "netlink",
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    ),
    (
        "packet",
        "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    ),
    (
        "protocols",
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha uh gp em\n",
    ),
    (
        "raw",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
    ),
    ("snmp", "Ip: Forwarding DefaultTTL\nIp: 2 64\n"),
    (
        "sockstat",
        "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n",
    ),
    (
        "tcp",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
    ),
    (
        "tcp6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
    ),
    (
        "udp",
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "udp6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "unix",
        "Num       RefCount Protocol Flags    Type St Inode Path\n",
    ),
    (
        "wireless",
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n",
    ),
];

pub(crate) fn root(view: &View) -> Node {
    let entry = |(name, heading): &(&'static str, &'static str)| {
        let (view, name, heading) = (view.clone(), *name, *heading);
        let node = text(move || {
            let known = view.source()?.net_table(name);
            Ok(known.unwrap_or_else(|| String::from(heading)))
        });
        (name, node)
    };
    table(TABLES.iter().map(entry).collect())
}
