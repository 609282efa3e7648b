//! Job control, packet mode, timers and nodes, with a scripted session.

use std::sync::Arc;

use base_abi::ioctl;
use kernel_vfs::{Errno, File, FileSystem, Result};
use parking_lot::Mutex;

use super::Memory;
use crate::pty::*;
use crate::testing::FakeClock;

/// One session whose caller can be changed.
#[derive(Default)]
struct Session {
    caller: Mutex<Caller>,
    terminal: Mutex<Option<Arc<Terminal>>>,
    sent: Mutex<Vec<(i32, u32)>>,
    shuns: Mutex<bool>,
}

impl JobControl for Session {
    fn caller(&self) -> Caller {
        *self.caller.lock()
    }

    fn shuns(&self, _signal: u32) -> bool {
        *self.shuns.lock()
    }

    fn controlling_terminal(&self) -> Option<Arc<Terminal>> {
        self.terminal.lock().clone()
    }

    fn set_controlling_terminal(&self, _session: i32, terminal: Option<Arc<Terminal>>) {
        *self.terminal.lock() = terminal;
    }

    fn session_of_group(&self, group: i32) -> Option<i32> {
        match group {
            10 | 20 => Some(10),
            99 => Some(98),
            _ => None,
        }
    }

    fn signal_group(&self, group: i32, signal: u32) {
        self.sent.lock().push((group, signal));
    }

    fn signal_leader(&self, session: i32, signal: u32) {
        self.sent.lock().push((-session, signal));
    }
}

struct Desk {
    session: Arc<Session>,
    clock: Arc<FakeClock>,
    fs: Arc<DevPts>,
    master: Arc<Master>,
}

impl Desk {
    fn new() -> Desk {
        let session = Arc::new(Session::default());
        *session.caller.lock() = Caller {
            process: 10,
            group: 10,
            session: 10,
            ..Caller::default()
        };
        let clock = FakeClock::new(0);
        let fs = DevPts::new(9, 2, session.clone(), clock.clone());
        let master = fs.open_master(None, 0).unwrap();
        master
            .ioctl(&Memory::new(&[0; 4]), ioctl::TIOCSPTLCK, 0)
            .unwrap();
        Desk {
            session,
            clock,
            fs,
            master,
        }
    }

    fn slave(&self) -> Arc<Slave> {
        self.fs.open_peer(&self.master, 0).unwrap()
    }

    fn sent(&self) -> Vec<(i32, u32)> {
        std::mem::take(&mut self.session.sent.lock())
    }
}

fn int(file: &dyn File, request: u32, value: i32) -> Result<i32> {
    let memory = Memory::new(&value.to_le_bytes());
    file.ioctl(&memory, request, 0)?;
    let bytes = memory.0.lock();
    Ok(i32::from_le_bytes(bytes[..4].try_into().unwrap()))
}

#[test]
fn opening_gives_a_session_leader_its_terminal() {
    let desk = Desk::new();
    let slave = desk.slave();
    assert!(desk.session.controlling_terminal().is_some());
    assert_eq!(int(slave.as_ref(), ioctl::TIOCGPGRP, 0), Ok(10));
    assert_eq!(int(slave.as_ref(), ioctl::TIOCGSID, 0), Ok(10));
    assert_eq!(int(slave.as_ref(), ioctl::TIOCSPGRP, 20), Ok(20));
    assert_eq!(
        int(slave.as_ref(), ioctl::TIOCSPGRP, -1),
        Err(Errno::from_raw(512))
    );
    assert_eq!(desk.sent(), [(10, 22)]);
    *desk.session.shuns.lock() = true;
    assert_eq!(
        int(slave.as_ref(), ioctl::TIOCSPGRP, -1),
        Err(Errno::EINVAL)
    );
    assert_eq!(int(slave.as_ref(), ioctl::TIOCSPGRP, 7), Err(Errno::ESRCH));
    assert_eq!(int(slave.as_ref(), ioctl::TIOCSPGRP, 99), Err(Errno::EPERM));
    assert_eq!(
        slave.ioctl(&Memory::new(&[]), ioctl::TIOCSTI, 0),
        Err(Errno::EPERM)
    );
}

#[test]
fn keys_signal_the_foreground_group() {
    let desk = Desk::new();
    let slave = desk.slave();
    desk.master.write_at(0, b"lost\x03").unwrap();
    desk.master.write_at(0, b"\x1c\x1a").unwrap();
    assert_eq!(desk.sent(), [(10, 2), (10, 3), (10, 20)]);
    assert_eq!(int(slave.as_ref(), ioctl::FIONREAD, 0), Ok(0));
    let mut screen = [0; 32];
    let n = desk.master.read_at(0, &mut screen).unwrap();
    assert_eq!(&screen[..n], b"lost^C^\\^Z");
    let size = WinSize {
        row: 24,
        col: 80,
        ..WinSize::default()
    };
    slave.terminal().resize(size);
    slave.terminal().resize(size);
    assert_eq!(desk.sent(), [(10, 28)]);
}

