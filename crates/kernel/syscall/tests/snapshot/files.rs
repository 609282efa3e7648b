//! Pipes, event files, files, their locks and watches.

use crate::moving::python;

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

/// The files of calls that sleep have no number any more, or it is that of another file.
#[test]
fn calls_stay_with_their_files() {
    let program = "
import array, os, select, socket, sys, threading
def start(call, nr):
    got, tid = [], []
    def body(): tid.append(threading.get_native_id()); got.append(call())
    t = threading.Thread(target=body); t.start()
    while not tid or open(f'/proc/self/task/{tid[0]}/syscall').read().split()[0] != str(nr): os.sched_yield()
    return lambda: (t.join(), got[0])[1]
def other(what):
    r, w = os.pipe(); os.write(w, what); return r
r, w = os.pipe(); closed = start(lambda: os.read(r, 9), 0); os.close(r)
s, w2 = os.pipe(); replaced = start(lambda: os.read(s, 9), 0); os.dup2(other(b'other'), s)
p, w3 = os.pipe(); q = select.poll(); q.register(p, select.POLLIN); polled = start(lambda: [e for _, e in q.poll()], 7)
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.setblocking(False); sent = 0
try:
    while True: sent += a.send(b'x' * 4096) > 0
except BlockingIOError: a.setblocking(True)
gift = other(b'gift'); give = start(lambda: a.sendmsg([b'm'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [gift]))]), 46); os.close(gift); os.close(p)
print('ready', flush=True)
sys.stdin.read()
os.write(w, b'closed'); os.write(w2, b'replaced'); os.write(w3, b'polled')
print(closed(), replaced(), polled())
for _ in range(sent): b.recv(4096)
data, control, _, _ = b.recvmsg(10, 100)
print(give(), data, os.read(array.array('i', control[0][2])[0], 20))
";
    assert_eq!(
        python(program, ""),
        "b'closed' b'replaced' [32]\n1 b'm' b'gift'\n"
    );
}

#[test]
fn files_go_on_sending_signals() {
    let program = "
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO, signal.SIGRTMIN})
r, w = os.pipe()
fcntl.fcntl(r, fcntl.F_SETOWN, os.getpid()); fcntl.fcntl(r, 10, signal.SIGRTMIN); fcntl.fcntl(r, fcntl.F_SETFL, 0o20000)
print('ready', flush=True)
sys.stdin.read()
os.write(w, b'x')
info = signal.sigtimedwait({signal.SIGIO, signal.SIGRTMIN}, 20)
print(info.si_signo == signal.SIGRTMIN, info.si_band, fcntl.fcntl(r, fcntl.F_GETOWN) == os.getpid(), fcntl.fcntl(r, 11) == signal.SIGRTMIN)
";
    assert_eq!(python(program, ""), "True 65 True True\n");
}
