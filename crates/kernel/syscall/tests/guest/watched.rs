//! A platform that counts its guests' system calls and has the machine stopped at chosen ones.
//!
//! The kernel knows nothing of it: to the kernel this is a platform like any other.
//!
//! ```text
//!   guest: system call ─▶ counted ─▶ chosen? tell, wait for the freeze ─▶ the kernel's handler
//!                                                                            ├ done: the next run is "interrupted"
//!                                                                            └ blocks: asleep
//! ```
//! So a capture finds the caller after the call or asleep in it, and nobody runs guest code in between.

use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use base_abi::Errno;
use kernel_syscall::System;
use parking_lot::{Condvar, Mutex};
use platform_api::{
    AddressSpace, ApplyError, Context, Counting, CpuClock, CpuState, Event, Expected, Features,
    Held, Interrupt, MapOp, Platform, PlatformError,
};

/// Says of the n-th system call whether to stop there.
pub(crate) type Chosen = Box<dyn FnMut(u64) -> bool + Send>;

struct Counted {
    calls: u64,
    chosen: Chosen,
    /// The number of the call at which somebody waits for the freeze.
    due: Option<u64>,
}

/// Counts the calls of a program, in however many machines it lives.
pub(crate) struct Watch {
    counted: Mutex<Counted>,
    changed: Condvar,
    at_frame: Mutex<AtFrame>,
    frozen: Condvar,
}

/// What happens when the kernel next changes a thread's registers, as for the frame of a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AtFrame {
    #[default]
    Nothing,
    Freeze,
    Frozen,
}

/// What a machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Makes the system call of this number, where it is to be stopped.
    Due(u64),
    /// Nothing: no thread is left.
    Ended,
    /// Nothing until the deadline.
    Nothing,
}

impl Watch {
    pub(crate) fn new(chosen: Chosen) -> Arc<Watch> {
        Arc::new(Watch {
            counted: Mutex::new(Counted {
                calls: 0,
                chosen,
                due: None,
            }),
            changed: Condvar::new(),
            at_frame: Mutex::default(),
            frozen: Condvar::new(),
        })
    }

    /// Has a freeze be wanted as soon as the kernel next changes a thread's registers.
    #[allow(dead_code, reason = "not every test file stops there")]
    pub(crate) fn freeze_at_frame(&self) {
        *self.at_frame.lock() = AtFrame::Freeze;
    }

