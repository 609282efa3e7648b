//! Nothing that a guest does takes the machine's memory: one-line programs that tried, on both platforms, as whoever runs the tests and as an
//! ordinary user, who has no control groups.

mod server;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use server::{REKINDLE, Server};

/// Who has the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Caller,
    /// One without rights; the same as the caller where tests are run by such a one.
    Nobody,
}

/// A Python program in a sandbox that it may not outgrow.
fn run(platform: &str, user: User, arguments: &[&str], program: &str) -> Output {
    let mut command = Command::new(REKINDLE);
    command
        .args(["run", "--platform", platform, "--timeout", "60s"])
        .args(arguments)
        .args(["--", "python3", "-S", "-c", program])
        .stdin(Stdio::null());
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    if user == User::Nobody && root {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap()
}

/// The last number that a program said.
fn last(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| line.parse().ok());
    last.unwrap_or_else(|| panic!("{output:?}"))
}

fn everybody(platform: &str, each: impl Fn(User)) {
    each(User::Caller);
    // The device is root's.
    if platform != "kvm" {
        each(User::Nobody);
    }
}

/// Bytes that are written before there is no room; at most what the program tries.
const HOLES: &str = "
import os
fd = os.open('/tmp/x', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 40)
os.lseek(fd, 1 << 30, 0)
done = 0
try:
    while done < 300 << 20:
        done += os.write(fd, b'x' * (1 << 20))
except OSError as error:
    assert error.errno == 28, error
try:
    os.posix_fallocate(fd, 1 << 35, 64 << 20)
    done += 64 << 20
except OSError as error:
    assert error.errno == 28, error
source = os.open('/tmp/y', os.O_RDWR | os.O_CREAT)
os.ftruncate(source, 200 << 20)
try:
    done += os.copy_file_range(source, fd, 200 << 20, 0, 1 << 36)
except OSError as error:
    assert error.errno == 28, error
print(done)
";

fn holes_are_not_free(platform: &str) {
    everybody(platform, |user| {
        let output = run(
            platform,
            user,
            &["--memory", "128M", "--disk", "16M"],
            HOLES,
        );
        assert!(output.status.success(), "{user:?} {output:?}");
        assert_eq!(last(&output), 16 << 20, "{user:?}");
    });
}

#[test]
fn holes_of_a_file_are_not_free() {
    holes_are_not_free("process");
}

#[test]
fn holes_of_a_file_are_not_free_on_kvm() {
    holes_are_not_free("kvm");
}

/// Touches page by page and says how many MiB it has.
const TOUCH: &str = "
import mmap, os, sys
def named(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 400 << 20)
    return mmap.mmap(fd, 400 << 20)
def memfd():
    fd = os.memfd_create('x')
    os.ftruncate(fd, 400 << 20)
    return mmap.mmap(fd, 400 << 20)
