//! The line discipline against the host's, byte by byte.

use std::sync::Arc;

use kernel_vfs::{AccessMode, Description, Errno, File, PollTable, Result, StatusFlags};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex,
};

use super::termios::TERMIOS_SIZE;
use super::*;
use crate::testing::FakeClock;
use kernel_vfs::UserMemory;

/// Guest memory of one small buffer at address zero.
struct Memory(Mutex<[u8; 64]>);

impl Memory {
    fn new(bytes: &[u8]) -> Memory {
        let mut all = [0; 64];
        all[..bytes.len()].copy_from_slice(bytes);
        Memory(Mutex::new(all))
    }
}

impl UserMemory for Memory {
    fn read_bytes(&self, _addr: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&self.0.lock()[..buf.len()]);
        Ok(())
    }

    fn write_bytes(&self, _addr: u64, data: &[u8]) -> Result<()> {
        self.0.lock()[..data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// The same terminal here and on the host.
struct Both {
    master: Option<Arc<Description>>,
    slave: Option<Arc<Description>>,
    fs: Arc<DevPts>,
    host_master: Option<OwnedFd>,
    host_slave: Option<OwnedFd>,
}

fn host<T>(result: rustix::io::Result<T>) -> Result<T> {
    result.map_err(|e| Errno::from_raw(e.raw_os_error()))
}

fn host_poll(fd: &OwnedFd) -> u32 {
    let mut fds = [PollFd::new(fd, PollFlags::all())];
    rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap();
    u32::from(fds[0].revents().bits())
}

impl Both {
    fn unopened() -> Both {
        let fs = DevPts::new(9, 4, Arc::new(NoJobs), FakeClock::new(0));
        let master = fs.open_master(None, 0).unwrap();
        let unlock = Memory::new(&0i32.to_le_bytes());
        master
            .ioctl(&unlock, base_abi::ioctl::TIOCSPTLCK, 0)
            .unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let host_master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&host_master).unwrap();
        let set = rustix::io::ioctl_fionbio(&host_master, true);
        set.unwrap();
        Both {
            master: Some(open(master)),
            slave: None,
            fs,
            host_master: Some(host_master),
            host_slave: None,
        }
    }

    fn new() -> Both {
        let mut both = Both::unopened();
        both.open_slave();
        both
    }

    fn open_slave(&mut self) {
        let master = self.master.as_ref().unwrap();
        let master: &Master = master.downcast().unwrap();
        let slave = self
            .fs
            .open_peer(master, base_abi::general::O_NOCTTY)
            .unwrap();
        self.slave = Some(open(slave));
        let name = rustix::pty::ptsname(self.host_master.as_ref().unwrap(), Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
        self.host_slave = Some(rustix::fs::open(name, flags, Mode::empty()).unwrap());
    }

    /// Types bytes and compares the echo. The host echoes from a worker, so wait for what we expect.
    fn types(&self, bytes: &[u8]) -> Result<usize> {
        let mine = self.master.as_ref().unwrap().write(bytes);
        let theirs = host(rustix::io::write(self.host_master.as_ref().unwrap(), bytes));
        assert_eq!(mine, theirs, "typing {bytes:?}");
        mine
    }

    fn prints(&self, bytes: &[u8]) -> Result<usize> {
        let mine = self.slave.as_ref().unwrap().write(bytes);
        let theirs = host(rustix::io::write(self.host_slave.as_ref().unwrap(), bytes));
        assert_eq!(mine, theirs, "printing {bytes:?}");
        mine
    }

    /// What the screen shows, on both.
    fn screen(&self) -> Vec<u8> {
        let mut mine = vec![0; 4096];
        let n = self.master.as_ref().unwrap().read(&mut mine).unwrap_or(0);
        mine.truncate(n);
        let theirs = self.gather(self.host_master.as_ref().unwrap(), n);
        assert_eq!(printable(&mine), printable(&theirs), "screen");
        mine
    }

    fn gather(&self, fd: &OwnedFd, expected: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < expected && wait_readable(fd) {
            let mut buf = vec![0; 4096];
            match rustix::io::read(fd, &mut buf) {
                Ok(n) if n > 0 => all.extend_from_slice(&buf[..n]),
                _ => break,
            }
        }
        all
    }

    fn reads(&self, len: usize) -> Result<Vec<u8>> {
        let (mut mine, mut theirs) = (vec![0; len], vec![0; len]);
        let a = self.slave.as_ref().unwrap().read(&mut mine);
        let fd = self.host_slave.as_ref().unwrap();
        if a.is_ok() {
            wait_readable(fd);
        }
        let b = host(rustix::io::read(fd, &mut theirs));
        let mine = a.map(|n| mine[..n].to_vec());
        let theirs = b.map(|n| theirs[..n].to_vec());
        assert_eq!(
            mine.as_deref().map(printable),
            theirs.as_deref().map(printable)
        );
        mine
    }

    fn polls(&self) {
        for (ours, theirs) in [
            (&self.master, &self.host_master),
            (&self.slave, &self.host_slave),
        ] {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let ours = ours.file().poll(&mut PollTable::look()).bits();
                if ours & 1 != 0 {
                    // The host hands typed bytes over in its own time.
                    wait_readable(theirs);
                }
                assert_eq!(ours, host_poll(theirs), "poll");
            }
        }
    }

    fn set(&self, change: impl Fn(&mut rustix::termios::Termios)) {
        let fd = self.host_slave.as_ref().unwrap();
        let mut termios = rustix::termios::tcgetattr(fd).unwrap();
        change(&mut termios);
        rustix::termios::tcsetattr(fd, OptionalActions::Now, &termios).unwrap();
        let mut bytes = [0; TERMIOS_SIZE];
        bytes[0..4].copy_from_slice(&termios.input_modes.bits().to_le_bytes());
        bytes[4..8].copy_from_slice(&termios.output_modes.bits().to_le_bytes());
        bytes[8..12].copy_from_slice(&termios.control_modes.bits().to_le_bytes());
        bytes[12..16].copy_from_slice(&termios.local_modes.bits().to_le_bytes());
        for (i, index) in CODES.iter().enumerate() {
            if let Some(index) = index {
                bytes[17 + i] = termios.special_codes[*index];
            }
        }
        let slave = self.slave.as_ref().unwrap().file();
        slave
            .ioctl(&Memory::new(&bytes), base_abi::ioctl::TCSETS, 0)
            .unwrap();
        self.settings_agree();
    }

    fn settings_agree(&self) {
        let theirs = rustix::termios::tcgetattr(self.host_slave.as_ref().unwrap()).unwrap();
        let slave: &Slave = self.slave.as_ref().unwrap().downcast().unwrap();
        let mine = slave.terminal().termios();
        assert_eq!(mine.iflag().bits(), theirs.input_modes.bits(), "iflag");
        assert_eq!(mine.oflag().bits(), theirs.output_modes.bits(), "oflag");
        assert_eq!(mine.lflag().bits(), theirs.local_modes.bits(), "lflag");
        let mine = mine.to_old();
        let control = u32::from_le_bytes(mine[8..12].try_into().unwrap());
        assert_eq!(
            ControlModes::from_bits_retain(control),
            theirs.control_modes
        );
        for (i, index) in CODES.iter().enumerate() {
            if let Some(index) = index {
                assert_eq!(mine[17 + i], theirs.special_codes[*index], "code {i}");
            }
        }
    }
}

type S = SpecialCodeIndex;
const CODES: [Option<S>; 17] = [
    Some(S::VINTR),
    Some(S::VQUIT),
    Some(S::VERASE),
    Some(S::VKILL),
    Some(S::VEOF),
    Some(S::VTIME),
    Some(S::VMIN),
    None,
    Some(S::VSTART),
    Some(S::VSTOP),
    Some(S::VSUSP),
    Some(S::VEOL),
    Some(S::VREPRINT),
    Some(S::VDISCARD),
    Some(S::VWERASE),
    Some(S::VLNEXT),
    Some(S::VEOL2),
];

fn open(file: Arc<dyn File>) -> Arc<Description> {
    Description::anonymous(file, AccessMode::ReadWrite, StatusFlags::NONBLOCK)
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the host's worker; false when nothing comes within a second.
fn wait_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let second = rustix::time::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&second)).unwrap() > 0
}

