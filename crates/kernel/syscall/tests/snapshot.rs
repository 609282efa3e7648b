//! Programs that are captured in the middle and go on in another kernel.

mod guest;
#[path = "guest/moving.rs"]
mod moving;

use std::sync::Arc;
use std::time::Duration;

use guest::{Machine, boot, limit};
use kernel_files::console::Stream;
use kernel_mm::{MemorySaver, SaveError, SnapshotWriter};
use kernel_net::endpoint::Listener;
use kernel_syscall::snapshot::{CaptureError, SavedKernel, capture};
use kernel_vfs::save::{LoadError, Unsavable};
use moving::{Memory, Snapshot, enter, move_house, python, snapshot, wait_for, wait_until_asleep};
use sandbox_api::ApiServer;
use sandbox_runtime::{Event, Limits, RuntimeEvent};

const PAGE: u64 = 4096;

#[test]
fn a_program_waiting_for_input_goes_on() {
    let program = "
import sys
x = list(range(1000))
print('ready', flush=True)
line = sys.stdin.readline()
print(sum(x), line.strip())
";
    assert_eq!(python(program, "hello\n"), "499500 hello\n");
}

#[test]
fn a_sleep_is_as_long_as_it_was_and_clocks_go_on() {
    let program = "
import time
a, w = time.monotonic(), time.time()
print('ready', flush=True)
time.sleep(0.5)
b = time.monotonic()
print(b - a >= 0.5, time.time() >= w)
";
    assert_eq!(python(program, ""), "True True\n");
}

#[test]
fn threads_and_their_locks_go_on() {
    let program = "
import sys, threading, queue
q, r = queue.Queue(), queue.Queue()
def work(n):
    while True:
        item = q.get()
        if item is None: return
        r.put(item * n)
threads = [threading.Thread(target=work, args=(7,)) for _ in range(4)]
for t in threads: t.start()
print('ready', flush=True)
sys.stdin.read()
for i in range(100): q.put(i)
for t in threads: q.put(None)
for t in threads: t.join()
print(sum(r.get() for _ in range(100)))
";
    assert_eq!(python(program, ""), "34650\n");
}

#[test]
fn pipes_keep_their_bytes_and_ends() {
    let program = "
import os, select, sys
r, w = os.pipe()
os.write(w, b'before')
d = os.dup(w)
os.set_blocking(r, False)
print('ready', flush=True)
sys.stdin.read()
print(os.read(r, 100), os.get_blocking(r))
os.close(w)
os.write(d, b'after')
print(os.read(r, 100))
os.close(d)
print(os.read(r, 100))
";
    assert_eq!(python(program, ""), "b'before' False\nb'after'\nb''\n");
}

#[test]
fn epoll_and_event_files_go_on() {
    let program = "
import os, select, sys
e, p = os.eventfd(0), select.epoll()
p.register(e, select.EPOLLIN)
p.register(0, select.EPOLLIN)
r, w = os.pipe()
p.register(r, select.EPOLLIN | select.EPOLLET)
os.write(w, b'x')
print(len(p.poll(0)), len(p.poll(0)), flush=True)
print('ready', flush=True)
events = p.poll()
print([fd == 0 for fd, _ in events])
os.eventfd_write(e, 5)
print(sorted(fd == e for fd, _ in p.poll()), os.eventfd_read(e))
os.write(w, b'y')
print([fd == r for fd, _ in p.poll() if fd], os.read(r, 9))
";
    assert_eq!(
        python(program, "line\n"),
        "[True]\n[False, True] 5\n[True] b'xy'\n"
    );
}