kind = sys.argv[1]
memory = {
    'private': lambda: mmap.mmap(-1, 400 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
    'shared': lambda: mmap.mmap(-1, 400 << 20),
    'memfd': memfd,
    'tmp': lambda: named('/tmp/x'),
    'shm': lambda: named('/dev/shm/x'),
    'dev': lambda: named('/dev/x'),
}[kind]()
for page in range(0, 400 << 20, 4096):
    memory[page] = 1
    if page % (4 << 20) == 0:
        print(page >> 20, flush=True)
print(400)
";

fn every_kind_counts(platform: &str) {
    everybody(platform, |user| {
        for kind in ["private", "shared", "memfd", "tmp", "shm", "dev"] {
            let program = TOUCH.replace("sys.argv[1]", &format!("'{kind}'"));
            let output = run(
                platform,
                user,
                &["--memory", "64M", "--disk", "512M"],
                &program,
            );
            assert!(!output.status.success(), "{user:?} {kind} {output:?}");
            // Less than the limit, for what the interpreter has itself.
            let got = last(&output);
            assert!((32..=128).contains(&got), "{user:?} {kind} {got}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("memory"), "{user:?} {kind} {output:?}");
        }
    });
}

#[test]
fn every_kind_of_memory_counts_against_the_limit() {
    every_kind_counts("process");
}

#[test]
fn every_kind_of_memory_counts_against_the_limit_on_kvm() {
    every_kind_counts("kvm");
}

/// Page tables: a page in every 2 MiB of memory that is all zeros. Says how many MiB of tables there are.
const TABLES: &str = "
import ctypes, ctypes.util
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for turn in range(6):
    at = libc.mmap(None, 32 << 30, 1, 0x4022, -1, 0)
    assert at != ctypes.c_void_p(-1).value
    for page in range(0, 32 << 30, 2 << 20):
        ctypes.c_char.from_address(at + page).value
        if page % (1 << 30) == 0:
            print(turn * 64 + (page >> 29), flush=True)
print(384)
";

#[test]
fn page_tables_count_against_the_limit() {
    everybody("process", |user| {
        let output = run("process", user, &["--memory", "64M"], TABLES);
        assert!(!output.status.success(), "{user:?} {output:?}");
        let got = last(&output);
        assert!((32..=192).contains(&got), "{user:?} {got}");
    });
}

/// Reserves much and touches little, as Node.js, Go and Java do; forks, and has both write what was shared.
const MODEST: &str = "
import mmap, os
reserved = [mmap.mmap(-1, 8 << 30, flags) for flags in (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)]
for memory in reserved:
    memory[1 << 30] = 1
data = bytearray(b'x') * (40 << 20)
r, w = os.pipe()
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        os.close(w)
        os.read(r, 1)
        os._exit(sum(data[::4096]) != (40 << 8) * ord('x'))
    children.append(pid)
import time
time.sleep(0.3)
os.close(w)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
print('modest')
";

fn modest_programs_run(platform: &str) {
    everybody(platform, |user| {
        let output = run(platform, user, &["--memory", "96M"], MODEST);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "modest\n", "{user:?} {output:?}");
    });
}

#[test]
fn what_is_reserved_or_shared_after_a_fork_counts_once() {
    modest_programs_run("process");
}

#[test]
fn what_is_reserved_or_shared_after_a_fork_counts_once_on_kvm() {
    modest_programs_run("kvm");
}

/// Half of it came with the snapshot.
const FUNCTION: &str = "
import resource, time
data = bytearray(b'x') * (100 << 20)
def handler(event, context):
    more = bytearray(b'y') * (event.get('mb', 0) << 20)
    total = sum(data[::4096])
    status = open('/proc/self/status').read().split()
    field = lambda name: int(status[status.index(name) + 1]) >> 10
    current = int(open('/sys/fs/cgroup/memory.current').read()) >> 20
    for at in range(0, len(data) if event.get('write') else 0, 4096):
        data[at] = ord('z')
    # The memory is looked at now and then.
    until = time.monotonic() + (0.5 if event.get('mb') else 0)
    while event.get('wait') or time.monotonic() < until: pass
    return [field('VmRSS:'), resource.getrusage(0).ru_maxrss >> 10, current, len(more) >> 20]
";

/// What an event gives, and the end of its log.
fn invoke(server: &Server, event: &str) -> (String, u64) {
    let output = server.rekindle(&["invoke", "f", event, "--log"]);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let used = text.split("Max Memory Used: ").nth(1);
    let used = used.and_then(|rest| rest.split(' ').next()?.parse().ok());
    (text.clone(), used.unwrap_or_else(|| panic!("{text}")))
}

fn numbers(text: &str) -> Vec<u64> {
    let list = text.split('[').find_map(|part| {
        let inside = part.split(']').next()?;
        let numbers = inside.split(',').map(|word| word.trim().parse().ok());
        numbers.collect::<Option<Vec<u64>>>()
    });
    list.unwrap_or_else(|| panic!("{text}"))
}

fn a_clone_has_what_it_would_have(platform: &str) {
    let code = tempfile::tempdir().unwrap();
    std::fs::write(code.path().join("app.py"), FUNCTION).unwrap();
    for snapshot in ["on", "off"] {
        let server = Server::start();
        deploy(&server, code.path(), platform, snapshot);
        let about = format!("{platform} {snapshot}");
        let (text, used) = invoke(&server, "{}");
        for found in numbers(&text)[..3].iter().chain([&used]) {
            assert!((100..=140).contains(found), "{about} {text}");
        }
        // Writing what came with it makes it no more.
        let (text, used) = invoke(&server, r#"{"write": 1}"#);
        assert!((100..=140).contains(&used), "{about} {text}");
        let (text, used) = invoke(&server, r#"{"mb": 20}"#);
        assert_eq!(numbers(&text)[3], 20, "{about} {text}");
        assert!(used < 256, "{about} {text}");
        // As much again is too much, with a snapshot and without.
        let (text, used) = invoke(&server, r#"{"mb": 180}"#);
        assert!(text.contains("Runtime.OutOfMemory"), "{about} {text}");
        assert!(used >= 200, "{about} {text}");
        // A new instance; what it has is told although it is stopped.
        let (text, used) = invoke(&server, r#"{"wait": 1}"#);
        assert!(text.contains("timed out"), "{about} {text}");
        assert!((100..=140).contains(&used), "{about} {text}");
    }
}

fn deploy(server: &Server, code: &Path, platform: &str, snapshot: &str) {
    deploy_as(server, code, "f", platform, snapshot);
}

fn deploy_as(server: &Server, code: &Path, name: &str, platform: &str, snapshot: &str) {
    let platform = format!("REKINDLE_PLATFORM={platform}");
    let snapshot = format!("REKINDLE_SNAPSHOT={snapshot}");
    let out = server.rekindle(&[
        "deploy",
        code.to_str().unwrap(),
        "--name",
        name,
        "--runtime=python3.11",
        "--handler=app.handler",
        "--memory=256",
        // Touching so much memory page by page takes its time where each costs an exit of a machine.
        "--timeout=12",
        "--env",
        &platform,
        "--env",
        &snapshot,
    ]);
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn a_clone_has_and_may_have_what_a_start_from_the_beginning_has() {
    a_clone_has_what_it_would_have("process");
}

#[test]
fn a_clone_has_and_may_have_what_a_start_from_the_beginning_has_on_kvm() {
    a_clone_has_what_it_would_have("kvm");
}

/// How often a timer of a microsecond interrupts, and for how long it was counted, in milliseconds.
const STORM: &str = "
import signal, time
hits = 0
def hit(*_):
    global hits
    hits += 1
signal.signal(signal.SIGALRM, hit)
begin = time.monotonic()
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while hits < 100: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
print(int((time.monotonic() - begin) * 1000))
";

fn a_short_timer_wakes_once_a_millisecond(platform: &str) {
    everybody(platform, |user| {
        let output = run(platform, user, &[], STORM);
        assert!(output.status.success(), "{user:?} {output:?}");
        assert!(last(&output) >= 98, "{user:?} {output:?}");
    });
}

#[test]
fn timers_of_a_microsecond_wake_a_guest_once_a_millisecond() {
    a_short_timer_wakes_once_a_millisecond("process");
}

#[test]
fn timers_of_a_microsecond_wake_a_guest_once_a_millisecond_on_kvm() {
    a_short_timer_wakes_once_a_millisecond("kvm");
}

/// Leaves many timers behind; or passes time for whoever asks.
const TICKING: &str = "
import ctypes, signal, struct, time
libc = ctypes.CDLL(None)
hits = 0
def hit(*_):
    global hits
    hits += 1
signal.signal(signal.SIGALRM, hit)
def handler(event, context):
    if event.get('nap'): time.sleep(1.5)
    if event.get('storm'):
        signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
        # Few enough that the handler runs to its end between two rounds of signals, each of which comes on its own.
        for _ in range(4):
            timer = ctypes.c_int()
            libc.syscall(222, 1, None, ctypes.byref(timer))
            libc.syscall(223, timer, 0, struct.pack('4q', 0, 1000, 0, 1000), None)
    while event.get('more') and hits < event['more']: pass
    return [hits]
";

/// Hundredths of a second that descendants of a process have computed, by process.
fn ticks(of: u32) -> Vec<(u32, u64)> {
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let all: Vec<(u32, u32, u64)> = pids
        .filter_map(|pid| {
            let text = stat(pid)?;
            let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
            let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
            let parent = u32::try_from(number(1)?).ok()?;
            Some((pid, parent, number(11)? + number(12)?))
        })
        .collect();
    let mut family = vec![of];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(all.iter().filter(|one| one.1 == parent).map(|one| one.0));
        at += 1;
    }
    let found = all
        .iter()
        .filter(|one| one.0 != of && family.contains(&one.0));
    found.map(|one| (one.0, one.2)).collect()
}

fn a_frozen_function_takes_no_time(platform: &str) {
    let code = tempfile::tempdir().unwrap();
    std::fs::write(code.path().join("app.py"), TICKING).unwrap();
    let server = Server::start();
    deploy_as(&server, code.path(), "f", platform, "off");
    let (text, _) = invoke(&server, r#"{"storm": 1}"#);
    let before = numbers(&text)[0];
    let first = ticks(server.pid());
    deploy_as(&server, code.path(), "other", platform, "off");
    let nap = server.rekindle(&["invoke", "other", r#"{"nap": 1}"#]);
    assert!(nap.status.success(), "{nap:?}");
    let second = ticks(server.pid());
    let spent = |all: &[(u32, u64)]| {
        let known = all
            .iter()
            .filter(|(pid, _)| first.iter().any(|one| one.0 == *pid));
        known.map(|one| one.1).sum::<u64>()
    };
    // What the freeze itself takes.
    assert!(spent(&second) <= spent(&first) + 3, "{first:?} {second:?}");
    // The timer goes on with the next event.
    let more = format!(r#"{{"more": {}}}"#, before + 3);
    let (text, _) = invoke(&server, &more);
    assert!(numbers(&text)[0] >= before + 3, "{text}");
}

#[test]
fn a_frozen_function_with_timers_takes_no_time() {
    a_frozen_function_takes_no_time("process");
}

#[test]
fn a_frozen_function_with_timers_takes_no_time_on_kvm() {
    a_frozen_function_takes_no_time("kvm");
}
