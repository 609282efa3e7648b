//! What a sandbox process has to say of itself: warnings and errors of its own code, on standard error, where its parent reads
//! them. So many and no more, as a guest may have a hand in them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::OptionalWriter;

/// Lines of one sandbox.
const LINES: usize = 64;

/// Has them written, by this process and by those that it forks, which count for themselves.
pub(crate) fn write_down() {
    let lines = AtomicUsize::new(0);
    let next = move || match lines.fetch_add(1, Ordering::Relaxed) {
        line if line < LINES => OptionalWriter::some(io::stderr()),
        _ => OptionalWriter::none(),
    };
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(next)
        .with_ansi(false)
        .without_time()
        .init();
}