#[test]
fn children_signals_and_timers_go_on() {
    let program = "
import os, signal, sys, time
fired = []
# It comes again, as on a slow machine it may come before somebody waits for it.
signal.signal(signal.SIGALRM, lambda *a: fired or fired.append(1))
signal.signal(signal.SIGUSR1, lambda *a: fired.append(2))
pid = os.fork()
if pid == 0:
    signal.pause()
    os._exit(len(fired) + 40)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
print('ready', flush=True)
while not fired: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
print(fired, signal.sigpending() == {signal.SIGUSR1})
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print(fired)
os.kill(pid, signal.SIGUSR1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.getpid(), os.getppid())
";
    assert_eq!(python(program, ""), "[1] True\n[1, 2]\n41 1 0\n");
}

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
fn files_keep_their_contents_names_and_attributes() {
    let program = "
import os, sys
os.makedirs('/tmp/d/e')
with open('/tmp/d/a', 'w') as f: f.write('text')
os.link('/tmp/d/a', '/tmp/d/e/b')
os.symlink('a', '/tmp/d/s')
os.chmod('/tmp/d/a', 0o640)
os.utime('/tmp/d/a', (5, 6))
open('/tmp/big', 'wb').truncate(5 << 20)
os.pwrite(os.open('/tmp/big', os.O_WRONLY), b'end', (5 << 20) - 3)
with open('/etc/passwd', 'a') as f: f.write('more')
os.remove('/etc/group')
os.rename('/etc/hosts', '/tmp/hosts')
u = open('/tmp/gone', 'w+'); u.write('held'); u.flush(); os.remove('/tmp/gone')
a = open('/tmp/d/a'); a.read(2)
ino = os.stat('/tmp/d/a').st_ino
os.chdir('/tmp/d')
print('ready', flush=True)
sys.stdin.read()
s = os.stat('a')
print(open('e/b').read(), os.readlink('s'), oct(s.st_mode), s.st_mtime, s.st_nlink, s.st_ino == ino)
print(a.read(), os.getcwd(), sorted(os.listdir()))
print(os.path.getsize('/tmp/big'), open('/tmp/big', 'rb').read()[-4:])
print(open('/etc/passwd').read().endswith('more'), os.path.exists('/etc/group'), os.path.exists('/etc/hosts'))
print(len(open('/tmp/hosts').read()) > 0, os.pread(u.fileno(), 9, 0), os.path.exists('/tmp/gone'))
os.remove('/tmp/d/a'); os.rmdir('/tmp/d') if False else None
print(sorted(os.listdir('/tmp/d')), len(os.listdir('/etc')) > 1, open('/dev/null').read() == '')
";
    assert_eq!(
        python(program, ""),
        "text a 0o100640 6.0 2 True\nxt /tmp/d ['a', 'e', 's']\n5242880 b'\\x00end'\n\
         True False False\nTrue b'held' False\n['e', 's'] True True\n"
    );
}

#[test]
fn socket_pairs_and_event_loops_go_on() {
    let program = "
import asyncio, socket, sys
a, b = socket.socketpair()
a.sendall(b'before')
async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_reader(0, lambda: done.done() or done.set_result(sys.stdin.readline()))
    print('ready', flush=True)
    print((await done).strip())
    await asyncio.sleep(0.01)
    print(await loop.run_in_executor(None, lambda: 6 * 7))
asyncio.run(main())
a.sendall(b' after')
a.shutdown(socket.SHUT_WR)
print(b.recv(6), b.recv(99), b.recv(9))
";
    assert_eq!(
        python(program, "line\n"),
        "line\n42\nb'before' b' after' b''\n"
    );
}

#[test]
fn connections_within_the_sandbox_go_on() {
    let program = "
import socket, sys
l = socket.socket(); l.bind(('127.0.0.1', 8080)); l.listen()
c = socket.create_connection(('127.0.0.1', 8080)); s, _ = l.accept()
c.sendall(b'unread')
print('ready', flush=True)
sys.stdin.read()
print(s.recv(99), s.getpeername() == c.getsockname())
s.sendall(b'back'); s.close()
print(c.recv(9), c.recv(9))
d = socket.create_connection(('127.0.0.1', 8080)); t, _ = l.accept()
t.sendall(b'new'); print(d.recv(9), l.getsockname())
";
    assert_eq!(
        python(program, ""),
        "b'unread' True\nb'back' b''\nb'new' ('127.0.0.1', 8080)\n"
    );
}