#[test]
fn the_background_is_stopped() {
    let desk = Desk::new();
    let slave = desk.slave();
    desk.session.caller.lock().group = 20;
    let mut buf = [0; 8];
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::from_raw(512)));
    assert_eq!(desk.sent(), [(20, 21)]);
    desk.session.caller.lock().orphaned = true;
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::EIO));
    assert_eq!(slave.write_at(0, b"x"), Ok(1));
}

#[test]
fn a_hang_up_tells_the_session() {
    let desk = Desk::new();
    let _slave = desk.slave();
    desk.master.terminal().hang_up();
    assert_eq!(desk.sent(), [(-10, 1), (-10, 18), (10, 1)]);
    assert!(desk.session.controlling_terminal().is_none());
    assert_eq!(desk.fs.open_peer(&desk.master, 0).err(), Some(Errno::EIO));
}

#[test]
fn giving_up_control_hangs_up_the_foreground() {
    let desk = Desk::new();
    let slave = desk.slave();
    slave.ioctl(&Memory::new(&[]), ioctl::TIOCNOTTY, 0).unwrap();
    assert_eq!(desk.sent(), [(10, 1), (10, 18)]);
    assert_eq!(int(slave.as_ref(), ioctl::TIOCGPGRP, 0), Err(Errno::ENOTTY));
    slave.ioctl(&Memory::new(&[]), ioctl::TIOCSCTTY, 0).unwrap();
    assert_eq!(int(slave.as_ref(), ioctl::TIOCGPGRP, 0), Ok(10));
    desk.session.caller.lock().process = 11;
    let refused = slave.ioctl(&Memory::new(&[]), ioctl::TIOCSCTTY, 0);
    assert_eq!(refused, Err(Errno::EPERM));
}

#[test]
fn packet_mode_marks_data_and_status() {
    let desk = Desk::new();
    let slave = desk.slave();
    int(desk.master.as_ref(), ioctl::TIOCPKT, 1).unwrap();
    slave.write_at(0, b"hi").unwrap();
    let mut buf = [9; 8];
    assert_eq!(desk.master.read_at(0, &mut buf), Ok(3));
    assert_eq!(&buf[..3], b"\0hi");
    slave.ioctl(&Memory::new(&[]), ioctl::TCFLSH, 2).unwrap();
    assert_eq!(desk.master.read_at(0, &mut buf), Ok(1));
    assert_eq!(buf[0], 3);
    assert_eq!(
        slave.ioctl(&Memory::new(&[]), ioctl::TCFLSH, 3),
        Err(Errno::EINVAL)
    );
}

#[test]
fn vtime_ends_a_read_without_input() {
    let desk = Desk::new();
    let slave = desk.slave();
    let mut bytes = slave.terminal().termios().to_old();
    bytes[12] &= !2;
    bytes[17 + 5] = 5;
    bytes[17 + 6] = 0;
    slave.ioctl(&Memory::new(&bytes), ioctl::TCSETS, 0).unwrap();
    let mut buf = [0; 8];
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::EAGAIN));
    desk.clock.advance(499_999_999);
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::EAGAIN));
    desk.clock.advance(1);
    assert_eq!(slave.read_at(0, &mut buf), Ok(0));
    // Between bytes: VMIN 3, VTIME 5.
    bytes[17 + 6] = 3;
    slave.ioctl(&Memory::new(&bytes), ioctl::TCSETS, 0).unwrap();
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::EAGAIN));
    desk.master.write_at(0, b"ab").unwrap();
    assert_eq!(slave.read_at(0, &mut buf), Err(Errno::EAGAIN));
    desk.clock.advance(500_000_000);
    assert_eq!(slave.read_at(0, &mut buf), Ok(2));
}

#[test]
fn nodes_come_and_go_with_masters() {
    let desk = Desk::new();
    let root = desk.fs.root();
    let node = root.lookup(b"0").unwrap();
    assert_eq!(node.attr().unwrap().rdev, base_abi::device::make(136, 0));
    assert!(root.lookup(b"00").is_err());
    let second = desk.fs.open_master(None, 7).unwrap();
    assert_eq!(desk.fs.open_master(None, 0).err(), Some(Errno::ENOSPC));
    assert_eq!(int(second.as_ref(), ioctl::TIOCGPTN, 0), Ok(1));
    let locked = root.lookup(b"1").unwrap();
    assert_eq!(locked.attr().unwrap().uid, 7);
    assert_eq!(locked.open(0).err(), Some(Errno::EIO));
    let listing = root.open(0).unwrap();
    let mut names = Vec::new();
    let mut emit = |e: kernel_vfs::DirEntry<'_>| {
        names.push(String::from_utf8_lossy(e.name).into_owned());
        true
    };
    listing.read_dir(1, &mut emit).unwrap();
    assert_eq!(names, ["..", "ptmx", "0", "1"]);
    drop(second);
    assert!(desk.fs.root().lookup(b"1").is_err());
    let driver = TtyDriver::new(desk.session.clone());
    let tty = kernel_vfs::Driver::open(driver.as_ref(), &node, 0);
    assert_eq!(tty.err(), Some(Errno::ENXIO));
    let _slave = desk.slave();
    assert!(kernel_vfs::Driver::open(driver.as_ref(), &node, 0).is_ok());
}
