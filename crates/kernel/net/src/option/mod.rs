//! Socket options as data: what getsockopt(2) and setsockopt(2) read and write.

mod ip;
mod socket;
mod tcp;

pub(crate) use ip::IpOptions;
pub use socket::Timeouts;
pub(crate) use socket::{DEFAULT_BUFFER, SocketOptions, Timestamping};
pub(crate) use tcp::{TcpOptions, TcpState};

use base_abi::Errno;

use crate::Result;

/// An `int` option value; longer values are allowed, as Linux does.
pub(crate) fn int(value: &[u8]) -> Result<i32> {
    let (first, _) = value.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes(*first))
}

/// An `int` or `unsigned char` option value, as the IP options take them.
pub(crate) fn int_or_byte(value: &[u8]) -> Result<i32> {
    match value {
        [] => Err(Errno::EINVAL),
        [byte] | [byte, _] | [byte, _, _] => Ok(i32::from(*byte)),
        value => int(value),
    }
}

/// A flag as an `int`.
pub(crate) fn flag(value: &[u8]) -> Result<bool> {
    int(value).map(|n| n != 0)
}

/// A value for getsockopt(2).
pub(crate) fn give(value: impl Into<i64>) -> Vec<u8> {
    let value = i32::try_from(value.into()).unwrap_or(i32::MAX);
    value.to_ne_bytes().to_vec()
}
