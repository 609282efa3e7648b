"""Calls that wait stay with the open file they began with, whatever becomes of its number meanwhile: prints the same on Linux
and in a sandbox."""
import array, ctypes, errno, fcntl, os, select, signal, socket, struct, threading
libc = ctypes.CDLL(None, use_errno=True)

def waits(call, *numbers):
    """A thread that makes the call. It is asleep in one of these system calls when this returns."""
    got, tid = [], []
    def body():
        tid.append(threading.get_native_id())
        try: got.append(call())
        except OSError as e: got.append(errno.errorcode[e.errno])
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    while not tid: os.sched_yield()
    while not got:
        try: now = open(f'/proc/self/task/{tid[0]}/syscall').read().split()[0]
        except FileNotFoundError: break
        if now.isdigit() and int(now) in numbers and state(tid[0]) == 'S': break
        os.sched_yield()
    def result():
        thread.join(20)
        return got[0] if got else 'waits for ever'
    return result

def state(tid):
    return open(f'/proc/self/task/{tid}/stat').read().rsplit(')', 1)[1].split()[0]

def other(what=b'OTHER FILE'):
    """A pipe that holds something, and takes more."""
    r, w = os.pipe(); os.write(w, what)
    return r, w

def full():
    r, w = os.pipe(); os.write(w, b'f' * 65536)
    return r, w

# Reading
for how in 'close', 'dup2':
    r, w = os.pipe(); r2, w2 = other()
    got = waits(lambda: os.read(r, 100), 0)
    keep = os.dup(r)
    os.close(r) if how == 'close' else os.dup2(r2, r)
    os.write(w, b'old pipe'); print('read', how, got())
r, w = os.pipe()
got = waits(lambda: os.readv(r, [bytearray(4), bytearray(4)]), 19)
os.close(r); os.write(w, b'still'); print('the end of a reader lives', got())
try: os.write(w, b'x')
except OSError as e: print('and then not', errno.errorcode[e.errno])
e = os.eventfd(0); got = waits(lambda: os.eventfd_read(e), 0); twin = os.dup(e); r2, w2 = other(); os.dup2(r2, e)
os.eventfd_write(twin, 5); print('eventfd', got())
# Writing
r, w = full(); r2, w2 = os.pipe()
got = waits(lambda: os.write(w, b'late' * 1024), 1); os.dup2(w2, w)
print('write', len(os.read(r, 65536)), got(), os.read(r, 9)); os.set_blocking(r2, False)
try: print(os.read(r2, 9))
except BlockingIOError: print('nothing in the other')
# Sockets
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET:
    a, b = socket.socketpair(socket.AF_UNIX, kind); c, d = socket.socketpair(socket.AF_UNIX, kind); d.send(b'other')
    got = waits(lambda: a.recv(100), 45); keep = os.dup(a.fileno()); os.dup2(c.fileno(), a.fileno()); b.send(b'mine'); print('recv', got())
listener = socket.create_server(('127.0.0.1', 0)); place = listener.getsockname()
client = socket.create_connection(place); served, _ = listener.accept()
got = waits(lambda: served.recv(100), 45); keep = os.dup(served.fileno()); os.dup2(other()[0], served.fileno())
client.send(b'tcp'); print('recv', got())
got = waits(lambda: listener._accept()[0], 43, 288); keep = os.dup(listener.fileno()); os.dup2(other()[0], listener.fileno())
client = socket.create_connection(place); print('accept', socket.socket(fileno=got()).getsockname() == place)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); at = u.getsockname()
got = waits(lambda: u.recvmsg(100)[0], 47); keep = os.dup(u.fileno()); os.dup2(other()[0], u.fileno())
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b'udp', at); print('recvmsg', got())
# What goes along is what it was
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.setblocking(False); sent = 0
try:
    while True: sent += a.send(b'x' * 4096) > 0
