//! The only code in ring 0: one `hlt` for each way in, one `iretq` for the way out.
//!
//! ```text
//!   ring 3 ──syscall──▶ SYSCALL: hlt      no stack, no memory: every register is still the guest's
//!   ring 3 ──exception▶ VECTOR n: hlt     the processor pushed its frame on the vCPU's page (IST)
//!   ring 3 ◀──iretq──── RETURN            from a frame that we wrote on the vCPU's page
//! ```
//!
//! A `hlt` leaves the machine: nothing interrupts a machine without interrupt controller. Where it stopped says why. The
//! stub reads nothing that a guest can write, and has no way back in but the `iretq`.
//!
//! A vCPU's page: task state segment, descriptor table, the stack for exceptions below [`STACK`], the frame at [`FRAME`].

use std::sync::atomic::Ordering;

use crate::entry::{UPPER_CODE, UPPER_CONSTANT, UPPER_DATA, UPPER_INNER};
use crate::guest_memory::GuestMemory;
use crate::layout::{IDT, MAX_VCPUS, PAGE, STUB, SYSTEM, UPPER, UPPER_TABLES, VCPU_PAGES};

/// Where `syscall` goes, within the stub.
const SYSCALL: u64 = 0;
/// The `iretq`, within the stub.
const RETURN: u64 = 0x10;
/// Where exceptions go, within the stub, 16 bytes each.
const VECTORS: u64 = 0x100;
/// Exceptions of the architecture.
const VECTOR_COUNT: u64 = 32;

/// `hlt; jmp .-1`: the jump is never reached, unless the host runs the machine on without being asked.
const STOP: u64 = 0x00fd_ebf4;
/// `iretq`.
const IRETQ: u64 = 0xcf48;

/// Selectors as Linux has them, because guests see theirs.
pub(crate) const KERNEL_CODE: u16 = 0x10;
pub(crate) const KERNEL_DATA: u16 = 0x18;
pub(crate) const USER_DATA: u16 = 0x2b;
pub(crate) const USER_CODE: u16 = 0x33;
pub(crate) const TASK: u16 = 0x40;

/// Within a vCPU's page.
const TASK_STATE: u64 = 0;
/// Bytes of the task state segment: no map of ports follows.
pub(crate) const TASK_STATE_LEN: u16 = 104;
const DESCRIPTORS: u64 = 0x80;
/// Bytes of the descriptor table.
pub(crate) const DESCRIPTORS_LEN: u16 = 10 * 8;
const STACK: u64 = 0xf00;
const FRAME: u64 = 0xf80;

const GATE_PRESENT: u64 = 1 << 47;
const GATE_INTERRUPT: u64 = 0xe << 40;
const GATE_RING_3: u64 = 3 << 45;
const GATE_STACK_1: u64 = 1 << 32;

/// Exceptions for which the processor pushes an error code (Intel SDM vol. 3, table 6-1).
const WITH_ERROR_CODE: u32 = 1 << 8
    | 1 << 10
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 17
    | 1 << 21
    | 1 << 29
    | 1 << 30;

/// Where the stub stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a system call.
    Syscall,
    /// Before the return to the guest.
    Return,
    /// At an exception.
    Vector(u8),
    /// Not in the stub.
    Outside,
}

/// Which part of the stub an address is in, before or after its `hlt`.
pub(crate) fn place(rip: u64) -> Place {
    let Some(at) = rip.checked_sub(address(STUB)) else {
        return Place::Outside;
    };
    match at {
        SYSCALL..=1 => Place::Syscall,
        RETURN => Place::Return,
        VECTORS.. if at < VECTORS + VECTOR_COUNT * 16 => Place::Vector(((at - VECTORS) / 16) as u8),
        _ => Place::Outside,
    }
}

/// Where guest-physical SYSTEM memory is in ring 0.
pub(crate) fn address(gpa: u64) -> u64 {
    UPPER + gpa
}

/// What `syscall` jumps to.
pub(crate) fn syscall_entry() -> u64 {
    address(STUB) + SYSCALL
}

/// The way to ring 3.
pub(crate) fn return_entry() -> u64 {
    address(STUB) + RETURN
}

/// The page of a vCPU.
pub(crate) fn vcpu_page(number: usize) -> u64 {
    VCPU_PAGES + number as u64 * PAGE
}

/// The task state segment of a vCPU.
pub(crate) fn task_state(page: u64) -> u64 {
    address(page + TASK_STATE)
}

/// The descriptor table of a vCPU.
pub(crate) fn descriptors(page: u64) -> u64 {
    address(page + DESCRIPTORS)
}

/// The stack pointer with which `iretq` finds the frame.
pub(crate) fn frame_address(page: u64) -> u64 {
    address(page + FRAME)
}

/// What `iretq` loads and an exception saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) error_code: u64,
}