#[test]
fn a_new_terminal_has_the_settings_of_linux() {
    Both::new().settings_agree();
}

#[test]
fn lines_are_delivered_whole_and_echoed() {
    let tty = Both::new();
    assert_eq!(tty.reads(10), Err(Errno::EAGAIN));
    let _ = tty.types(b"hello\rworld\n");
    assert_eq!(tty.screen(), b"hello\r\nworld\r\n");
    assert_eq!(tty.reads(3).unwrap(), b"hel");
    assert_eq!(tty.reads(100).unwrap(), b"lo\n");
    assert_eq!(tty.reads(100).unwrap(), b"world\n");
    assert_eq!(tty.reads(100), Err(Errno::EAGAIN));
    tty.polls();
}

#[test]
fn end_of_file_ends_a_read() {
    let tty = Both::new();
    let _ = tty.types(b"ab\x04");
    assert_eq!(tty.reads(10).unwrap(), b"ab");
    let _ = tty.types(b"\x04");
    assert_eq!(tty.reads(10).unwrap(), b"");
    let _ = tty.types(b"abc\x04x\n");
    assert_eq!(tty.reads(3).unwrap(), b"abc");
    assert_eq!(tty.reads(3).unwrap(), b"x\n");
}

#[test]
fn editing_looks_the_same() {
    let tty = Both::new();
    let cases: [&[u8]; 12] = [
        b"abc\x7f\x7fX\n",
        b"\x7f\x7fa\n",
        b"one two_3  \x17x\n",
        b"one two;;\x17x\n",
        b"kill me\x15new\n",
        b"a\tb\x7f\x7f\x7fz\n",
        b"\x01\x02\x7fq\n",
        b"lit\x16\x03\x16\x7f\n",
        b"again\x12more\n",
        b"\x1b[A\n",
        b"12345678\t\x7f\x7f\n",
        b"caf\xc3\xa9\x7f\x7f\n",
    ];
    for case in cases {
        let _ = tty.types(case);
        tty.screen();
        let _ = tty.reads(100);
    }
    tty.set(|t| t.input_modes |= InputModes::IUTF8);
    let _ = tty.types(b"caf\xc3\xa9\x7fe\n");
    tty.screen();
    let _ = tty.reads(100);
    for (on, off) in [
        (LocalModes::empty(), LocalModes::ECHOE),
        (LocalModes::empty(), LocalModes::ECHOKE),
        (LocalModes::empty(), LocalModes::ECHOK),
        (LocalModes::empty(), LocalModes::ECHOCTL),
        (LocalModes::ECHONL, LocalModes::ECHO),
    ] {
        tty.set(|t| {
            t.local_modes |= on;
            t.local_modes &= !off;
        });
        let _ = tty.types(b"ab\x01\x7f\x7fc\x15d\n");
        tty.screen();
        let _ = tty.reads(100);
    }
}