except BlockingIOError: pass
a.setblocking(True)
r, w = other(b'sent along'); r2, w2 = other()
got = waits(lambda: a.sendmsg([b'with'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r]))]), 46)
os.dup2(r2, r)
for _ in range(sent): b.recv(4096)
data, control, _, _ = b.recvmsg(10, 100); print('sendmsg', got(), data, os.read(array.array('i', control[0][2])[0], 20))
# A full backlog
path = 'full'; s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(0)
one = socket.socket(socket.AF_UNIX); one.connect(path)
two = socket.socket(socket.AF_UNIX); got = waits(lambda: two.connect(path), 42); keep = socket.socket(fileno=os.dup(two.fileno())); os.dup2(other()[0], two.fileno())
s.accept(); print('connect', got(), keep.getpeername() == path)
# Waiting for several: the old file wakes, the answer is about what the number is by then
for how in 'close', 'ready', 'not ready':
    for name, nr in ('poll', (7, 271)), ('select', (23, 270)):
        r, w = os.pipe(); r2, w2 = other() if how == 'ready' else os.pipe()
        def call():
            if name == 'select': return select.select([r], [], [], 20)[0] == [r]
            p = select.poll(); p.register(r, select.POLLIN); return [e for _, e in p.poll(20_000)]
        got = waits(call, *nr); keep = os.dup(r)
        os.close(r) if how == 'close' else os.dup2(r2, r)
        if how == 'not ready':
            os.write(w2, b'now')
        os.write(w, b'old'); print(name, how, got())
ep = select.epoll(); r, w = os.pipe(); ep.register(r, select.EPOLLIN)
got = waits(lambda: [e for _, e in ep.poll()], 232, 281); keep = os.dup(ep.fileno()); os.dup2(other()[0], ep.fileno())
os.write(w, b'x'); print('epoll', got())
# Locks
open('locked', 'w').write('x' * 10); open('elsewhere', 'w').write('y')
a = os.open('locked', os.O_RDWR); b = os.open('locked', os.O_RDWR); fcntl.flock(a, fcntl.LOCK_EX)
got = waits(lambda: fcntl.flock(b, fcntl.LOCK_EX), 73); keep = os.dup(b); c = os.open('elsewhere', os.O_RDWR); os.dup2(c, b)
fcntl.flock(a, fcntl.LOCK_UN); print('flock', got())
try: fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB); print('it was the other file that was locked')
except BlockingIOError: print('locked')
for ofd in False, True:
    ready, told = os.pipe(); done, tell = os.pipe()
    child = os.fork()
    if child == 0:
        f = os.open('locked', os.O_RDWR); fcntl.lockf(f, fcntl.LOCK_EX); os.write(told, b'r'); os.read(done, 1); os._exit(0)
    os.read(ready, 1); b = os.open('locked', os.O_RDWR)
    lock = struct.pack('hhqqi4x', 1, 0, 0, 0, 0)
    got = waits(lambda: fcntl.fcntl(b, 38 if ofd else fcntl.F_SETLKW, lock) == lock, 72); keep = os.dup(b); os.dup2(c, b)
    os.write(tell, b'd'); os.waitpid(child, 0); print('fcntl', ofd, got())
    child = os.fork()
    if child == 0:
        try: fcntl.lockf(os.open('locked', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB); os._exit(0)
        except OSError: os._exit(1)
    print('locked by it', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])); os.close(keep)
# Two sides
r, w = os.pipe(); r2, w2 = os.pipe()
got = waits(lambda: os.splice(r, w2, 100), 275); keep = os.dup(r), os.dup(w2); os.dup2(other()[0], r); os.dup2(other()[1], w2)
os.write(w, b'moved'); print('splice', got(), os.read(r2, 10))
r, w = os.pipe(); r2, w2 = os.pipe()
got = waits(lambda: libc.tee(r, w2, 100, 0), 276); keep = os.dup(r); os.dup2(other()[0], r); os.write(w, b'copied'); print('tee', got(), os.read(r2, 10), os.read(r, 10))
f = os.open('locked', os.O_RDWR); r, w = full(); got = waits(lambda: os.sendfile(w, f, 0, 10), 40); os.dup2(other()[1], w); os.close(f)
print('sendfile', len(os.read(r, 65536)), got(), os.read(r, 20))
# A process
child = os.fork()
if child == 0: signal.pause(); os._exit(0)
p = os.pidfd_open(child); got = waits(lambda: os.waitid(os.P_PIDFD, p, os.WEXITED).si_status, 247); os.dup2(c, p); os.kill(child, 9); print('waitid', got())
