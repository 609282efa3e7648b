//! What the loopback interface is to those who ask (netdevice(7)).

/// Interface index of `lo`.
pub(crate) const LO_INDEX: i32 = 1;
/// Its MTU.
pub(crate) const LO_MTU: i32 = 65536;
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
pub(crate) const LO_FLAGS: u32 = 0x49;
/// Also `IFF_LOWER_UP`, which rtnetlink(7) shows.
pub(crate) const LO_FLAGS_LINK: u32 = 0x1_0049;
/// `ARPHRD_LOOPBACK`.
pub(crate) const ARPHRD_LOOPBACK: u16 = 772;