/// Writes the frame of the way out.
pub(crate) fn put_frame(memory: &GuestMemory, page: u64, rip: u64, rflags: u64, rsp: u64) {
    let words = [rip, u64::from(USER_CODE), rflags, rsp, u64::from(USER_DATA)];
    for (i, word) in words.into_iter().enumerate() {
        memory
            .word(page + FRAME + i as u64 * 8)
            .store(word, Ordering::Release);
    }
    // A frame of an exception is only believed when the processor wrote it since.
    memory
        .word(page + STACK - 4 * 8)
        .store(0, Ordering::Release);
}

/// The frame of the exception that stopped a vCPU; `None` when there was none since the last way out.
pub(crate) fn exception_frame(memory: &GuestMemory, page: u64, vector: u8) -> Option<Frame> {
    let word = |below: u64| {
        memory
            .word(page + STACK - below * 8)
            .load(Ordering::Acquire)
    };
    let frame = Frame {
        rip: word(5),
        cs: word(4),
        rflags: word(3),
        rsp: word(2),
        error_code: if WITH_ERROR_CODE & 1 << vector != 0 {
            word(6)
        } else {
            0
        },
    };
    (frame.cs != 0).then_some(frame)
}

/// Puts stub, tables of the upper half and the interrupt table in place.
pub(crate) fn install(memory: &GuestMemory) {
    let put = |gpa: u64, word: u64| memory.word(gpa).store(word, Ordering::Release);
    put(UPPER_TABLES[0], UPPER_TABLES[1] | UPPER_INNER);
    put(UPPER_TABLES[1], UPPER_TABLES[2] | UPPER_INNER);
    let page =
        |gpa: u64, rights: u64| put(UPPER_TABLES[2] + (gpa - SYSTEM) / PAGE * 8, gpa | rights);
    page(STUB, UPPER_CODE);
    page(IDT, UPPER_CONSTANT);
    for number in 0..MAX_VCPUS {
        page(vcpu_page(number), UPPER_DATA);
    }
    put(STUB + SYSCALL, STOP);
    put(STUB + RETURN, IRETQ);
    for vector in 0..VECTOR_COUNT {
        put(STUB + VECTORS + vector * 16, STOP);
        let to = address(STUB) + VECTORS + vector * 16;
        let ring = if vector == 3 || vector == 4 {
            GATE_RING_3
        } else {
            0
        };
        let low = (to & 0xffff)
            | u64::from(KERNEL_CODE) << 16
            | GATE_STACK_1
            | GATE_INTERRUPT
            | GATE_PRESENT
            | ring
            | (to >> 16 & 0xffff) << 48;
        put(IDT + vector * 16, low);
        put(IDT + vector * 16 + 8, to >> 32);
    }
}

/// Puts the segments of a vCPU in place.
pub(crate) fn install_vcpu(memory: &GuestMemory, page: u64) {
    let put = |offset: u64, word: u64| memory.word(page + offset).store(word, Ordering::Release);
    let stack = address(page + STACK);
    // The stack pointers of ring 0 and of the first interrupt stack lie across words.
    put(TASK_STATE, stack << 32);
    put(TASK_STATE + 8, stack >> 32);
    put(TASK_STATE + 0x20, stack << 32);
    put(TASK_STATE + 0x28, stack >> 32);
    put(TASK_STATE + 0x60, u64::from(TASK_STATE_LEN) << 48);
    let task = task_state(page);
    let descriptors = [
        0,
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0,
        u64::from(TASK_STATE_LEN - 1)
            | (task & 0xff_ffff) << 16
            | 0x8b << 40
            | (task >> 24 & 0xff) << 56,
        task >> 32,
    ];
    for (i, descriptor) in descriptors.into_iter().enumerate() {
        put(DESCRIPTORS + i as u64 * 8, descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions in a word of the stub, which holds nothing but `hlt`, short jumps and `iretq`.
    fn instructions(word: u64) -> usize {
        let mut bytes = &word.to_le_bytes()[..];
        let mut count = 0;
        loop {
            bytes = match bytes {
                [0xf4, rest @ ..] | [0xeb, _, rest @ ..] | [0x48, 0xcf, rest @ ..] => rest,
                rest => {
                    assert!(rest.iter().all(|byte| *byte == 0), "another instruction");
                    return count;
                }
            };
            count += 1;
        }
    }

    #[test]
    fn the_page_on_isolation_tells_the_size_of_ring_0() {
        let memory = GuestMemory::new().unwrap();
        install(&memory);
        let words = (STUB..STUB + PAGE).step_by(8);
        let count: usize = words
            .map(|gpa| instructions(memory.word(gpa).load(Ordering::Acquire)))
            .sum();
        let page = include_str!("../../../../docs/isolation.md");
        let row = format!("| instructions in ring 0 of a machine | | {count} |");
        assert!(page.contains(&row), "docs/isolation.md should have: {row}");
    }
}
