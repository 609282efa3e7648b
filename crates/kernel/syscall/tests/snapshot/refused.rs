//! What cannot be saved or loaded is named, and the program goes on.

use std::sync::Arc;
use std::time::Duration;

use kernel_files::console::Stream;
use kernel_mm::{MemorySaver, SaveError, SnapshotWriter};
use kernel_syscall::snapshot::{CaptureError, SavedKernel, capture};
use kernel_vfs::save::Unsavable;

use crate::PAGE;
use crate::guest::{boot, limit};
use crate::moving::{Memory, Snapshot, enter, snapshot, wait_for, wait_until_asleep};

#[test]
fn what_cannot_be_saved_is_named_and_the_program_goes_on() {
    let program = "
import os, sys
a = os.openpty()
print('ready', flush=True)
print(sys.stdin.read())
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let refused = capture(&machine.system, limit(), &mut |_, _| Ok(()));
    match refused.map(|_| ()) {
        Err(CaptureError::Unsavable(what)) => assert!(what.what.contains("terminal"), "{what}"),
        other => panic!("{other:?}"),
    }
    machine.console.push_input(b"on");
    machine.console.set_closed(Stream::Input);
    assert_eq!(machine.finish().expect_success(), "on\n");
}

#[test]
fn damaged_state_is_refused_or_harmless() {
    let program = "
import fcntl, os, select, socket, sys, threading
r, w = os.pipe(); os.write(w, b'x' * 50)
os.chdir('/tmp'); u = socket.socket(socket.AF_UNIX); u.bind('u'); u.listen(); v = socket.socket(socket.AF_UNIX); v.connect('u'); t = u.accept()
m, n = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); m.bind(b'\\0m'); m.send(b'packet'); n.connect(b'\\0m')
held = open('/tmp/held', 'w'); fcntl.flock(held, fcntl.LOCK_EX); fcntl.lockf(held, fcntl.LOCK_EX, 10, 3)
p = select.epoll(); p.register(r)
e = os.eventfd(3); p.register(e)
a, b = socket.socketpair(); a.send(b'bytes')
l = socket.socket(); l.bind(('127.0.0.1', 99)); l.listen()
open('/tmp/f', 'w').write('text'); os.mkdir('/tmp/d'); os.remove('/etc/passwd')
if os.fork() == 0: sys.stdin.read(); os._exit(0)
print('ready', flush=True)
sys.stdin.read()
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let Snapshot { state, memory } = snapshot(&machine);
    drop(machine);
    for len in (0..state.len()).step_by(state.len() / 40 + 1) {
        assert!(SavedKernel::parse(&state[..len]).is_err(), "{len} bytes");
    }
    let mut seed = 1u64;
    let mut flip = |bytes: &[u8], from: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = usize::try_from(seed >> 33).unwrap() % (bytes.len() - from) + from;
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << ((seed >> 20) % 8);
        damaged
    };
    let none = Memory {
        image: Arc::clone(&memory.image),
        state: vec![0, 0],
    };
    for _ in 0..300 {
        // No memory comes with it: everything before is built, nothing may run.
        assert!(enter(&flip(&state, 4), &none).is_err());
    }
    let mut refused = 0;
    for _ in 0..300 {
        // What is still believed is built, and ends before it runs.
        let damaged = Memory {
            image: Arc::clone(&memory.image),
            state: flip(&memory.state, 0),
        };
        if enter(&state, &damaged).is_err() {
            refused += 1;
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn an_image_that_grows_too_large_is_given_up_and_the_program_goes_on() {
    let machine = boot(Duration::ZERO);
    let program = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\nprint('done')";
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let image = tempfile::tempfile().expect("an image");
    let captured = capture(&machine.system, limit(), &mut |mms, saver| {
        let mut writer = SnapshotWriter::new(&image, 0, 10 * PAGE);
        let mut memory = MemorySaver::new(&mut writer);
        let saved = mms.iter().try_for_each(|mm| memory.add(mm, saver));
        match saved {
            Err(SaveError::TooLarge { limit }) => assert_eq!(limit, 10 * PAGE),
            other => panic!("{other:?}"),
        }
        Err(Unsavable::new("too large"))
    });
    assert!(matches!(captured, Err(CaptureError::Unsavable(_))));
    machine.console.set_closed(Stream::Input);
    assert_eq!(machine.finish().expect_success(), "done\n");
}
