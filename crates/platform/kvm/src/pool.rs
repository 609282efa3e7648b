//! The vCPUs of a machine: made when needed, kept by contexts between runs, taken from those that do not run when all are out.
//!
//! When all are out and run, whoever wants one kicks one of those that run after a [`SLICE`]; that one gives its vCPU up and queues.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use host_sys::process::Pid;
use parking_lot::{Condvar, Mutex};
use platform_api::PlatformError;

use crate::holder::Holder;
use crate::layout::MAX_VCPUS;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

#[derive(Default)]
struct Stock {
    /// How many numbers were given to vCPUs.
    made: usize,
    /// Those of them whose vCPU could not be made.
    unused: Vec<usize>,
    /// How many no context gets any more: they broke and could not be made whole, or [`Pool::with_own`] keeps them.
    withdrawn: usize,
    idle: Vec<Vcpu>,
    /// Contexts that may hold one.
    holders: Vec<Weak<Holder>>,
}

impl Stock {
    /// A number for another vCPU.
    fn next_number(&mut self, limit: usize) -> Option<usize> {
        self.unused.pop().or_else(|| {
            let free = self.made < limit;
            self.made += usize::from(free);
            free.then(|| self.made - 1)
        })
    }

    /// How many there are that contexts have or can get.
    fn for_contexts(&self) -> usize {
        self.made - self.unused.len() - self.withdrawn
    }
}

/// Lock order: `own`, `stock`. A context's own state may be locked before, and is only tried after.
pub(crate) struct Pool {
    limit: usize,
    stock: Mutex<Stock>,
    /// The one of [`with_own`](Pool::with_own).
    own: Mutex<Option<Vcpu>>,
    returned: Condvar,
    /// Contexts that wait for a vCPU.
    waiting: AtomicUsize,
}

/// How long a context may run while others wait for its vCPU.
const SLICE: Duration = Duration::from_millis(5);

/// Where a context stands that wants a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// It comes from the kernel.
    Next,
    /// It gave one up for others, who come first.
    AfterOthers,
}

