//! poll(2), ppoll(2), select(2), pselect(2).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::structs::{PollFd, Timespec, Timeval};
use kernel_core::task::{CalledFile, OnSignal};
use kernel_vfs::{Description, Events, Fd, FdTable, PollTable};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::clock;
use crate::entry::Entry;
use crate::epoll::set_mask;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(7, "poll", "pud", poll),
    Entry::full(271, "ppoll", "puppu", ppoll),
    Entry::full(23, "select", "dpppp", select),
    Entry::full(270, "pselect6", "dppppp", pselect6),
];

/// Offset of `revents` in `struct pollfd`, and its size.
const REVENTS: u64 = 6;
const POLLFD_SIZE: u64 = 8;

fn poll(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let timeout = u64::try_from(args.i32(2)).ok();
    sys.set_timeout(timeout.map(|ms| ms.saturating_mul(1_000_000)));
    poll_files(sys, args.u64(0), args.u64(1))
}

fn ppoll(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(2) != 0 {
        let timeout = clock::read_timespec(&sys.mm(), args.u64(2))?;
        sys.set_timeout(Some(timeout));
    }
    set_mask(sys, args.u64(3), args.u64(4))?;
    let result = poll_files(sys, args.u64(0), args.u64(1));
    if args.u64(2) != 0 && !matches!(result, Err(Stop::Block(_))) {
        let left: Timespec = clock::timespec(remaining(sys));
        // Linux too ignores a timeout it cannot write back.
        let _ = sys.mm().write_obj(args.u64(2), &left);
    }
    result
}

fn remaining(sys: &Sys<'_>) -> u64 {
    let deadline = sys.restart.deadline.unwrap_or(0);
    deadline.saturating_sub(sys.now())
}

/// What one descriptor is ready for, of what was asked.
fn look(files: &FdTable, fd: &PollFd, watch: &mut Watch) -> Events {
    if fd.fd < 0 {
        return Events::empty();
    }
    let Ok(description) = files.get_file(fd.fd) else {
        return Events::NVAL;
    };
    let asked = Events::from_bits_retain(u32::from(fd.events.cast_unsigned())) | Events::ALWAYS;
    watch.poll(fd.fd, asked, description) & asked
}

fn poll_files(sys: &mut Sys<'_>, addr: u64, count: u64) -> SysResult {
    if count > sys.nofile() {
        return Err(Errno::EINVAL.into());
    }
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let mm = sys.mm();
    let asked: Vec<PollFd> = mm.read_slice(addr, count)?;
    let files = sys.files();
    let check = |watch: &mut Watch| -> Vec<Events> {
        asked.iter().map(|fd| look(&files, fd, watch)).collect()
    };
    let ready = until_ready(sys, &check, |events| events.iter().any(|e| !e.is_empty()))?;
    for (at, (fd, events)) in (addr..)
        .step_by(POLLFD_SIZE as usize)
        .zip(asked.iter().zip(&ready))
    {
        let revents = u16::try_from(events.bits()).unwrap_or(0);
        if fd.revents.cast_unsigned() != revents {
            mm.write_obj(at.saturating_add(REVENTS), &revents)?;
        }
    }
    Ok(ready.iter().filter(|e| !e.is_empty()).count() as u64)
}

/// Registers with what is looked at, and notes it if the call is going to wait.
struct Watch {
    table: PollTable,
    noted: Option<Vec<CalledFile>>,
}

impl Watch {
    /// Only looks.
    fn look() -> Watch {
        Watch {
            table: PollTable::look(),
            noted: None,
        }
    }

    fn poll(&mut self, fd: Fd, interest: Events, description: Arc<Description>) -> Events {
        self.table.set_interest(interest);
        let ready = description.file().poll(&mut self.table);
        if let Some(noted) = &mut self.noted {
            noted.push(CalledFile {
                fd,
                interest,
                description,
            });
        }
        ready
    }
}

/// Looks; if nothing is ready and there is time, registers, looks again, and blocks.
///
/// What is waited for are the files that the numbers named at first. When one of them has something the numbers are looked
/// up again, and what they name by then is what the answer is about (`do_poll` of Linux, whose queues hold the files).
fn until_ready<T>(
    sys: &mut Sys<'_>,
    check: &dyn Fn(&mut Watch) -> T,
    any: impl Fn(&T) -> bool,
) -> Result<T, Stop> {
    if let Some(files) = sys.restart.files.many() {
        let mut table = sys.waiting_table(Events::ALWAYS);
        if any_ready(&files, &mut table) || sys.timed_out() {
            let found = check(&mut Watch::look());
            if any(&found) || sys.timed_out() {
                return Ok(found);
            }
        }
        return Err(sys.block(table, OnSignal::Resume));
    }
    let found = check(&mut Watch::look());
    if any(&found) || sys.timed_out() {
        return Ok(found);
    }
    let mut watch = Watch {
        table: sys.waiting_table(Events::ALWAYS),
        noted: Some(Vec::new()),
    };
    let found = check(&mut watch);
    if any(&found) {
        return Ok(found);
    }
    if let Some(noted) = watch.noted.filter(|noted| !noted.is_empty()) {
        sys.restart.files.keep_many(noted);
    }
    Err(sys.block(watch.table, OnSignal::Resume))
}