#[test]
fn a_request_to_the_kernels_own_server_is_answered_after_the_move() {
    let program = "
import socket
c = socket.create_connection(('169.254.100.1', 9001))
c.sendall(b'GET /next')
print('ready', flush=True)
print(c.recv(99), c.getpeername())
";
    let address = "169.254.100.1:9001".parse().unwrap();
    let machine = boot(Duration::ZERO);
    let listener = Listener::bind(&machine.system.net, address, 8).unwrap();
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let stream = listener.accept().unwrap();
    let mut request = [0; 99];
    assert_eq!(stream.read(&mut request), Ok(9));
    // An instance that waits for its next event is frozen; so is the copy until somebody thaws it.
    machine.system.kernel.freeze(limit()).unwrap();
    let next = move_house(machine);
    let resumed = next.system.net.take_resumed();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].write(b"an event"), Ok(8));
    assert_eq!(
        next.finish().expect_success(),
        "b'an event' ('169.254.100.1', 9001)\n"
    );
}

/// What the Runtime API told, without what a test does not look at.
fn told(events: &std::sync::mpsc::Receiver<RuntimeEvent>) -> Vec<RuntimeEvent> {
    events.try_iter().collect()
}

#[test]
fn the_runtime_api_goes_on_where_its_runtime_waited() {
    let program = "
import http.client
c = http.client.HTTPConnection('169.254.100.1:9001')
def get(path):
    c.request('GET', '/2018-06-01/runtime/' + path)
    return c.getresponse()
print('ready', flush=True)
print(get('restore/next').read())
r = get('invocation/next')
print(r.headers['Lambda-Runtime-Aws-Request-Id'], r.read())
c.request('POST', '/2018-06-01/runtime/invocation/r1/response', b'an answer')
print(c.getresponse().status)
";
    let address = "169.254.100.1:9001".parse().unwrap();
    let machine = boot(Duration::ZERO);
    let sink = |tell: std::sync::mpsc::Sender<RuntimeEvent>| -> sandbox_api::Sink {
        let tell = std::sync::Mutex::new(tell);
        Box::new(move |event| tell.lock().unwrap().send(event).unwrap())
    };
    let (tell, events) = std::sync::mpsc::channel();
    let net = &machine.system.net;
    let start = proto_sandbox::Initialization::SnapStart;
    let server = ApiServer::start(net, address, Limits::default(), start, sink(tell)).unwrap();
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    assert_eq!(
        told(&events),
        [RuntimeEvent::Connected, RuntimeEvent::RestorePoint]
    );
    let saved = server.save().unwrap();
    let next = move_house(machine);
    drop(server);

    let (tell, events) = std::sync::mpsc::channel();
    let net = &next.system.net;
    for bad in [
        &saved[..saved.len() - 1],
        &[saved.as_slice(), b"x"].concat(),
    ] {
        let (tell, _) = std::sync::mpsc::channel();
        let refused = ApiServer::load(net, address, Limits::default(), sink(tell), bad);
        assert!(matches!(refused.err(), Some(LoadError::Malformed(_))));
    }
    let server = ApiServer::load(net, address, Limits::default(), sink(tell), &saved).unwrap();
    assert!(server.resume(&[("KEY".to_owned(), "late".to_owned())]));
    let head = proto_sandbox::EventHead {
        request_id: "r1".to_owned(),
        ..Default::default()
    };
    let payload = b"an event".to_vec();
    server.deliver(Event { head, payload }).unwrap();
    assert_eq!(
        next.finish().expect_success(),
        "b'{\"environment\":{\"KEY\":\"late\"}}'\nr1 b'an event'\n202\n"
    );
    assert!(matches!(
        told(&events).as_slice(),
        [RuntimeEvent::Ready, RuntimeEvent::Response { payload, .. }] if payload == b"an answer"
    ));
}

#[test]
fn node_goes_on() {
    let program = "
const { Worker } = require('worker_threads');
const w = new Worker(`
  const { parentPort } = require('worker_threads');
  parentPort.on('message', n => parentPort.postMessage(n * 2));
`, { eval: true });
w.once('message', n => {
  console.log('ready');
  process.stdin.once('data', line => {
    w.once('message', m => {
      require('fs').readFile('/etc/passwd', 'utf8', (e, text) => {
        console.log(m, n, String(line).trim(), text.length > 0);
        setTimeout(() => process.exit(0), 5);
      });
    });
    w.postMessage(21);
  });
});
w.postMessage(1);
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/env", "node", "-e", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let next = move_house(machine);
    next.console.push_input(b"line\n");
    assert_eq!(next.finish().expect_success(), "42 2 line true\n");
}