#[test]
fn input_flags_translate() {
    let tty = Both::new();
    for (on, off) in [
        (InputModes::INLCR, InputModes::ICRNL),
        (InputModes::IGNCR, InputModes::INLCR),
        (InputModes::IUCLC | InputModes::ISTRIP, InputModes::IGNCR),
    ] {
        tty.set(|t| {
            t.input_modes |= on;
            t.input_modes &= !off;
            t.special_codes[S::VEOL] = b';';
            t.special_codes[S::VEOL2] = b'!';
        });
        let _ = tty.types(b"A\rb\nC;d!\xe1\n");
        tty.screen();
        for _ in 0..5 {
            let _ = tty.reads(100);
        }
    }
}

#[test]
fn output_is_processed() {
    let tty = Both::new();
    for (on, off) in [
        (OutputModes::empty(), OutputModes::empty()),
        (OutputModes::TAB3, OutputModes::empty()),
        (OutputModes::OCRNL, OutputModes::ONLCR),
        (OutputModes::ONOCR, OutputModes::OCRNL),
        (
            OutputModes::OLCUC | OutputModes::ONLRET,
            OutputModes::empty(),
        ),
        (OutputModes::empty(), OutputModes::OPOST),
    ] {
        tty.set(|t| {
            t.output_modes |= on;
            t.output_modes &= !off;
        });
        let _ = tty.prints(b"\rab\tc\n\r\nx\x08\ty\r\r\n");
        tty.screen();
    }
}

