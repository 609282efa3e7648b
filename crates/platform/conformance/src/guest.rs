//! A small guest: code, data and stack in a fresh address space.

use std::fs::File;
use std::sync::Arc;

use platform_api::{
    AddressSpace, Backing, Context, CpuState, Event, MapOp, Platform, Protection, Registers,
    Sharing, Syscall,
};

use crate::code::{self, REPORT};

/// Where the snippets are.
pub const CODE: u64 = 0x40_0000;
/// Two readable and writable pages, zero at first.
pub const DATA: u64 = 0x50_0000;
/// Top of a one-page stack.
pub const STACK: u64 = 0x60_1000;
/// A megabyte that tests map as they like.
pub const FREE: u64 = 0x1000_0000;
/// One page.
pub const PAGE: u64 = 4096;

/// Readable and writable.
pub const RW: Protection = Protection::READ.union(Protection::WRITE);

/// The address space of a test.
pub struct Guest {
    /// For direct use.
    pub space: Arc<dyn AddressSpace>,
}

/// An anonymous mapping.
#[must_use]
pub fn anonymous(addr: u64, len: u64, prot: Protection) -> MapOp {
    MapOp::Map {
        addr,
        len,
        prot,
        backing: Backing::Anonymous,
    }
}

/// A mapping of a file from its start.
#[must_use]
pub fn mapping(addr: u64, len: u64, prot: Protection, file: &Arc<File>, sharing: Sharing) -> MapOp {
    MapOp::Map {
        addr,
        len,
        prot,
        backing: Backing::File {
            file: file.clone(),
            offset: 0,
            sharing,
        },
    }
}

/// A memory file with these contents, rounded up to whole pages.
#[must_use]
pub fn file(contents: &[u8]) -> Arc<File> {
    use std::os::unix::fs::FileExt;
    let len = (contents.len() as u64).next_multiple_of(PAGE);
    let file =
        host_sys::memory_file::create("conformance", len).expect("the host makes memory files");
    file.write_all_at(contents, 0)
        .expect("the host writes memory files");
    Arc::new(file)
}

impl Guest {
    /// An address space with snippets, data and stack.
    #[must_use]
    pub fn new(platform: &dyn Platform) -> Guest {
        let space = platform.new_address_space().expect("a new address space");
        Guest::populate(&*space);
        Guest { space }
    }

    /// Maps snippets, data and stack.
    pub fn populate(space: &dyn AddressSpace) {
        let len = (code::bytes().len() as u64).next_multiple_of(PAGE);
        space
            .apply(&[
                anonymous(CODE, len, RW),
                anonymous(DATA, 2 * PAGE, RW),
                anonymous(STACK - PAGE, PAGE, RW),
            ])
            .expect("mapping works");
        assert_eq!(space.write(CODE, code::bytes()), code::bytes().len());
        space
            .apply(&[MapOp::Protect {
                addr: CODE,
                len,
                prot: Protection::READ | Protection::EXEC,
            }])
            .expect("protecting works");
    }

    /// A context that starts with the snippet at `offset`, with a stack and these first registers.
    #[must_use]
    pub fn context(&self, offset: u64, set: impl FnOnce(&mut Registers)) -> Box<dyn Context> {
        start(&*self.space, offset, set)
    }

    /// Runs a snippet to its report.
    pub fn run(&self, offset: u64, set: impl FnOnce(&mut Registers)) -> u64 {
        report(&mut *self.context(offset, set))
    }

    /// Runs a snippet to its first event.
    pub fn event(&self, offset: u64, set: impl FnOnce(&mut Registers)) -> Event {
        self.context(offset, set).run()
    }

    /// Bytes of guest memory, all of which must be readable.
    #[must_use]
    pub fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        assert_eq!(self.space.read(addr, &mut buf), len);
        buf
    }

    /// A word of guest memory.
    #[must_use]
    pub fn word(&self, addr: u64) -> u64 {
        u64::from_le_bytes(self.bytes(addr, 8).try_into().expect("eight bytes"))
    }

    /// Stores a word.
    pub fn set_word(&self, addr: u64, value: u64) {
        assert_eq!(self.space.write(addr, &value.to_le_bytes()), 8);
    }

    /// Applies changes that must succeed.
    pub fn apply(&self, ops: &[MapOp]) {
        self.space.apply(ops).expect("the changes are possible");
    }
}

/// A context in `space` that starts with the snippet at `offset`.
#[must_use]
pub fn start(
    space: &dyn AddressSpace,
    offset: u64,
    set: impl FnOnce(&mut Registers),
) -> Box<dyn Context> {
    let mut state = CpuState::default();
    state.regs.rip = CODE + offset;
    state.regs.rsp = STACK;
    set(&mut state.regs);
    space.new_context(state).expect("a new context")
}

/// The next event, which must be a system call.
pub fn syscall(context: &mut dyn Context) -> Syscall {
    match context.run() {
        Event::Syscall(call) => call,
        other => panic!("expected a system call, got {other:?}"),
    }
}

/// The next event, which must be a report; its value.
pub fn report(context: &mut dyn Context) -> u64 {
    let call = syscall(context);
    assert_eq!(call.nr, REPORT, "expected a report, got {call:?}");
    call.args[0]
}
