//! What a hostile guest can try against its stub, and what the outside can do to it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base_eventually::eventually;
use platform_api::{Event, FaultKind, Interrupt, MapOp};
use platform_conformance::code;
use platform_conformance::guest::{DATA, FREE, Guest, PAGE, RW, anonymous, report, syscall};
use platform_process::ProcessPlatform;

/// Where every stub has its code and its mapper's commands (`layout`).
const STUB_CODE: u64 = 0x7fff_ff00_0000;
const STUB_COMMANDS: u64 = 0x7fff_ff01_0000;

fn platform() -> ProcessPlatform {
    ProcessPlatform::new().expect("this host runs stub processes")
}

/// Processes whose parent is this one, zombies too.
fn children() -> BTreeSet<i32> {
    let me = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1).map(|parent| parent == me))
            .unwrap_or(false)
    })
    .collect()
}

/// A guest and the number of its stub, told by what is written into it.
fn guest_with_pid(platform: &ProcessPlatform) -> (Guest, i32) {
    static NUMBER: AtomicU64 = AtomicU64::new(0x1234_5678_9abc_def0);
    platform.begin_spare().expect("a spare stub");
    let guest = Guest::new(platform);
    let text = NUMBER.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    assert_eq!(guest.space.write(DATA, &text), 8);
    let has = |pid: &i32| {
        let mut buf = [0; 8];
        host_sys::vm::read(*pid, DATA, &mut buf).is_ok() && buf == text
    };
    let pid = children()
        .into_iter()
        .find(has)
        .expect("the stub is a child");
    (guest, pid)
}

fn kill(pid: i32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(status.is_ok_and(|s| s.success()));
}

#[test]
fn command_and_code_pages_cannot_be_written() {
    let platform = platform();
    let guest = Guest::new(&platform);
    for addr in [
        STUB_CODE,
        STUB_CODE + 0x400,
        STUB_COMMANDS,
        STUB_COMMANDS + 0x3ff8,
    ] {
        match guest.event(code::store(), |r| (r.rdi, r.rsi) = (addr, 1)) {
            Event::Fault(fault) => assert_eq!(
                (fault.kind, fault.code, fault.addr),
                (FaultKind::Segv, 2, addr)
            ),
            other => panic!("{other:?}"),
        }
    }
    guest.apply(&[anonymous(FREE, PAGE, RW)]);
}

#[test]
fn stub_holds_nothing_of_ours() {
    let platform = platform();
    let (guest, pid) = guest_with_pid(&platform);
    let mut context = guest.context(code::call(), |r| r.rax = 1);
    syscall(&mut *context);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    for line in maps.lines().filter(|line| !line.contains("[vsyscall]")) {
        let start = line
            .split('-')
            .next()
            .and_then(|at| u64::from_str_radix(at, 16).ok())
            .expect("an address");
        assert!(
            start < 0x7fff_fe00_0000 || start == STUB_CODE || start == STUB_COMMANDS,
            "{line}"
        );
        assert!(
            line.ends_with(" 0")
                || line.ends_with(" 0 ")
                || line.contains("stub-commands")
                || line.trim_end().ends_with('0'),
            "{line}"
        );
    }
    let fds: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .collect();
    assert!(
        fds.len() <= 3,
        "the command file, and listeners for a moment: {fds:?}"
    );
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16), Ok(0));
    assert_eq!(u64::from_str_radix(&field("CapPrm:"), 16), Ok(0));
}

#[test]
fn jumps_into_the_stubs_code_are_ordinary_guest_code() {
    let platform = platform();
    let guest = Guest::new(&platform);
    let other = Guest::new(&platform);
    // Some offsets are endless loops, as guests may have them anywhere: this ends them.
    let current: Mutex<Option<Arc<dyn Interrupt>>> = Mutex::new(None);
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let current = &current;
        scope.spawn(move || {
            while ended.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                if let Some(interrupt) = &*current.lock().expect("no panics") {
                    interrupt.interrupt();
                }
            }
        });
        let attack = AssertUnwindSafe(|| {
            for offset in 0..0x420 {
                let mut context = guest.context(code::jump(), |r| {
                    r.rdi = STUB_CODE + offset;
                    // As if the mapper had been told to unmap, with everything pointing at the guest's data.
                    (r.rax, r.rsi, r.rdx, r.r12, r.r13, r.r14, r.rbx) =
                        (11, PAGE, DATA, DATA, DATA, PAGE, 0);
                });
                *current.lock().expect("no panics") = Some(context.interrupter());
                for _ in 0..8 {
                    match context.run() {
                        Event::Syscall(call) => {
                            assert_ne!(call.nr, code::REPORT);
                            context.set_return(-38);
                        }
                        Event::Fault(_) => break,
                        Event::Interrupted => {}
                        Event::Gone => panic!("at {offset:x}"),
                    }
                }
            }
        });
        let result = catch_unwind(attack);
        drop(done);
        assert!(result.is_ok());
    });
    // Nothing was unmapped, both mappers serve.
    guest.set_word(DATA, 3);
    for guest in [&guest, &other] {
        guest.apply(&[anonymous(FREE, PAGE, RW)]);
        assert_eq!(guest.run(code::report(), |r| r.rax = 3), 3);
    }
}

