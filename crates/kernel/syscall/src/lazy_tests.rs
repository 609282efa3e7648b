//! Files whose bytes come later: whoever reads, maps or executes them waits, and nobody else.

use std::fs::File as HostFile;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use base_abi::general::{
    MAP_PRIVATE, O_NONBLOCK, O_RDONLY, PROT_EXEC, PROT_READ, PROT_WRITE, SEGV_MAPERR,
};
use kernel_core::task::{ExitStatus, Restart};
use kernel_vfs::{
    At, Attr, Credentials, Errno, Events, File, FileSystem, FileType, FsContext, FsStat, Inode,
    LastLink, MountFlags, PollTable, Result, UserMemory, WaitQueue,
};
use parking_lot::Mutex;
use platform_api::{Event, Fault, FaultKind};
use platform_script::Script;

use crate::call::{Stop, SysResult};
use crate::testing::{MEMORY, Machine};

const READ: u64 = 0;
const OPEN: u64 = 2;
const MMAP: u64 = 9;
const MPROTECT: u64 = 10;
const PREAD: u64 = 17;
const READV: u64 = 19;
const EXECVE: u64 = 59;
const PAGE: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(60);

/// A file system with one file, `program`, whose pages come when the test says so.
struct LazyFs {
    me: Weak<LazyFs>,
    content: Vec<u8>,
    /// Holes where nothing has come.
    memory: Arc<HostFile>,
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Default)]
struct State {
    /// Bytes that are there, from the start.
    there: u64,
    /// The end of what was asked for.
    asked: u64,
    lost: bool,
}

impl LazyFs {
    fn new(content: Vec<u8>) -> Arc<LazyFs> {
        let memory = host_sys::memory_file::create("lazy", content.len() as u64).unwrap();
        Arc::new_cyclic(|me| LazyFs {
            me: Weak::clone(me),
            content,
            memory: Arc::new(memory),
            state: Mutex::default(),
            queue: WaitQueue::new(),
        })
    }

    /// Lets the bytes up to this one come.
    fn arrive(&self, end: u64) {
        let end = end.min(self.content.len() as u64);
        let bytes = &self.content[..usize::try_from(end).unwrap()];
        self.memory.write_all_at(bytes, 0).unwrap();
        self.state.lock().there = end;
        self.queue.wake(Events::all());
    }

    fn need(&self, range: Range<u64>) -> Result<()> {
        let end = range.end.min(self.content.len() as u64);
        let mut state = self.state.lock();
        state.asked = state.asked.max(end);
        match end <= state.there || range.start >= end {
            true => Ok(()),
            false if state.lost => Err(Errno::EIO),
            false => Err(Errno::EAGAIN),
        }
    }
}

impl FileSystem for LazyFs {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(LazyInode(self.me.upgrade().unwrap(), FileType::Directory))
    }

    fn dev(&self) -> u64 {
        99
    }

    fn stat(&self) -> FsStat {
        FsStat::default()
    }
}

struct LazyInode(Arc<LazyFs>, FileType);

impl Inode for LazyInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.0.clone()
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: 99,
            ino: 1 + u64::from(self.1 as u8),
            mode: self.1.mode_bits() | 0o755,
            nlink: 1,
            size: self.0.content.len() as u64,
            ..Attr::default()
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match name {
            b"program" => Ok(Arc::new(LazyInode(self.0.clone(), FileType::Regular))),
            _ => Err(Errno::ENOENT),
        }
    }

    fn open(self: Arc<Self>, _: u32) -> Result<Arc<dyn File>> {
        Ok(Arc::new(LazyFile(self.0.clone(), self)))
    }
}

struct LazyFile(Arc<LazyFs>, Arc<dyn Inode>);

impl File for LazyFile {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.1)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn lazy(&self) -> bool {
        true
    }

    fn fetch(&self, range: Range<u64>) -> Result<()> {
        self.0.need(range)
    }

    /// A page at most, so that a call comes back in the middle.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = (self.0.content.len() as u64).saturating_sub(offset);
        let len = left.min(buf.len() as u64);
        let there = self.0.state.lock().there;
        let now = len.min(there.saturating_sub(offset));
        if now == 0 && len > 0 {
            self.0.need(offset..offset + len)?;
        }
        let now = usize::try_from(now).unwrap();
        self.0.memory.read_exact_at(&mut buf[..now], offset)?;
        Ok(now)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.0.queue);
        let state = self.0.state.lock();
        if state.asked <= state.there || state.lost {
            Events::READABLE
        } else {
            Events::empty()
        }
    }

    fn memory_file(&self) -> Result<Arc<HostFile>> {
        Ok(Arc::clone(&self.0.memory))
    }
}