#[test]
fn running_code_is_stopped_anywhere_and_goes_on_in_both() {
    let program = "
import sys, threading
total = [0] * 3
def work(i):
    for n in range(300_000): total[i] = (total[i] * 31 + n) % 1_000_003
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
print('ready', flush=True)
for t in threads: t.start()
for t in threads: t.join()
print(total, sum(range(10)))
";
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    let copies: Vec<_> = (0..3).map(|_| snapshot(&machine)).collect();
    let original = machine.finish().expect_success();
    for copy in copies {
        let next = enter(&copy.state, &copy.memory).expect("load");
        next.system.kernel.thaw();
        assert_eq!(next.finish().expect_success(), original);
    }
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

/// Locks of all three kinds, one of which a child waits for.
#[test]
fn file_locks_are_held_and_waited_for() {
    let program = "
import fcntl, os, struct, sys
def record(kind, start, length): return struct.pack('hhqqi', kind, os.SEEK_SET, start, length, 0)
def first(fd, command=fcntl.F_GETLK):
    kind, _, start, length, pid = struct.unpack('hhqqi4x', fcntl.fcntl(fd, command, record(fcntl.F_WRLCK, 0, 0) + bytes(4)))
    return kind == fcntl.F_UNLCK or (kind, start, length, pid)
def attempt(call):
    try: return call()
    except BlockingIOError: return 'held'
whole, ofd, mine = (open('/tmp/' + name, 'w+') for name in ('whole', 'ofd', 'mine'))
other = open('/tmp/whole', 'w+')
removed = open('/tmp/removed', 'w+'); os.remove('/tmp/removed')
fcntl.flock(whole, fcntl.LOCK_EX)
fcntl.flock(removed, fcntl.LOCK_SH)
fcntl.fcntl(ofd, fcntl.F_OFD_SETLK, record(fcntl.F_RDLCK, 5, 10) + bytes(4))
fcntl.lockf(mine, fcntl.LOCK_EX, 10, 3)
fcntl.lockf(mine, fcntl.LOCK_SH, 0, 100)
r, w = os.pipe()
if os.fork() == 0:
    os.close(w); ofd.close()
    fcntl.lockf(mine, fcntl.LOCK_EX, 4, 5)
    parents = first(mine)[:3]
    os.read(r, 1)
    os._exit(7 if parents == (fcntl.F_WRLCK, 3, 1) else 1)
os.close(r)
print('ready', flush=True)
sys.stdin.read()
again = open('/tmp/whole', 'w+')
print(attempt(lambda: fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)))
fcntl.flock(whole, fcntl.LOCK_UN)
print(attempt(lambda: fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)), attempt(lambda: fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)))
print(attempt(lambda: fcntl.flock(removed, fcntl.LOCK_EX | fcntl.LOCK_NB)))
print(first(ofd), first(ofd, fcntl.F_OFD_GETLK), first(open('/tmp/ofd', 'r+'), fcntl.F_OFD_GETLK))
ofd.close()
print(first(open('/tmp/ofd', 'r+'), fcntl.F_OFD_GETLK), flush=True)
fcntl.lockf(mine, fcntl.LOCK_UN, 8, 4)
while True:
    held = first(mine)
    if held is not True: break
print(held[:3], held[3] != os.getpid(), flush=True)
os.close(w)
print(os.waitstatus_to_exitcode(os.wait()[1]), first(mine))
";
    let output = python(program, "");
    assert_eq!(
        output,
        "held\nNone held\nNone\n(0, 5, 10, -1) True (0, 5, 10, -1)\nTrue\n(1, 5, 4) True\n7 True\n"
    );
}

/// Closing another descriptor of the file gives up the process's locks, and those of a child that is gone are gone.
#[test]
fn locks_of_a_process_end_with_its_descriptors() {
    let program = "
import fcntl, os, sys
a, b = open('/tmp/f', 'w+'), open('/tmp/f', 'w+')
fcntl.lockf(a, fcntl.LOCK_EX)
def seen():
    child = os.fork()
    if child == 0:
        try: fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB); os._exit(0)
        except OSError: os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print('ready', flush=True)
