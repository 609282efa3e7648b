//! CPU time: neither what is asleep, nor what is stopped or frozen, uses any (getrusage(2), time(7)).

mod guest;
#[path = "guest/moving.rs"]
mod moving;

use std::sync::Arc;
use std::time::{Duration, Instant};

use guest::{Machine, boot, limit};
use kernel_core::park::Parker;
use moving::{wait_for, wait_until_asleep};

/// How long machines stand still here: far longer than what the programs compute meanwhile.
const STANDSTILL: Duration = Duration::from_millis(1500);

/// Lets that time pass.
fn stand_still(machine: &Machine) {
    machine.system.kernel.freeze(limit()).expect("it freezes");
    Arc::new(Parker::default()).park(Some(Instant::now() + STANDSTILL));
    machine.system.kernel.thaw();
}

/// Every word for CPU time, of a program that waits.
#[test]
fn time_that_is_frozen_is_nobodys() {
    let program = "
import os, resource, signal, sys, time
hits = []
signal.signal(signal.SIGPROF, lambda *a: hits.append(1))
signal.setitimer(signal.ITIMER_PROF, 1.4)
def usage():
    mine = resource.getrusage(resource.RUSAGE_SELF)
    stat = open('/proc/self/stat').read().rsplit(') ')[1].split()
    ticks = os.times()
    return [time.process_time(), time.thread_time(), mine.ru_utime + mine.ru_stime, (int(stat[11]) + int(stat[12])) / 100, ticks[0] + ticks[1]]
before = usage()
print('waits', flush=True)
sys.stdin.readline()
after = usage()
print([b - a < 0.7 for a, b in zip(before, after)], hits)
print('ready', flush=True)
sys.stdin.readline()
print(usage()[0] - after[0] < 0.7, hits)
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "waits\n");
    wait_until_asleep(&machine);
    stand_still(&machine);
    stand_still(&machine);
    machine.console.push_input(b"on\n");
    let first = wait_for(&machine, "ready\n");
    assert!(
        first.starts_with("[True, True, True, True, True] []\n"),
        "{first}"
    );
    wait_until_asleep(&machine);
    stand_still(&machine);
    machine.console.push_input(b"on\n");
    assert_eq!(machine.finish().expect_success(), "True []\n");
}

/// One that is frozen, or stopped by a signal, in the middle of its own code.
#[test]
fn who_stands_still_in_its_own_code_uses_none() {
    let program = "
import os, signal, sys, time
def clock(pid): return time.clock_gettime((~pid << 3) | 2)
if (pid := os.fork()) == 0:
    print('computes', flush=True)
    while True: pass
sys.stdin.readline()
os.kill(pid, signal.SIGSTOP)
os.waitpid(pid, os.WUNTRACED)
before = clock(pid)
time.sleep(0.3)
print(clock(pid) == before)
os.kill(pid, signal.SIGKILL)
used = os.wait4(pid, 0)[2]
print(used.ru_utime + used.ru_stime - before < 0.2)
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "computes\n");
    let used = || {
        let tree = machine.system.kernel.tree.lock();
        let child = tree.tasks().find(|task| task.tid() != 1).cloned();
        let child = child.expect("the one that computes");
        Duration::from_nanos(child.user_time.load(std::sync::atomic::Ordering::Relaxed))
    };
    machine.system.kernel.freeze(limit()).expect("it freezes");
    let before = used();
    Arc::new(Parker::default()).park(Some(Instant::now() + STANDSTILL));
    assert_eq!(used(), before);
    machine.system.kernel.thaw();
    machine.console.push_input(b"on\n");
    assert_eq!(machine.finish().expect_success(), "True\nTrue\n");
}

/// Who is ready to run and does not get a processor uses none, though it never sleeps.
#[test]
fn waiting_for_a_processor_is_no_use_of_one() {
    let program = "
import os, sys, time
many = int(sys.argv[1])
children = []
began = time.monotonic()
def burn():
    until = time.monotonic() + 1.5
    while time.monotonic() < until: pass
for _ in range(many):
    if (pid := os.fork()) == 0:
        burn()
        os._exit(0)
    children.append(pid)
used = 0
for pid in children:
    usage = os.wait4(pid, 0)[2]
    used += usage.ru_utime + usage.ru_stime
wall = time.monotonic() - began
print(used, wall)
";
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let many = (2 * processors + 2).to_string();
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program, &many]);
    let told = machine.finish().expect_success();
    let numbers = told
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    let [used, wall]: [f64; 2] = numbers.collect::<Vec<_>>().try_into().expect("two");
    // What is short is counted as it is; all the rest was on a processor.
    let most = 1.2 * wall * f64::from(u32::try_from(processors).expect("few"));
    assert!(0.0 < used && used <= most, "{used} s of {most}");
}