/// A machine with such a file at `/program`, its path at [`MEMORY`].
fn machine(content: Vec<u8>) -> (Machine, Arc<LazyFs>) {
    let machine = Machine::new();
    let fs = LazyFs::new(content);
    let view = FsContext::new(Arc::clone(&machine.system.mounts));
    let root = Credentials {
        privileged: true,
        ..Credentials::default()
    };
    let at = At::cwd(&view, &root).find(b"/", LastLink::Follow).unwrap();
    let mounts = &machine.system.mounts;
    mounts
        .mount(fs.clone(), "lazy", &at, MountFlags::empty())
        .unwrap();
    machine
        .task
        .mm()
        .write_bytes(MEMORY, b"/program\0")
        .unwrap();
    *machine.task.fs().write() = FsContext::new(Arc::clone(mounts));
    (machine, fs)
}

fn letters(pages: u64) -> Vec<u8> {
    (0..pages * PAGE)
        .map(|at| b'a' + u8::try_from(at / PAGE).unwrap())
        .collect()
}

fn open(machine: &mut Machine, flags: u32) -> u64 {
    machine
        .call(OPEN, [MEMORY, u64::from(flags), 0, 0, 0, 0])
        .unwrap()
}

#[track_caller]
fn blocks(result: SysResult) {
    assert!(matches!(result, Err(Stop::Block(_))), "{result:?}");
}

#[test]
fn reading_waits_on_any_descriptor() {
    let (mut machine, fs) = machine(letters(4));
    for (flags, call) in [(O_RDONLY, READ), (O_NONBLOCK, READ), (O_NONBLOCK, PREAD)] {
        fs.arrive(0);
        let fd = open(&mut machine, flags);
        let args = [fd, MEMORY + PAGE, 3 * PAGE, 0, 0, 0];
        let mut restart = Restart::default();
        blocks(machine.run_handler(call, args, &mut restart));
        // A part is remembered, and not given out: no file on a disk is read by halves.
        fs.arrive(2 * PAGE);
        blocks(machine.run_handler(call, args, &mut restart));
        assert_eq!(restart.progress, 2 * PAGE);
        fs.arrive(u64::MAX);
        let got = machine.run_handler(call, args, &mut restart).unwrap();
        assert_eq!(got, 3 * PAGE);
        let mut seen = vec![0; 3 * PAGE as usize];
        machine
            .task
            .mm()
            .read_bytes(MEMORY + PAGE, &mut seen)
            .unwrap();
        assert_eq!(seen, letters(4)[..seen.len()]);
        if call == READ {
            // Where it stands is behind what was read.
            let rest = machine.call(READ, [fd, MEMORY + PAGE, 9 * PAGE, 0, 0, 0]);
            assert_eq!(rest, Ok(PAGE));
        }
    }
}

#[test]
fn a_vectored_read_gives_the_parts_that_are_there() {
    let (mut machine, fs) = machine(letters(4));
    let fd = open(&mut machine, O_RDONLY);
    let parts = [MEMORY + PAGE, PAGE, MEMORY + 2 * PAGE, 2 * PAGE];
    machine.write(MEMORY + 512, &parts);
    let args = [fd, MEMORY + 512, 2, 0, 0, 0];
    let mut restart = Restart::default();
    blocks(machine.run_handler(READV, args, &mut restart));
    fs.arrive(2 * PAGE);
    let got = machine.run_handler(READV, args, &mut restart).unwrap();
    assert_eq!(got, 2 * PAGE);
    fs.arrive(u64::MAX);
    let got = machine.call(READ, [fd, MEMORY + PAGE, PAGE, 0, 0, 0]);
    assert_eq!(got, Ok(PAGE));
    let mut next = [0];
    machine
        .task
        .mm()
        .read_bytes(MEMORY + PAGE, &mut next)
        .unwrap();
    assert_eq!(next, [b'c'], "nothing was passed over");
}

