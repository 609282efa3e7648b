//! membarrier(2): memory barriers on the threads that run guest code, on behalf of one that asks.
//!
//! A thread passes a barrier when it leaves guest code and enters it again. So those that run are kicked, and the call
//! is over when each has been out of guest code since it began. It is remembered by the time at which it began, which
//! is compared with the times at which threads entered guest code.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use base_abi::Errno;
use base_abi::general::membarrier_cmd;
use kernel_core::task::{OnSignal, Task};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::cpu_time::host_nanos;
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[Entry::partial(
    324,
    "membarrier",
    "dxd",
    membarrier,
    "global and private expedited barriers; the latter need no registration",
)];

const QUERY: u32 = membarrier_cmd::MEMBARRIER_CMD_QUERY as u32;
const GLOBAL: u32 = membarrier_cmd::MEMBARRIER_CMD_GLOBAL as u32;
const PRIVATE_EXPEDITED: u32 = membarrier_cmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED as u32;
const REGISTER_PRIVATE_EXPEDITED: u32 =
    membarrier_cmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as u32;

fn membarrier(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    match args.u32(0) {
        QUERY => Ok(u64::from(
            GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED,
        )),
        REGISTER_PRIVATE_EXPEDITED => Ok(0),
        GLOBAL => wait_until_passed(sys, |_| true),
        PRIVATE_EXPEDITED => {
            let own = sys.mm();
            wait_until_passed(sys, |task| Arc::ptr_eq(&task.mm(), &own))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Waits until every chosen task has been out of guest code.
fn wait_until_passed(sys: &mut Sys<'_>, chosen: impl Fn(&Task) -> bool) -> SysResult {
    if sys.restart.note == 0 {
        // What the caller wrote comes before what is found of the others: who is found outside sees it when it enters.
        fence(Ordering::SeqCst);
        sys.restart.note = host_nanos();
    }
    let began = sys.restart.note;
    // Made again after a restore on a host whose clock is behind: all have left guest code since.
    if host_nanos() < began {
        return Ok(0);
    }
    let (own, queue) = (sys.task.tid(), sys.kernel().guest_left.clone());
    sys.wait_for(&queue, OnSignal::Uninterruptible, |sys| {
        let tasks: Vec<Arc<Task>> = sys.kernel().tree.lock().tasks().cloned().collect();
        let others = tasks.iter().filter(|task| task.tid() != own);
        let behind = others.filter(|task| task.in_guest_since_before(began) && chosen(task));
        let mut passed = true;
        for task in behind {
            passed = false;
            if !task.parker.has_attention() {
                task.kick();
            }
        }
        Ok::<_, Stop>(passed.then_some(0))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Duration;

    use kernel_core::task::Restart;
    use platform_api::Event;
    use platform_script::Script;

    use super::*;
    use crate::testing::Machine;

    const MEMBARRIER: u64 = 324;
    const LIMIT: Duration = Duration::from_secs(60);

    fn private(machine: &mut Machine, restart: &mut Restart) -> SysResult {
        let args = [u64::from(PRIVATE_EXPEDITED), 0, 0, 0, 0, 0];
        machine.run_handler(MEMBARRIER, args, restart)
    }

    #[test]
    fn it_waits_for_a_thread_that_it_kicked() {
        let mut machine = Machine::new();
        let (entered, is_inside) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        // Guest code that is not interrupted before the test lets it.
        let script = Script::steps(move |_| {
            entered.send(()).ok()?;
            may_leave.recv().ok()?;
            Some(Event::Interrupted)
        });
        machine.thread(script);
        is_inside.recv_timeout(LIMIT).unwrap();
        let mut restart = Restart::default();
        for _ in 0..3 {
            let stop = private(&mut machine, &mut restart).unwrap_err();
            assert!(matches!(stop, Stop::Block(_)), "{stop:?}");
        }
        let Err(Stop::Block(blocked)) = private(&mut machine, &mut restart) else {
            panic!("it does not wait");
        };
        machine.task.parker.clear();
        leave.send(()).unwrap();
        // It is told, and finds that the thread has passed, although it is in guest code again.
        machine
            .task
            .parker
            .park(Some(std::time::Instant::now() + LIMIT));
        is_inside.recv_timeout(LIMIT).unwrap();
        drop(blocked);
        assert_eq!(private(&mut machine, &mut restart).unwrap(), 0);
        // The next barrier has to wait for it anew.
        let again = private(&mut machine, &mut Restart::default());
        assert!(matches!(again, Err(Stop::Block(_))), "{again:?}");
        drop(leave);
    }

    #[test]
    fn it_does_not_wait_for_a_thread_that_sleeps() {
        const PAUSE: u64 = 34;
        let mut machine = Machine::new();
        let asleep = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&asleep);
        let script = Script::steps(move |_| {
            begun.store(true, Ordering::SeqCst);
            Some(Event::Syscall(Script::call(PAUSE, &[])))
        });
        let tid = machine.thread(script);
        let task = machine.system.kernel.tree.lock().task(tid).cloned();
        let task = task.unwrap();
        base_eventually::eventually("it sleeps", || task.blocked_call.lock().is_some());
        assert!(asleep.load(Ordering::SeqCst));
        let outcome = private(&mut machine, &mut Restart::default());
        assert_eq!(outcome.unwrap(), 0);
    }
}
