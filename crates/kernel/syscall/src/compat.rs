//! The compatibility page, generated from the table.

use std::fmt::Write as _;

use crate::entry::Support;
use crate::table::entries;

/// `docs/compat.md` as it should be.
#[must_use]
pub fn compat_page() -> String {
    let all = entries();
    let count = |support: Support| all.iter().filter(|e| e.support == support).count();
    let (full, partial, refused) = (
        count(Support::Full),
        count(Support::Partial),
        count(Support::Refused),
    );
    let mut page = String::from("# System calls\n\n");
    let _ = write!(
        page,
        "Generated from the table in `crates/kernel/syscall`; a test compares the two. \
         Of the calls of x86-64 Linux, {full} behave as their man page says, {partial} partly, and {refused} answer \
         as Linux does where a feature is not there or not permitted. Every other number answers `ENOSYS`, is \
         counted, and is reported once.\n\n\
         | number | name | support | caveat |\n| ---: | --- | --- | --- |\n"
    );
    for entry in all {
        let support = match entry.support {
            Support::Full => "full",
            Support::Partial => "partial",
            Support::Refused => "refused",
        };
        let _ = writeln!(
            page,
            "| {} | `{}` | {support} | {} |",
            entry.nr, entry.name, entry.caveat
        );
    }
    page
}
