//! The time that inodes are stamped with.

use std::time::{SystemTime, UNIX_EPOCH};

use base_abi::structs::Timespec;

/// Wall clock time now.
pub(crate) fn now() -> Timespec {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timespec {
        sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nsec: i64::from(since.subsec_nanos()),
    }
}
