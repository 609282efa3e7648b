//! Device numbers as `st_dev` and `st_rdev` carry them (makedev(3)).

/// Combines a major and a minor number.
#[must_use]
pub const fn make(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// The major number.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "both parts are masked to 32 bits"
)]
pub const fn major(dev: u64) -> u32 {
    (((dev >> 8) & 0xfff) | ((dev >> 32) & 0xffff_f000)) as u32
}

/// The minor number.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "both parts are masked to 32 bits"
)]
pub const fn minor(dev: u64) -> u32 {
    ((dev & 0xff) | ((dev >> 12) & 0xffff_ff00)) as u32
}