#[test]
fn raw_mode_gives_every_byte() {
    let tty = Both::new();
    let _ = tty.types(b"typed before");
    tty.screen();
    tty.set(|t| t.make_raw());
    assert_eq!(tty.reads(100).unwrap(), b"typed before");
    let _ = tty.types(b"a\x03\r\n\x04\x7f\xff");
    assert_eq!(tty.reads(100).unwrap(), b"a\x03\r\n\x04\x7f\xff");
    let _ = tty.types(b"half");
    assert_eq!(tty.reads(2).unwrap(), b"ha");
    tty.set(|t| t.local_modes |= LocalModes::ICANON);
    assert_eq!(tty.reads(100).unwrap(), b"lf");
    assert_eq!(tty.reads(100), Err(Errno::EAGAIN));
    tty.set(|t| {
        t.make_raw();
        t.special_codes[S::VMIN] = 0;
    });
    assert_eq!(tty.reads(100).unwrap(), b"");
}

#[test]
fn stop_and_start_hold_output() {
    let tty = Both::new();
    let _ = tty.types(b"\x13");
    // The host works off what is typed by and by: once this line can be read, it has seen the stop.
    let _ = tty.types(b"x\n");
    assert_eq!(tty.reads(10).unwrap(), b"x\n");
    tty.screen();
    assert_eq!(tty.prints(b"held"), Err(Errno::EAGAIN));
    tty.polls();
    let _ = tty.types(b"\x11y");
    tty.screen();
    assert_eq!(tty.prints(b"free"), Ok(4));
    tty.screen();
}

#[test]
fn closing_the_slave_ends_the_master_and_opening_revives_it() {
    let mut tty = Both::unopened();
    tty.polls();
    assert_eq!(tty.types(b"early\n"), Ok(6));
    tty.open_slave();
    assert_eq!(tty.reads(10).unwrap(), b"early\n");
    tty.screen();
    let _ = tty.prints(b"last words\n");
    tty.slave = None;
    tty.host_slave = None;
    assert_eq!(tty.screen(), b"last words\r\n");
    tty.polls();
    let mut buf = [0; 4];
    let mine = tty.master.as_ref().unwrap().read(&mut buf);
    let theirs = host(rustix::io::read(
        tty.host_master.as_ref().unwrap(),
        &mut buf,
    ));
    assert_eq!((mine, theirs), (Err(Errno::EIO), Err(Errno::EIO)));
    let _ = tty.types(b"x");
    tty.open_slave();
    let _ = tty.types(b"y\n");
    tty.polls();
    tty.screen();
}

#[test]
fn closing_the_master_hangs_up_the_slave() {
    let mut tty = Both::new();
    let _ = tty.types(b"unread\n");
    tty.master = None;
    tty.host_master = None;
    tty.polls();
    assert_eq!(tty.reads(10).unwrap(), b"");
    assert_eq!(tty.prints(b"x"), Err(Errno::EIO));
    let slave = tty.slave.as_ref().unwrap().file();
    let got = slave.ioctl(&Memory::new(&[]), base_abi::ioctl::TCGETS, 0);
    let theirs = host(rustix::termios::tcgetattr(tty.host_slave.as_ref().unwrap()));
    assert_eq!(
        (got.unwrap_err(), theirs.unwrap_err()),
        (Errno::EIO, Errno::EIO)
    );
}

mod control;
