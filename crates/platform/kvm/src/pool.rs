//! The vCPUs of a machine: made when needed, kept by contexts between runs, taken from those that do not run when all are out.

use std::sync::{Arc, Weak};

use host_sys::process::Pid;
use parking_lot::{Condvar, Mutex};
use platform_api::PlatformError;

use crate::context::Held;
use crate::layout::MAX_VCPUS;
use crate::machine::Machine;
use crate::vcpu::Vcpu;

#[derive(Default)]
struct Stock {
    made: usize,
    idle: Vec<Vcpu>,
    /// Contexts that may hold one.
    holders: Vec<Weak<Mutex<Held>>>,
}

/// Lock order: a context's own state may be locked before, and is only tried after.
pub(crate) struct Pool {
    limit: usize,
    stock: Mutex<Stock>,
    returned: Condvar,
}

/// Most vCPUs of a machine, unless the host allows fewer: more threads of one sandbox hardly run at once.
const LIMIT: usize = 64;

impl Pool {
    pub(crate) fn new(host_limit: usize) -> Pool {
        Pool::with_limit(host_limit.min(LIMIT))
    }

    pub(crate) fn with_limit(limit: usize) -> Pool {
        Pool {
            limit: limit.clamp(1, MAX_VCPUS),
            stock: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// A vCPU for a context, which keeps it until it is dropped or until somebody else needs it.
    pub(crate) fn take(
        &self,
        machine: &Machine,
        holder: &Arc<Mutex<Held>>,
        thread: Pid,
    ) -> Result<Vcpu, PlatformError> {
        let mut stock = self.stock.lock();
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
            if stock.made < self.limit {
                let mut vcpu = Vcpu::new(machine, stock.made)?;
                stock.made += 1;
                vcpu.thread = thread;
                remember(&mut stock, holder);
                return Ok(vcpu);
            }
            if let Some(vcpu) = steal(&mut stock, holder)? {
                stock.idle.push(vcpu);
                continue;
            }
            // All run: one of them will stop, and is asked again then.
            self.returned
                .wait_for(&mut stock, std::time::Duration::from_millis(1));
        }
    }

    /// Takes a vCPU back.
    pub(crate) fn give(&self, vcpu: Vcpu) {
        self.stock.lock().idle.push(vcpu);
        self.returned.notify_one();
    }
}

fn remember(stock: &mut Stock, holder: &Arc<Mutex<Held>>) {
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

/// Takes the vCPU of a context that does not run, leaving its state there.
fn steal(stock: &mut Stock, own: &Arc<Mutex<Held>>) -> Result<Option<Vcpu>, PlatformError> {
    for holder in &stock.holders {
        let Some(holder) = holder.upgrade() else {
            continue;
        };
        if Arc::ptr_eq(&holder, own) {
            continue;
        }
        if let Some(mut held) = holder.try_lock()
            && let Some(vcpu) = held.give_up()?
        {
            return Ok(Some(vcpu));
        }
    }
    Ok(None)
}
