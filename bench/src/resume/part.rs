//! The process that holds the threads that are measured: guests in a kernel, and bare threads of the host.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use edge_cli::PlatformArg;

use super::crowd::Crowd;
use super::{Form, Order};

/// Answers each line, the word of a [`Form`] and a number that does not matter, with nanoseconds, until the input ends.
pub(crate) fn run(kit: &Path, platform: PlatformArg, threads: u32) -> io::Result<()> {
    let mut crowd = Crowd::gather(kit.to_owned(), platform, threads)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let word = line.split(' ').next().unwrap_or_default();
        let form = Form::ALL.into_iter().find(|form| form.word() == word);
        let took = match form.ok_or(io::ErrorKind::InvalidInput)? {
            Form::Floor => floor(threads)?,
            Form::ThawParallel => crowd.thaw(Order::Parallel)?,
            Form::ThawSequential => crowd.thaw(Order::Sequential)?,
            Form::RestoreParallel => crowd.restore(Order::Parallel)?,
            Form::RestoreSequential => crowd.restore(Order::Sequential)?,
        };
        writeln!(io::stdout(), "{}", took.as_nanos())?;
    }
    Ok(())
}

/// The same number of threads of the host, asleep: the time from the first one's wake-up until the last has run.
fn floor(threads: u32) -> io::Result<Duration> {
    let go = AtomicBool::new(false);
    let asleep = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let sleeper = || {
            asleep.fetch_add(1, Ordering::SeqCst);
            while !go.load(Ordering::SeqCst) {
                std::thread::park();
            }
            Instant::now()
        };
        let sleepers: Vec<_> = (0..threads).map(|_| scope.spawn(sleeper)).collect();
        while asleep.load(Ordering::SeqCst) < threads {
            std::thread::yield_now();
        }
        let began = Instant::now();
        go.store(true, Ordering::SeqCst);
        for sleeper in &sleepers {
            sleeper.thread().unpark();
        }
        let mut last = began;
        for sleeper in sleepers {
            let ran = sleeper.join();
            last = last.max(ran.map_err(|_| io::Error::other("a thread panicked"))?);
        }
        Ok(last.duration_since(began))
    })
}