    /// Waits until it is; whether that came in time.
    #[allow(dead_code, reason = "not every test file stops there")]
    pub(crate) fn frozen_at_frame(&self, deadline: Instant) -> bool {
        let mut at_frame = self.at_frame.lock();
        while *at_frame != AtFrame::Frozen {
            if self.frozen.wait_until(&mut at_frame, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn frame(&self, system: &System) {
        let mut at_frame = self.at_frame.lock();
        if *at_frame == AtFrame::Freeze {
            // It stays wanted although the calling thread runs.
            let _ = system.kernel.freezer.freeze(Duration::ZERO, || {});
            *at_frame = AtFrame::Frozen;
            self.frozen.notify_all();
        }
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.counted.lock().calls
    }

    /// Waits for what the machine on this platform does next.
    pub(crate) fn next(&self, platform: &Watched, deadline: Instant) -> Next {
        let mut counted = self.counted.lock();
        loop {
            if let Some(number) = counted.due {
                return Next::Due(number);
            }
            if *platform.living.lock() == 0 {
                return Next::Ended;
            }
            if self.changed.wait_until(&mut counted, deadline).timed_out() {
                return Next::Nothing;
            }
        }
    }

    /// Whoever waited for the freeze need not any more.
    pub(crate) fn served(&self) {
        self.counted.lock().due = None;
        self.changed.notify_all();
    }

    fn call(&self, system: &System) {
        let mut counted = self.counted.lock();
        counted.calls += 1;
        let number = counted.calls;
        if counted.due.is_none() && (counted.chosen)(number) {
            counted.due = Some(number);
            self.changed.notify_all();
        }
        while counted.due.is_some() && !system.kernel.freezer.wanted() {
            // Nobody tells when the freezer is wanted.
            self.changed
                .wait_for(&mut counted, Duration::from_micros(100));
        }
    }
}

/// What the parts of one machine's platform share.
struct Shared {
    watch: Arc<Watch>,
    system: OnceLock<Weak<System>>,
    living: Arc<Mutex<usize>>,
}

impl Shared {
    fn system(&self) -> Option<Arc<System>> {
        self.system.get().and_then(Weak::upgrade)
    }

    fn space(self: &Arc<Self>, inner: Arc<dyn AddressSpace>) -> Arc<dyn AddressSpace> {
        Arc::new(WatchedSpace {
            inner,
            shared: Arc::clone(self),
        })
    }
}

/// A platform, watched.
pub(crate) struct Watched {
    inner: Arc<dyn Platform>,
    shared: Arc<Shared>,
    living: Arc<Mutex<usize>>,
}

impl Watched {
    pub(crate) fn new(watch: &Arc<Watch>) -> Watched {
        let living = Arc::default();
        let shared = Arc::new(Shared {
            watch: Arc::clone(watch),
            system: OnceLock::new(),
            living: Arc::clone(&living),
        });
        Watched {
            inner: crate::guest::platform(),
            shared,
            living,
        }
    }

    /// Which kernel runs on it; before its first task.
    pub(crate) fn serve(&self, system: &Arc<System>) {
        let _ = self.shared.system.set(Arc::downgrade(system));
    }
}

impl Platform for Watched {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn features(&self) -> Features {
        self.inner.features()
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(self.shared.space(self.inner.new_address_space()?))
    }

    fn held(&self, counting: Counting) -> Option<Held> {
        self.inner.held(counting)
    }

    fn prepare(&self, spaces: &[Expected]) {
        self.inner.prepare(spaces);
    }
}

struct WatchedSpace {
    inner: Arc<dyn AddressSpace>,
    shared: Arc<Shared>,
}

impl AddressSpace for WatchedSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError> {
        self.inner.apply(ops)
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.inner.read(addr, buf)
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        self.inner.write(addr, data)
    }

    fn compare_exchange_u32(&self, addr: u64, current: u32, new: u32) -> Result<u32, Errno> {
        self.inner.compare_exchange_u32(addr, current, new)
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(self.shared.space(self.inner.fork()?))
    }

    fn new_context(&self, state: CpuState) -> Result<Box<dyn Context>, PlatformError> {
        let inner = self.inner.new_context(state)?;
        *self.shared.living.lock() += 1;
        Ok(Box::new(WatchedContext {
            inner: Some(inner),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn written_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        self.inner.written_pages(range)
    }

    fn private_within(&self, ranges: &[Range<u64>]) -> Result<u64, PlatformError> {
        self.inner.private_within(ranges)
    }

    fn resident_bytes(&self) -> u64 {
        self.inner.resident_bytes()
    }
}

struct WatchedContext {
    /// Present until it is dropped.
    inner: Option<Box<dyn Context>>,
    shared: Arc<Shared>,
}

impl WatchedContext {
    fn inner(&mut self) -> &mut dyn Context {
        self.inner.as_deref_mut().expect("a context that lives")
    }
}

impl Context for WatchedContext {
    fn run(&mut self) -> Event {
        let system = self.shared.system();
        if system.as_ref().is_some_and(|s| s.kernel.freezer.wanted()) {
            // Nothing of the guest between its call and the freeze.
            return Event::Interrupted;
        }
        let event = self.inner().run();
        if let (Event::Syscall(_), Some(system)) = (&event, system) {
            self.shared.watch.call(&system);
        }
        event
    }

    fn set_return(&mut self, value: i64) {
        self.inner().set_return(value);
    }

    fn continue_natively(&mut self) -> bool {
        self.inner().continue_natively()
    }

    fn state(&mut self) -> Result<&CpuState, PlatformError> {
        self.inner().state()
    }

    fn state_mut(&mut self) -> Result<&mut CpuState, PlatformError> {
        if let Some(system) = self.shared.system() {
            self.shared.watch.frame(&system);
        }
        self.inner().state_mut()
    }

    fn cpu_clock(&self) -> CpuClock {
        let inner = self.inner.as_deref().expect("a context that lives");
        inner.cpu_clock()
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        let inner = self.inner.as_deref().expect("a context that lives");
        inner.interrupter()
    }
}

impl Drop for WatchedContext {
    fn drop(&mut self) {
        drop(self.inner.take());
        let _counted = self.shared.watch.counted.lock();
        *self.shared.living.lock() -= 1;
        self.shared.watch.changed.notify_all();
    }
}

/// Every `step`-th call from the `from`-th on.
#[allow(dead_code, reason = "not every test file chooses so")]
pub(crate) fn each(step: u64, from: u64) -> Chosen {
    Box::new(move |call| call >= from && (call - from).is_multiple_of(step))
}

/// Random calls that are `mean` apart on average, the same ones for the same seed.
#[allow(dead_code, reason = "not every test file chooses so")]
pub(crate) fn seeded(seed: u64, mean: u64) -> Chosen {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = 0;
    Box::new(move |call| {
        let chosen = call >= next && next > 0;
        if chosen || next == 0 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            next = call + 1 + (state >> 33) % (2 * mean);
        }
        chosen
    })
}
