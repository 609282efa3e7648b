//! The system call instruction itself, for calls that the C library does not wrap.

use std::io;

/// Makes a system call without touching `errno`; returns what the kernel left in `rax`.
///
/// # Safety
/// As unsafe as the call that is made: pointers among the arguments must be valid for it.
#[inline(always)]
pub unsafe fn syscall6(nr: i64, args: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: needed because there is no other way to enter the kernel without the C library. The
    // clobbers are those of the x86-64 system call convention; the caller vouches for the arguments.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Splits a raw return value into value and error.
///
/// # Errors
/// When `ret` is between -4095 and -1.
#[inline]
pub fn check(ret: i64) -> io::Result<u64> {
    if (-4095..0).contains(&ret) {
        Err(io::Error::from_raw_os_error(-(ret as i32)))
    } else {
        Ok(ret as u64)
    }
}