/// Registers with all of them.
fn any_ready(files: &[CalledFile], table: &mut PollTable) -> bool {
    let mut any = false;
    for file in files {
        table.set_interest(file.interest);
        any |= file
            .description
            .file()
            .poll(table)
            .intersects(file.interest);
    }
    any
}

fn select(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let addr = args.u64(4);
    if addr != 0 {
        let time: Timeval = sys.mm().read_obj(addr)?;
        let (sec, usec) = (u64::try_from(time.sec), u64::try_from(time.usec));
        let (Ok(sec), Ok(usec)) = (sec, usec) else {
            return Err(Errno::EINVAL.into());
        };
        let nanoseconds = sec.saturating_mul(1_000_000_000);
        sys.set_timeout(Some(nanoseconds.saturating_add(usec.saturating_mul(1000))));
    }
    let result = select_files(sys, args);
    if addr != 0 && !matches!(result, Err(Stop::Block(_))) {
        let left = clock::timespec(remaining(sys));
        let left = Timeval {
            sec: left.sec,
            usec: left.nsec / 1000,
        };
        let _ = sys.mm().write_obj(addr, &left);
    }
    result
}

fn pselect6(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let addr = args.u64(4);
    if addr != 0 {
        let timeout = clock::read_timespec(&sys.mm(), addr)?;
        sys.set_timeout(Some(timeout));
    }
    if args.u64(5) != 0 {
        let [mask, size]: [u64; 2] = sys.mm().read_obj(args.u64(5))?;
        set_mask(sys, mask, size)?;
    }
    let result = select_files(sys, args);
    if addr != 0 && !matches!(result, Err(Stop::Block(_))) {
        let left = clock::timespec(remaining(sys));
        let _ = sys.mm().write_obj(addr, &left);
    }
    result
}

/// The three sets, each a word of bits for 64 descriptors.
type Sets = [Vec<u64>; 3];

/// What makes a descriptor readable, writable, exceptional for select(2) (`POLLIN_SET` and so on).
const CONDITIONS: [Events; 3] = [
    Events::READABLE.union(Events::RDBAND).union(Events::ALWAYS),
    Events::WRITABLE.union(Events::WRBAND).union(Events::ERR),
    Events::PRI,
];

fn select_files(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let highest = usize::try_from(args.i32(0)).map_err(|_| Errno::EINVAL)?;
    let files = sys.files();
    let highest = highest.min(usize::try_from(sys.nofile()).unwrap_or(usize::MAX));
    let words = highest.div_ceil(64);
    let mm = sys.mm();
    let addrs = [args.u64(1), args.u64(2), args.u64(3)];
    let mut asked: Sets = Sets::default();
    for (set, addr) in asked.iter_mut().zip(addrs) {
        *set = match addr {
            0 => vec![0; words],
            addr => mm.read_slice(addr, words)?,
        };
        if let (Some(last), odd @ 1..) = (set.last_mut(), highest % 64) {
            *last &= (1 << odd) - 1;
        }
    }
    if sys.restart.files.many().is_none() {
        check_open(&files, &asked)?;
    }
    let check = |watch: &mut Watch| select_look(&files, &asked, watch);
    let found = until_ready(sys, &check, |sets| sets.iter().flatten().any(|w| *w != 0))?;
    for (set, addr) in found.iter().zip(addrs) {
        if addr != 0 {
            mm.write_slice(addr, set)?;
        }
    }
    let ones = found.iter().flatten().map(|w| u64::from(w.count_ones()));
    Ok(ones.sum())
}

/// Descriptors with a bit in any of the sets.
fn members(sets: &Sets) -> Vec<i32> {
    let [a, b, c] = sets;
    let words = a.iter().zip(b).zip(c).map(|((a, b), c)| a | b | c);
    let bits = (0..).zip(words).flat_map(|(index, word): (i32, u64)| {
        let set = move |bit: &i32| word & (1 << bit) != 0;
        (0..64).filter(set).map(move |bit| index * 64 + bit)
    });
    bits.collect()
}

fn check_open(files: &Arc<FdTable>, asked: &Sets) -> Result<(), Errno> {
    members(asked)
        .into_iter()
        .try_for_each(|fd| files.get_file(fd).map(|_| ()))
}

fn select_look(files: &Arc<FdTable>, asked: &Sets, watch: &mut Watch) -> Sets {
    let mut found: Sets = asked.clone().map(|set| vec![0; set.len()]);
    for fd in members(asked) {
        let Ok(at) = usize::try_from(fd) else {
            continue;
        };
        let (word, bit) = (at / 64, 1u64 << (at % 64));
        let wanted: Vec<bool> = asked
            .iter()
            .map(|set| set.get(word).is_some_and(|w| w & bit != 0))
            .collect();
        let mut interest = Events::ALWAYS;
        for (wanted, condition) in wanted.iter().zip(CONDITIONS) {
            if *wanted {
                interest |= condition;
            }
        }
        let ready = match files.get_file(fd) {
            Ok(description) => watch.poll(fd, interest, description),
            Err(_) => Events::all(),
        };
        for ((set, wanted), condition) in found.iter_mut().zip(wanted).zip(CONDITIONS) {
            if wanted
                && ready.intersects(condition)
                && let Some(slot) = set.get_mut(word)
            {
                *slot |= bit;
            }
        }
    }
    found
}
