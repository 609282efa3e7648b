//! What leaving the machine costs on this host.

use std::time::{Duration, Instant};

use platform_api::{Backing, CpuState, Event, MapOp, Platform, PlatformError, Protection};

use crate::KvmPlatform;

const AT: u64 = 0x10_0000;
/// `1: syscall; jmp 1b`
const LOOP: [u8; 4] = [0x0f, 0x05, 0xeb, 0xfc];
const CALLS: usize = 31;

/// The median time of a system call that does nothing, from guest to us and back. Takes a few milliseconds.
///
/// # Errors
/// When there is no KVM here, or it does not run guests.
pub fn exit_cost() -> Result<Duration, PlatformError> {
    let platform = KvmPlatform::new()?;
    let space = platform.new_address_space()?;
    let map = MapOp::Map {
        addr: AT,
        len: 4096,
        prot: Protection::all(),
        backing: Backing::Anonymous,
    };
    if space.apply(&[map]).is_err() || space.write(AT, &LOOP) != LOOP.len() {
        return Err(PlatformError::Gone);
    }
    let mut state = CpuState::default();
    state.regs.rip = AT;
    let mut context = space.new_context(state)?;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        context.set_return(0);
        let start = Instant::now();
        if !matches!(context.run(), Event::Syscall(_)) {
            return Err(PlatformError::Gone);
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times.get(CALLS / 2).copied().ok_or(PlatformError::Gone)
}