sys.stdin.read()
print(seen()); b.close(); print(seen())
";
    assert_eq!(python(program, ""), "1\n0\n");
}

/// A server at a path, one at an abstract name, their connections, and one whose path was removed.
#[test]
fn unix_sockets_with_names_go_on() {
    let program = "
import os, socket, sys
def server(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(name); s.listen(); return s
def client(name, own=None, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    if own: s.bind(own)
    s.connect(name); return s
os.chdir('/tmp')
path, abstract, gone = server('server'), server(b'\\0server'), server('gone')
packets = server('packets', socket.SOCK_SEQPACKET)
os.rename('server', 'moved'); os.remove('gone')
a = client('moved', 'own'); b, who = path.accept()
a.sendall(b'unread')
c = client(b'\\0server'); d, _ = abstract.accept()
e = client('packets', kind=socket.SOCK_SEQPACKET); f, _ = packets.accept()
e.send(b'one'); e.send(b'two')
names = [s.getsockname() for s in (path, abstract, gone, a, b, c, d)] + [s.getpeername() for s in (a, b, c, d)]
print('ready', flush=True)
sys.stdin.read()
print(names == [s.getsockname() for s in (path, abstract, gone, a, b, c, d)] + [s.getpeername() for s in (a, b, c, d)])
print(b.recv(99), f.recv(99), f.recv(99), names[7], names[8])
g = client('moved'); h, _ = path.accept(); h.sendall(b'new'); print(g.recv(9))
g = client(b'\\0server'); h, _ = abstract.accept(); h.sendall(b'again'); print(g.recv(9))
def attempt(call):
    try: return call()
    except OSError as error: return type(error).__name__
print(attempt(lambda: client('gone')), attempt(lambda: server(b'\\0server')), attempt(lambda: server('moved')))
abstract.close(); path.close()
print(attempt(lambda: client('moved')), attempt(lambda: client(b'\\0server')), server(b'\\0server').getsockname())
";
    assert_eq!(
        python(program, ""),
        "True\nb'unread' b'one' b'two' server own\nb'new'\nb'again'\n\
         FileNotFoundError OSError OSError\nConnectionRefusedError ConnectionRefusedError b'\\x00server'\n"
    );
}

/// Watches by the numbers they had, of what has another name by now, and the events that nobody has read.
#[test]
fn watches_of_files_go_on() {
    let program = "
import ctypes, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
CREATE, MODIFY, DELETE, ONESHOT = 0x100, 2, 0x200, 1 << 31
os.mkdir('/tmp/w'); os.chdir('/tmp/w'); os.mkdir('d'); open('f', 'w').close(); open('once', 'w').close()
fd = libc.inotify_init1(os.O_NONBLOCK)
def watch(name, mask): return libc.inotify_add_watch(fd, name, ctypes.c_uint32(mask))
def events():
    data, all = b'', []
    try: data = os.read(fd, 65536)
    except BlockingIOError: pass
    while data:
        wd, mask, cookie, size = struct.unpack('iIII', data[:16])
        all.append((wd, hex(mask), data[16:16 + size].rstrip(bytes(1)))); data = data[16 + size:]
    return all
first = watch(b'f', MODIFY); libc.inotify_rm_watch(fd, first); events()
print([watch(b'd', CREATE | DELETE), watch(b'f', MODIFY), watch(b'once', MODIFY | ONESHOT)], file=sys.stderr)
os.rename('f', 'g'); os.rename('d', 'e')
open('e/unread', 'w').close()
p = select.epoll(); p.register(fd, select.EPOLLIN)
print('ready', flush=True)
sys.stdin.read()
print(len(p.poll(0)), events(), len(p.poll(0)))
open('e/new', 'w').close(); os.remove('e/unread')
open('g', 'w').write('x'); open('once', 'w').write('x'); open('once', 'w').write('y')
print(events())
print(watch(b'g', MODIFY), watch(b'once', MODIFY), libc.inotify_rm_watch(fd, 2), events())
";
    assert_eq!(
        python(program, ""),
        "1 [(2, '0x100', b'unread')] 0\n\
         [(2, '0x100', b'new'), (2, '0x200', b'unread'), (3, '0x2', b''), (4, '0x2', b''), (4, '0x8000', b'')]\n\
         3 5 0 [(2, '0x8000', b'')]\n"
    );
}

/// Datagrams that wait, who they are from, a sender that waits for room, and a peer that is gone.
#[test]
fn unix_datagrams_go_on() {
    let program = "
import os, socket, sys, threading
def datagram(name=None, to=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if name: s.bind(name)
    if to: s.connect(to)
    return s
os.chdir('/tmp')
log, own = datagram('log'), datagram('own', 'log')
quiet = datagram(to='log')
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.send(b'pair')
own.send(b'first'); quiet.send(b'second')
lost = datagram('lost'); alone = datagram(to='lost'); lost.close()
full = datagram('full'); many = datagram(to='full'); many.setblocking(False)
sent = 0
while True:
    try: many.send(b'x'); sent += 1
    except BlockingIOError: break
many.setblocking(True)
blocked = threading.Thread(target=lambda: many.send(b'last')); blocked.start()
print('ready', flush=True)
sys.stdin.read()
print(log.recvfrom(99), log.recvfrom(99), b.recv(9), own.getpeername(), own.getsockname())
b.send(b'back'); print(a.recv(9))
own.send(b'third'); print(log.recvfrom(9)); log.sendto(b'answer', 'own'); print(own.recvfrom(9))
try: alone.send(b'x')
except ConnectionRefusedError: print('refused')
print([full.recv(9) for _ in range(sent)] == [b'x'] * sent, full.recv(9)); blocked.join()
datagram(to='full').send(b'more'); print(full.recv(9))
";
    assert_eq!(
        python(program, ""),
        "(b'first', 'own') (b'second', None) b'pair' log own\nb'back'\n(b'third', 'own')\n(b'answer', 'log')\n\
         refused\nTrue b'last'\nb'more'\n"
    );
}

#[test]
fn threads_blocked_in_many_calls_go_on() {
    let program = "
import fcntl, os, select, signal, socket, subprocess, sys, threading, time
results, lock = {}, threading.Lock()
def thread(name):
    def start(f):
        def run():
            value = f()
            with lock: results[name] = value
        t = threading.Thread(target=run); t.start(); threads.append(t)
    return start
threads = []
gate, push = os.pipe()
pipes = [os.pipe() for _ in range(3)]
a, b = socket.socketpair()
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
full = os.pipe(); fill = len(b'x' * 65536); os.write(full[1], b'x' * fill)
held, event, cond = threading.Lock(), threading.Event(), threading.Condition()
held.acquire()
cat = subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ep = select.epoll(); ep.register(pipes[1][0])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
thread('read')(lambda: os.read(pipes[0][0], 9))
thread('epoll')(lambda: len(ep.poll()))
thread('select')(lambda: len(select.select([pipes[2][0]], [], [])[0]))
thread('recv')(lambda: a.recv(9))
thread('accept')(lambda: l.accept()[0].recv(9))
thread('write')(lambda: os.write(full[1], b'y'))
thread('lock')(lambda: held.acquire())
thread('event')(lambda: event.wait())
thread('timed')(lambda: event.wait(3600))
thread('sleep')(lambda: time.sleep(0.6))
thread('wait')(lambda: cat.wait())
thread('signal')(lambda: signal.sigwait([signal.SIGUSR2]) == signal.SIGUSR2)
print('ready', flush=True)
sys.stdin.read()
for _, w in pipes: os.write(w, b'bytes')
b.send(b'bytes')
socket.create_connection(l.getsockname()).send(b'bytes')
os.read(full[0], fill)
held.release(); event.set()
os.kill(os.getpid(), signal.SIGUSR2)
cat.stdin.write(b'through'); cat.stdin.close()
out = cat.stdout.read()
for t in threads: t.join()
print(out, sorted(results.items()))
";
    assert_eq!(
        python(program, ""),
        "b'through' [('accept', b'bytes'), ('epoll', 1), ('event', True), ('lock', True), \
         ('read', b'bytes'), ('recv', b'bytes'), ('select', 1), ('signal', True), \
         ('sleep', None), ('timed', True), ('wait', 0), ('write', 1)]\n"
    );
}

#[test]
fn datagram_sockets_keep_their_addresses() {
    let program = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5300))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.connect(('127.0.0.1', 5300))
names = c.getsockname(), c.getpeername()
print('ready', flush=True)
sys.stdin.read()
c.send(b'ask'); data, who = s.recvfrom(9); s.sendto(b'answer', who)
print(data, c.recv(9), (c.getsockname(), c.getpeername()) == names, who == names[0])
";
    assert_eq!(python(program, ""), "b'ask' b'answer' True True\n");
}

/// Serves requests of the machine's programs; the receiver gets one word for each.
fn take_requests(machine: &Machine) -> std::sync::mpsc::Receiver<()> {
    let (tell, asked) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let taker = Arc::new(move || {
        let _ = tell.lock().unwrap().send(());
    });
    machine.system.snapshot_requests.serve(taker);
    asked
}

/// Starts a Python program that can [`ASK`]; gives what [`take_requests`] does.
fn start_asking(program: &str) -> (Machine, std::sync::mpsc::Receiver<()>) {
    let machine = boot(Duration::ZERO);
    let asked = take_requests(&machine);
    let program = format!("{ASK}{program}");
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", &program]);
    asked.recv_timeout(limit()).unwrap();
    (machine, asked)
}

const ASK: &str = "
import os
PATH = '/proc/rekindle/snapshot'
def state(): return open(PATH).read().strip()
def ask(flags=0):
    fd = os.open(PATH, os.O_WRONLY | flags)
    try: return os.write(fd, b'now')
    except OSError as e: return os.strerror(e.errno)
    finally: os.close(fd)
";

#[test]
fn a_program_is_captured_in_the_write_that_asks_for_it() {
    let program = "
print(state(), ask(), state(), flush=True)
print(ask(), state())
";
    let (machine, asked) = start_asking(program);
    machine.system.kernel.freeze(limit()).unwrap();
    let Snapshot { state, memory } = snapshot(&machine);
    let requests = &machine.system.snapshot_requests;
    assert!(requests.waiting());
    requests.captured();
    requests.resume();
    machine.system.kernel.thaw();
    // The next one is not granted.
    asked.recv_timeout(limit()).unwrap();
    requests.resume();
    assert_eq!(
        machine.finish().expect_success(),
        "none 3 captured\nOperation not supported captured\n"
    );

    let clone = enter(&state, &memory).expect("load");
    let asked = take_requests(&clone);
    clone.system.kernel.thaw();
    asked.recv_timeout(limit()).unwrap();
    clone.system.snapshot_requests.close();
    assert_eq!(
        clone.finish().expect_success(),
        "none 3 restored\nOperation not supported restored\n"
    );
}

#[test]
fn one_asks_at_a_time_and_whoever_comes_too_late_is_told_at_once() {
    let program = "
import threading
said = []
t = threading.Thread(target=lambda: said.append(ask())); t.start()
input()
print(ask(), flush=True)
input()
t.join(); print(said, ask(os.O_NONBLOCK), flush=True)
input()
print(ask(), ask(), state())
";
    let (machine, asked) = start_asking(program);
    let requests = &machine.system.snapshot_requests;
    machine.console.push_input(b"1\n");
    assert_eq!(wait_for(&machine, "\n"), "Device or resource busy\n");
    requests.busy();
    machine.console.push_input(b"2\n");
    assert_eq!(
        wait_for(&machine, "\n"),
        "['Device or resource busy'] Resource temporarily unavailable\n"
    );
    asked.recv_timeout(limit()).unwrap();
    requests.captured();
    requests.close();
    machine.console.push_input(b"3\n");
    assert_eq!(
        machine.finish().expect_success(),
        "3 Operation not supported captured\n"
    );
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_handler_that_interrupts_the_write_does_not_undo_it() {
    let program = "
import signal
signal.signal(signal.SIGUSR1, lambda *a: print('handled', flush=True))
print(ask(), state())
";
    let (machine, _asked) = start_asking(program);
    wait_until_asleep(&machine);
    let kernel = &machine.system.kernel;
    let init = Arc::clone(&kernel.tree.lock().links(1).unwrap().process);
    let info = kernel_core::signal::siginfo::kernel();
    let _ = kernel.send_to_process(&init, kernel_core::signal::Signal::USR1, info);
    wait_for(&machine, "handled\n");
    wait_until_asleep(&machine);
    let next = move_house(machine);
    assert_eq!(next.finish().expect_success(), "3 restored\n");
}

/// To the program, memory that comes from an image is what it was: written pages are private, discarded
/// ones read as zeros, moved and grown ones keep what they hold, forks are apart.
const MEMORY_PROGRAM: &str = "
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
P = 4096
def fill(m):
    for i in range(0, 64, 2): m[i * P] = 65
def sees(m, pages): return [m[i * P] for i in pages]
def address(m): return ctypes.addressof(ctypes.c_char.from_buffer(m))
private = mmap.mmap(-1, 64 * P, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
hidden = mmap.mmap(-1, 64 * P, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 64 * P)
for m in private, hidden, shared: fill(m)
at = address(hidden)
assert libc.mprotect(ctypes.c_void_p(at), 64 * P, 0) == 0
file = open('/tmp/mapped', 'wb+'); file.write(b'f' * 8 * P); file.flush()
mapped = mmap.mmap(file.fileno(), 8 * P, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
mapped[P] = 65
mapped[2 * P:3 * P] = bytes(P)
gate = os.pipe()
child = os.fork()
if child == 0:
    os.read(gate[0], 1)
    os._exit(66 if shared[7 * P] == 7 and private[0] == 65 else 1)
print('ready', flush=True)
sys.stdin.readline()
assert libc.mprotect(ctypes.c_void_p(at), 64 * P, 3) == 0
print(sees(private, range(4)), sees(hidden, range(4)), sees(shared, range(4)), sees(mapped, range(4)))
private.madvise(mmap.MADV_DONTNEED, 0, 10 * P)
mapped.madvise(mmap.MADV_DONTNEED)
print(sees(private, (0, 8, 10, 12)), sees(mapped, range(4)))
private.resize(128 * P)
print(sees(private, (0, 10, 11, 62, 64, 127)))
private[12 * P] = 1
other = os.fork()
if other == 0:
    private[14 * P] = 9
    os._exit(sum(sees(private, (12, 14))))
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]), sees(private, (12, 14)))
shared[7 * P] = 7
os.write(gate[1], b'x')
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

const MEMORY_OUTPUT: &str = "[65, 0, 65, 0] [65, 0, 65, 0] [65, 0, 65, 0] [102, 65, 0, 102]
[0, 0, 65, 65] [102, 102, 102, 102]
[0, 65, 0, 65, 0, 0]
10 [1, 65]
66
";

#[test]
fn memory_from_an_image_is_what_it_was() {
    for moves in 0..3 {
        let mut machine = boot(Duration::ZERO);
        machine.start(&["/usr/bin/python3", "-I", "-S", "-c", MEMORY_PROGRAM]);
        wait_for(&machine, "ready\n");
        for _ in 0..moves {
            // A clone is captured like any other: what it never wrote comes from the image before.
            wait_until_asleep(&machine);
            machine = move_house(machine);
            // Pages copied ahead are what they were; places that are none of the image are left alone.
            let tree = machine.system.kernel.tree.lock();
            let mms: Vec<_> = tree.tasks().map(|task| task.mm()).collect();
            drop(tree);
            for mm in &mms {
                let all: Vec<_> = mm.vmas().iter().map(|vma| vma.start..vma.end).collect();
                mm.touch(&all);
                mm.touch(&[0..PAGE, 1..PAGE, 0..u64::MAX - u64::MAX % PAGE]);
                assert!(!mm.written_of_snapshot().is_empty());
                let read = mm.read_of_files();
                mm.read_ahead(&read);
                mm.read_ahead(&all);
                mm.read_ahead(&[0..PAGE, 1..PAGE, 0..u64::MAX - u64::MAX % PAGE]);
            }
        }
        machine.console.push_input(b"\n");
        let output = machine.finish().expect_success();
        assert_eq!(output, MEMORY_OUTPUT, "after {moves} moves");
    }
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