#[test]
fn calls_of_the_mapper_are_only_reported() {
    let platform = platform();
    let guest = Guest::new(&platform);
    guest.set_word(DATA, 5);
    // munmap, mprotect, madvise(DONTNEED), kill(-1), exit_group, close, seccomp, clone, execve, ptrace, and our private numbers
    for (nr, a, b) in [
        (11, PAGE, 0),
        (10, PAGE, 0),
        (28, PAGE, 4),
        (62, 9, 0),
        (231, 0, 0),
        (3, 0, 0),
        (317, 1, 0),
        (56, 0, 0),
        (59, 0, 0),
        (101, 0, 0),
        (0x1001, 0, 0),
        (0x1002, 0, 0),
        (0x1003, 1, 2),
    ] {
        let mut context = guest.context(code::call(), |r| {
            (r.rax, r.rdi, r.rsi, r.rdx) = (nr, DATA, a, b)
        });
        assert_eq!(syscall(&mut *context).nr, nr);
        context.set_return(-1);
        assert_eq!(report(&mut *context) as i64, -1);
    }
    assert_eq!(guest.word(DATA), 5);
}

#[test]
fn stub_killed_from_outside() {
    let platform = platform();
    let (guest, pid) = guest_with_pid(&platform);
    let mut called = guest.context(code::call(), |r| r.rax = 1);
    syscall(&mut *called);
    std::thread::scope(|scope| {
        let spinning =
            scope.spawn(|| guest.event(code::spin(), |r| (r.rdi, r.rsi) = (DATA + 64, DATA + 128)));
        eventually("the guest spins", || guest.word(DATA + 64) != 0);
        kill(pid, "-KILL");
        assert!(matches!(spinning.join(), Ok(Event::Gone)));
    });
    assert_eq!(called.run(), Event::Gone);
    assert!(guest.space.apply(&[anonymous(FREE, PAGE, RW)]).is_err());
    assert!(
        guest
            .space
            .apply(&[MapOp::Unmap {
                addr: FREE,
                len: PAGE
            }])
            .is_err()
    );
    assert!(guest.space.fork().is_err());
    assert!(
        guest
            .space
            .new_context(platform_api::CpuState::default())
            .is_err()
    );
    assert!(guest.space.compare_exchange_u32(DATA, 0, 1).is_err());
    // Its last thread may still be on its way out.
    eventually("its memory is gone", || {
        guest.space.read(DATA, &mut [0; 8]) == 0
    });
    drop(called);
    drop(guest);
    eventually("the stub is reaped", || !children().contains(&pid));
    assert_eq!(Guest::new(&platform).run(code::report(), |r| r.rax = 3), 3);
}

#[test]
fn signals_from_outside_do_not_reach_guests() {
    let platform = platform();
    let (guest, pid) = guest_with_pid(&platform);
    let mut context = guest.context(code::chain(), |r| r.rax = 0);
    for (number, signal) in ["-TERM", "-SEGV", "-USR1", "-TRAP", "-HUP", "-INT"]
        .iter()
        .enumerate()
    {
        kill(pid, signal);
        assert_eq!(syscall(&mut *context).nr, number as u64);
        kill(pid, signal);
        context.set_return(number as i64 + 1);
    }
    guest.apply(&[anonymous(FREE, PAGE, RW)]);
}

/// Whether the test of this name is the only one of its process, so that all children are its own. If
/// not, it is run as such here.
fn alone(name: &str) -> bool {
    const ALONE: &str = "PLATFORM_PROCESS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let exe = std::env::current_exe().expect("this program");
    let run = Command::new(exe)
        .args(["--exact", name])
        .env(ALONE, "1")
        .output()
        .expect("this program runs");
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && out.contains("1 passed"), "{out}");
    false
}

#[test]
fn nothing_is_left_of_dropped_address_spaces() {
    if !alone("nothing_is_left_of_dropped_address_spaces") {
        return;
    }
    let platform = platform();
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let round = || {
        let guest = Guest::new(&platform);
        let mut context = guest.context(code::call(), |r| r.rax = 1);
        syscall(&mut *context);
        let child = Guest {
            space: guest.space.fork().expect("a fork"),
        };
        assert_eq!(child.run(code::report(), |r| r.rax = 1), 1);
    };
    round();
    eventually("one template is left", || children().len() == 1);
    let before = descriptors();
    (0..100).for_each(|_| round());
    eventually("every stub is reaped", || children().len() == 1);
    assert_eq!(descriptors(), before);
    drop(platform);
    eventually("the template is reaped", || children().is_empty());
}

/// The other half of `stubs_die_with_us`: it runs only as a process of its own.
#[test]
fn process_that_dies() {
    if std::env::var_os("PLATFORM_PROCESS_DIES").is_none() {
        return;
    }
    let platform = platform();
    let guest = Guest::new(&platform);
    std::thread::scope(|scope| {
        scope.spawn(|| guest.event(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8)));
        eventually("the guest spins", || guest.word(DATA) != 0);
        let list: Vec<String> = children().iter().map(ToString::to_string).collect();
        println!("stubs {}", list.join(" "));
        std::process::abort();
    });
}

#[test]
fn stubs_die_with_us() {
    let exe = std::env::current_exe().expect("this program");
    let mut child = Command::new(exe)
        .args(["--exact", "process_that_dies", "--nocapture"])
        .env("PLATFORM_PROCESS_DIES", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("stubs ").map(|(_, list)| list.to_owned()));
    let stubs: Vec<String> = line
        .expect("a list")
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect();
    assert!(stubs.len() >= 2);
    let status = child.wait().expect("it ends");
    assert!(!status.success());
    eventually("every stub ends", || {
        stubs.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ") || !stat.contains("(guest)")
        })
    });
}
