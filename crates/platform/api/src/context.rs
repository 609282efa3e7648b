//! Contexts: one guest thread each.

use std::sync::Arc;

use crate::{CpuState, PlatformError};

/// A system call as the guest asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// The number in `rax`, 64-bit table only: other entries never get here.
    pub nr: u64,
    /// `rdi rsi rdx r10 r8 r9`.
    pub args: [u64; 6],
    /// Address of the instruction after `syscall`.
    pub ip: u64,
}

/// Why the processor stopped guest code, as Linux would turn it into a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `SIGSEGV`: page or general protection fault.
    Segv,
    /// `SIGBUS`: beyond the end of a mapped file, or alignment.
    Bus,
    /// `SIGILL`: undefined or privileged instruction.
    Ill,
    /// `SIGFPE`: division or floating-point exception.
    Fpe,
    /// `SIGTRAP`: breakpoint or single step.
    Trap,
}

/// A synchronous fault of guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which signal it is.
    pub kind: FaultKind,
    /// `si_code` (`SEGV_MAPERR`, …).
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// x86 trap number (14 = page fault), 0 when unknown.
    pub trapno: u64,
    /// x86 error code, 0 when unknown.
    pub error_code: u64,
}

/// What made [`Context::run`] return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest made a system call and waits for [`Context::set_return`].
    Syscall(Syscall),
    /// The guest faulted; its state is at the faulting instruction.
    Fault(Fault),
    /// [`Interrupt::interrupt`] was called.
    Interrupted,
    /// The thread no longer exists on the host (its address space was killed).
    Gone,
}

/// Which host clock counts the processor's time that guest code of a context uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuClock {
    /// That of the thread that calls [`Context::run`], as its own code's.
    Caller,
    /// That of the host process with this number, in which the threads of its address space run and nothing else.
    Process(i32),
}

/// One guest thread's processor.
///
/// After [`Event::Syscall`] the kernel either calls [`set_return`](Context::set_return)
/// (fast: registers stay where they are) or asks for [`state`](Context::state) and changes it
/// (signal frames, `rt_sigreturn`, `execve`). Doing both is fine: a return
/// value that was set shows in `state().regs.rax`.
///
/// Dropping it ends the guest thread and leaves the address space to the others. Drop it on the thread that ran it: elsewhere
/// a platform may be unable to stop the guest, and ends the whole address space instead.
pub trait Context: Send {
    /// Runs guest code until something happens. The first call binds the context to the calling thread.
    fn run(&mut self) -> Event;

    /// Sets the value that the pending system call returns.
    fn set_return(&mut self, value: i64);

    /// Lets the host run the pending call as it is, instead of [`set_return`](Context::set_return); takes effect with the next
    /// [`run`](Context::run). `false` when the platform cannot, then nothing happened.
    ///
    /// Sound only for calls whose arguments are plain register values and whose effect stays inside the guest
    /// thread: `arch_prctl` with `ARCH_SET_FS` or `ARCH_SET_GS` after the address was checked to be below
    /// [`Features::max_address`](crate::Features::max_address). Never with a pointer: another thread could change
    /// what it points to. The kernel does not learn the result.
    fn continue_natively(&mut self) -> bool {
        false
    }

    /// The full register state, for reading. `rip` is after the `syscall` instruction and
    /// `rax` the set return value (`-ENOSYS` when none) if a call is pending.
    ///
    /// # Errors
    /// [`PlatformError::Gone`].
    fn state(&mut self) -> Result<&CpuState, PlatformError>;

    /// The full register state, for changing; it takes effect with the next [`run`](Context::run) and
    /// ends a pending system call.
    ///
    /// # Errors
    /// [`PlatformError::Gone`].
    fn state_mut(&mut self) -> Result<&mut CpuState, PlatformError>;

    /// Where its time is counted.
    fn cpu_clock(&self) -> CpuClock {
        CpuClock::Caller
    }

    /// A handle with which any thread makes the current or the next [`run`](Context::run) return
    /// [`Event::Interrupted`] soon.
    fn interrupter(&self) -> Arc<dyn Interrupt>;
}

/// Stops a context from outside.
pub trait Interrupt: Send + Sync {
    /// Sticky: consumed by one return of [`Event::Interrupted`]. Never blocks.
    fn interrupt(&self);
}