fn map(machine: &mut Machine, fd: u64, pages: u64, prot: u32) -> u64 {
    let args = [
        0,
        pages * PAGE,
        u64::from(prot),
        u64::from(MAP_PRIVATE),
        fd,
        0,
    ];
    machine.call(MMAP, args).unwrap()
}

/// A page fault of a read at an address.
fn fault_at(addr: u64) -> Event {
    Event::Fault(Fault {
        kind: FaultKind::Segv,
        code: SEGV_MAPERR.cast_signed(),
        addr,
        trapno: 14,
        error_code: 4,
    })
}

/// Waits until this holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_fault_waits_for_what_it_touched() {
    let (mut machine, fs) = machine(letters(40));
    let fd = open(&mut machine, O_RDONLY);
    let at = map(&mut machine, fd, 40, PROT_READ);
    let (goes_on, went_on) = mpsc::channel();
    let mut steps = 0;
    let script = Script::steps(move |_| {
        // A guest runs the instruction again after it waited.
        steps += 1;
        if steps > 2 {
            goes_on.send(()).ok()?;
            return Some(Event::Interrupted);
        }
        Some(fault_at(at + 20 * PAGE + 5))
    });
    machine.thread(script);
    until("it does not ask", || fs.state.lock().asked > 0);
    assert!(went_on.try_recv().is_err(), "it runs on what is not there");
    // What is around it is asked for, and no more.
    let around = (at + 20 * PAGE) / (16 * PAGE) * (16 * PAGE);
    let asked = around + 16 * PAGE - at;
    assert_eq!(fs.state.lock().asked, asked);
    fs.arrive(asked);
    went_on.recv_timeout(LIMIT).unwrap();
    let mm = machine.task.mm();
    let part = mm.vma_at(at + 20 * PAGE).unwrap();
    assert_eq!((part.start, part.end), (around, at + asked));
    let mut byte = [0];
    // What came is where the guest looks; what did not come is out of its reach.
    assert_eq!(mm.space().read(at + 20 * PAGE, &mut byte), 1);
    assert_eq!(byte, [b'a' + 20]);
    assert_eq!(mm.space().read(at + asked, &mut byte), 0);
    assert_eq!(mm.space().read(around - PAGE, &mut byte), 0);
}

#[test]
fn a_fault_that_is_the_guests_own_is_a_signal() {
    let (mut machine, fs) = machine(letters(1));
    let fd = open(&mut machine, O_RDONLY);
    let at = map(&mut machine, fd, 1, 0);
    machine
        .platform
        .next_guest(Script::events(vec![fault_at(at)]));
    let child = machine.call(57, [0; 6]).unwrap();
    let pid = i32::try_from(child).unwrap();
    let ended = || {
        let tree = machine.system.kernel.tree.lock();
        tree.links(pid).and_then(|links| links.ended)
    };
    until("it lives", || ended().is_some());
    let killed = |number| Some(ExitStatus::Signal { number, core: true });
    assert_eq!(ended(), killed(11));
    assert_eq!(fs.state.lock().asked, 0);
}

#[test]
fn content_that_is_lost_is_a_bus_error() {
    let (mut machine, fs) = machine(letters(1));
    fs.state.lock().lost = true;
    let fd = open(&mut machine, O_RDONLY);
    let at = map(&mut machine, fd, 1, PROT_READ);
    machine
        .platform
        .next_guest(Script::events(vec![fault_at(at)]));
    let child = machine.call(57, [0; 6]).unwrap();
    let pid = i32::try_from(child).unwrap();
    let ended = || {
        let tree = machine.system.kernel.tree.lock();
        tree.links(pid).and_then(|links| links.ended)
    };
    until("it lives", || ended().is_some());
    let killed = |number| Some(ExitStatus::Signal { number, core: true });
    assert_eq!(ended(), killed(7));
}

