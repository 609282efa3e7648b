//! A plain ptrace stub: one stop a call, the tracer answers it.
//!
//! It is as fast as such a tracer gets: it shares one processor with its tracee, and knows only the calls that are
//! measured. Every other call runs natively between two more stops.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use host_sys::process::{Change, Patience, Pid, wait};
use host_sys::{call_stops, ptrace, vm};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

/// Runs the guest of the kit, with this process's standard input and output.
pub(crate) fn run(kit: &Path) -> io::Result<()> {
    stay_on_one_processor();
    let page = kit.join("page");
    let file = File::open(&page)?;
    let mut child = Command::new(kit.join("guest"))
        .arg("calls")
        .arg(&page)
        .spawn()?;
    let pid = Pid::try_from(child.id()).map_err(io::Error::other)?;
    ptrace::seize(
        pid,
        ptrace::Options::EXIT_KILL | ptrace::Options::MARK_CALLS,
    )?;
    ptrace::interrupt(pid)?;
    trace(pid, &file)?;
    // The status was taken by the tracer; what is left is closing the pipes.
    let _ = child.try_wait();
    Ok(())
}

fn stay_on_one_processor() {
    let mut set = CpuSet::new();
    set.set(sched_getcpu());
    // Where it is forbidden the peer is slower, as any would be there.
    let _ = sched_setaffinity(None, &set);
}

fn trace(pid: Pid, file: &File) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while let Some(stop) = next_stop(pid)? {
        if stop == Stop::Call {
            answer(pid, file, &mut buffer)?;
        }
        call_stops::resume_emulating(pid)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Call,
    Other,
}

/// `None` when the tracee has ended.
fn next_stop(pid: Pid) -> io::Result<Option<Stop>> {
    Ok(match wait(pid, Patience::Block)? {
        Some(Change::Stopped { signal, .. }) if signal == call_stops::CALL_STOP => Some(Stop::Call),
        Some(Change::Stopped { .. }) => Some(Stop::Other),
        _ => None,
    })
}

fn answer(pid: Pid, file: &File, buffer: &mut [u8; 4096]) -> io::Result<()> {
    let mut registers = ptrace::registers(pid)?;
    let value = match registers.orig_rax as i64 {
        libc::SYS_getppid => u64::from(std::os::unix::process::parent_id()),
        libc::SYS_futex => 0,
        libc::SYS_pread64 if registers.rdx == buffer.len() as u64 => {
            let got = file.read_at(buffer, registers.r10)?;
            vm::write(pid, registers.rsi, &buffer[..got])? as u64
        }
        _ => return run_natively(pid, registers),
    };
    registers.rax = value;
    ptrace::set_registers(pid, &registers)
}

/// Goes back before the call, and through it.
fn run_natively(pid: Pid, mut registers: ptrace::RawRegisters) -> io::Result<()> {
    const SYSCALL_BYTES: u64 = 2;
    registers.rip = registers.rip.wrapping_sub(SYSCALL_BYTES);
    registers.rax = registers.orig_rax;
    ptrace::set_registers(pid, &registers)?;
    let mut stops = 0;
    while stops < 2 {
        call_stops::resume_to_call(pid)?;
        match next_stop(pid)? {
            Some(Stop::Call) => stops += 1,
            Some(Stop::Other) => {}
            // It was exit_group; the main loop finds out by itself.
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(())
}