impl Pool {
    /// A pool of so many at most.
    pub(crate) fn new(limit: usize) -> Pool {
        Pool {
            limit: limit.clamp(1, MAX_VCPUS),
            stock: Mutex::default(),
            own: Mutex::default(),
            returned: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Makes the first one, of which no context has need yet.
    pub(crate) fn make_first<T>(
        &self,
        vm: &Vm,
        look: impl FnOnce(&Vcpu) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let number = self.stock.lock().next_number(self.limit);
        let vcpu = self.make(vm, number.ok_or(PlatformError::Gone)?)?;
        let seen = look(&vcpu);
        self.give(vcpu);
        seen
    }

    /// Has so many for contexts, as far as the limit allows, before contexts want them.
    pub(crate) fn make_ahead(&self, vm: &Vm, wanted: usize) -> Result<(), PlatformError> {
        loop {
            let mut stock = self.stock.lock();
            if stock.for_contexts() >= wanted {
                return Ok(());
            }
            let number = stock.next_number(self.limit);
            drop(stock);
            match number {
                Some(number) => self.give(self.make(vm, number)?),
                None => return Ok(()),
            }
        }
    }

    /// Does something with a vCPU that no context ever has: one that moves to another thread costs older hosts a grace period.
    pub(crate) fn with_own<T>(
        &self,
        vm: &Vm,
        work: impl FnOnce(&mut Vcpu) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let mut own = self.own.lock();
        if own.is_none() {
            let number = self.stock.lock().next_number(self.limit);
            *own = Some(self.make(vm, number.ok_or(PlatformError::Gone)?)?);
            self.stock.lock().withdrawn += 1;
        }
        work(own.as_mut().ok_or(PlatformError::Gone)?)
    }

    /// Makes one, while others may make theirs: it takes long.
    fn make(&self, vm: &Vm, number: usize) -> Result<Vcpu, PlatformError> {
        Vcpu::new(vm, number).inspect_err(|_| self.stock.lock().unused.push(number))
    }

    /// A vCPU for a context, which keeps it until it is dropped or until somebody else needs it.
    pub(crate) fn take(
        &self,
        vm: &Vm,
        holder: &Arc<Holder>,
        thread: Pid,
        priority: Priority,
    ) -> Result<Vcpu, PlatformError> {
        let mut stock = self.stock.lock();
        if priority == Priority::AfterOthers && self.is_wanted() {
            self.returned.wait_for(&mut stock, SLICE);
        }
        let mut waited = 0;
        loop {
            let same = stock.idle.iter().position(|vcpu| vcpu.thread == thread);
            let idle = match same {
                Some(at) => Some(stock.idle.swap_remove(at)),
                None => stock.idle.pop(),
            };
            if let Some(mut vcpu) = idle {
                vcpu.thread = thread;
                remember(&mut stock, holder);
                return Ok(vcpu);
            }
            if let Some(number) = stock.next_number(self.limit) {
                remember(&mut stock, holder);
                drop(stock);
                let mut vcpu = self.make(vm, number)?;
                vcpu.thread = thread;
                return Ok(vcpu);
            }
            if stock.for_contexts() == 0 {
                return Err(PlatformError::Gone);
            }
            if let Some(vcpu) = steal(&mut stock, holder)? {
                stock.idle.push(vcpu);
                continue;
            }
            // All run.
            if waited > 0 {
                kick_one(&mut stock);
            }
            waited += 1;
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.returned.wait_for(&mut stock, SLICE);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes a vCPU back that broke: nobody gets it as it is.
    pub(crate) fn give_broken(&self, vm: &Vm, mut vcpu: Vcpu) {
        match vcpu.renew(vm) {
            Ok(()) => self.give(vcpu),
            Err(error) => {
                tracing::error!(%error, "a vCPU is lost");
                self.stock.lock().withdrawn += 1;
                self.returned.notify_all();
            }
        }
    }

    /// Whether somebody waits for a vCPU.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Takes a vCPU back.
    pub(crate) fn give(&self, vcpu: Vcpu) {
        self.stock.lock().idle.push(vcpu);
        self.returned.notify_one();
    }
}

fn remember(stock: &mut Stock, holder: &Arc<Holder>) {
    let known = stock
        .holders
        .iter()
        .any(|other| other.as_ptr() == Arc::as_ptr(holder));
    if !known {
        if stock.holders.len() >= 2 * MAX_VCPUS {
            stock.holders.retain(|holder| holder.strong_count() > 0);
        }
        stock.holders.push(Arc::downgrade(holder));
    }
}

/// Asks one that runs to give its vCPU up, another one each time.
fn kick_one(stock: &mut Stock) {
    for _ in 0..stock.holders.len() {
        stock.holders.rotate_left(1);
        let holder = stock.holders.last().and_then(Weak::upgrade);
        if holder.is_some_and(|holder| holder.handle.kick()) {
            return;
        }
    }
}

/// Takes the vCPU of a context that does not run, leaving its state there.
fn steal(stock: &mut Stock, own: &Arc<Holder>) -> Result<Option<Vcpu>, PlatformError> {
    for holder in &stock.holders {
        let Some(holder) = holder.upgrade() else {
            continue;
        };
        if Arc::ptr_eq(&holder, own) {
            continue;
        }
        if let Some(mut slot) = holder.slot.try_lock()
            && let Some(vcpu) = slot.give_up()?
        {
            return Ok(Some(vcpu));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address_space::GuestSpace;
    use crate::machine::Machine;
    use crate::platform::open;
    use platform_api::{AddressSpace, CpuState, Event};
    use std::os::fd::{FromRawFd, IntoRawFd};

    /// A machine with so many vCPUs at most.
    fn machine(vcpus: usize) -> Machine {
        let kvm = open().expect("a test on KVM needs /dev/kvm");
        // SAFETY: needed because the library takes raw descriptors; this one is open, and nobody else's from here on.
        let kvm = unsafe { kvm_ioctls::Kvm::from_raw_fd(kvm.into_raw_fd()) };
        Machine::new(&kvm, vcpus).unwrap()
    }

    /// A vCPU that a context had when it broke.
    fn broken(machine: &Machine) -> Vcpu {
        machine.pool.make_first(&machine.vm, |_| Ok(())).unwrap();
        let mut vcpu = machine.pool.stock.lock().idle.pop().unwrap();
        vcpu.break_down();
        vcpu
    }

    #[test]
    fn a_vcpu_that_broke_is_made_whole_before_anybody_gets_it_on_kvm() {
        let machine = machine(1);
        let mut vcpu = broken(&machine);
        assert!(vcpu.place(crate::layout::TABLES, 0, 0).is_err());
        machine.pool.give_broken(&machine.vm, vcpu);
        let mut again = machine.pool.stock.lock().idle.pop().unwrap();
        again.place(crate::layout::TABLES, 0, 0).unwrap();
    }

    #[test]
    fn nobody_waits_for_a_vcpu_that_cannot_be_made_whole_on_kvm() {
        for own in [false, true] {
            let mut machine = machine(1 + usize::from(own));
            let vcpu = broken(&machine);
            if own {
                machine.pool.with_own(&machine.vm, |_| Ok(())).unwrap();
            }
            // No processor has that: the x87 state cannot be left out.
            machine.vm.model.xcr0 = 0;
            machine.pool.give_broken(&machine.vm, vcpu);
            let space = GuestSpace::new(Arc::new(machine)).unwrap();
            let mut context = space.new_context(CpuState::default()).unwrap();
            assert!(matches!(context.run(), Event::Gone));
        }
    }
}