#[test]
fn a_call_on_mapped_memory_is_made_again() {
    let (mut machine, fs) = machine(letters(2));
    let fd = open(&mut machine, O_RDONLY);
    let at = map(&mut machine, fd, 2, PROT_READ);
    // open(2) of a name in such memory, in a thread that runs in the loop.
    let (answer, answered) = mpsc::channel();
    let mut asked = false;
    let script = Script::steps(move |state| {
        if asked {
            answer.send(state.regs.rax).ok()?;
            return None;
        }
        asked = true;
        Some(Event::Syscall(Script::call(OPEN, &[at])))
    });
    machine.thread(script);
    until("it does not ask", || fs.state.lock().asked > 0);
    assert!(answered.try_recv().is_err(), "it has an answer already");
    fs.arrive(u64::MAX);
    // Two pages of letters are no name.
    let value = answered.recv_timeout(LIMIT).unwrap();
    assert_eq!(value.cast_signed(), Errno::ENAMETOOLONG.to_return());
    // One's own mistake stays one.
    assert_eq!(machine.call(OPEN, [8, 0, 0, 0, 0, 0]), Err(Errno::EFAULT));
}

#[test]
fn what_can_be_written_is_there_before_it_is_mapped() {
    let (mut machine, fs) = machine(letters(20));
    let fd = open(&mut machine, O_NONBLOCK);
    let prot = u64::from(PROT_READ | PROT_WRITE);
    let args = [0, 20 * PAGE, prot, u64::from(MAP_PRIVATE), fd, 0];
    blocks(machine.run_handler(MMAP, args, &mut Restart::default()));
    let at = map(&mut machine, fd, 20, PROT_READ | PROT_EXEC);
    // mprotect(2) waits too, part by part; it is the loop that waits for absent memory.
    let change = [at, 20 * PAGE, prot, 0, 0, 0];
    assert_eq!(machine.call(MPROTECT, change), Err(Errno::EFAULT));
    assert!(kernel_mm::take_missed(&machine.task.mm()).is_some());
    // Less than writing changes nothing of what is absent.
    let read = [at, 20 * PAGE, u64::from(PROT_READ), 0, 0, 0];
    assert_eq!(machine.call(MPROTECT, read), Ok(0));
    let mm = machine.task.mm();
    assert_eq!(mm.space().read(at, &mut [0]), 0);
    fs.arrive(u64::MAX);
    assert_eq!(machine.call(MPROTECT, change), Ok(0));
    assert!(
        machine
            .run_handler(MMAP, args, &mut Restart::default())
            .is_ok()
    );
    mm.write_bytes(at + 19 * PAGE, b"x").unwrap();
}

/// A static ELF program of one segment that begins at its entry.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].iter().flat_map(|v| v.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + 0x80, 64, 0].iter().flat_map(|v| v.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    let sizes = [64u16, 56, 1, 0, 0, 0];
    file.extend(sizes.iter().flat_map(|v| v.to_le_bytes()));
    file.extend([1u32, 5].iter().flat_map(|v| v.to_le_bytes()));
    let segment = [0, BASE, BASE, 2 * PAGE, 2 * PAGE, PAGE];
    file.extend(segment.iter().flat_map(|v| v.to_le_bytes()));
    file.resize(2 * PAGE as usize, 0x90);
    file
}

#[test]
fn a_program_that_is_not_there_yet_is_executed_when_it_is() {
    let (mut machine, fs) = machine(program());
    let args = [MEMORY, 0, 0, 0, 0, 0];
    let before = machine.task.mm().id();
    let mut restart = Restart::default();
    blocks(machine.run_handler(EXECVE, args, &mut restart));
    assert_eq!(machine.task.mm().id(), before, "it is what it was");
    fs.arrive(PAGE);
    let done = machine.run_handler(EXECVE, args, &mut restart);
    assert!(matches!(done, Err(Stop::Resume)), "{done:?}");
    let mm = machine.task.mm();
    assert_ne!(mm.id(), before);
    // Its code comes when it runs.
    let mut byte = [0];
    assert_eq!(mm.space().read(0x40_0080, &mut byte), 0);
    let fetched = mm.fault(0x40_0080, kernel_mm::Access::Execute);
    assert!(matches!(fetched, kernel_mm::FaultAnswer::NotYet(_)));
    fs.arrive(u64::MAX);
    let fetched = mm.fault(0x40_0080, kernel_mm::Access::Execute);
    assert!(matches!(fetched, kernel_mm::FaultAnswer::Again));
    assert_eq!(mm.space().read(0x40_0080, &mut byte), 1);
    assert_eq!(byte, [0x90]);
}
