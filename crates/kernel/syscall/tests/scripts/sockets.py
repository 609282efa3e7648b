"""Sockets of every kind, and calls that must fail: prints the same on Linux and in a sandbox."""
import array, ctypes, errno, os, select, signal, socket, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    ctypes.set_errno(0)
    n = getattr(libc, name)(*args)
    print(name, n if n >= 0 else errno.errorcode[ctypes.get_errno()])
    return n


def outcome(name, f):
    try:
        print(name, f())
    except OSError as e:
        print(name, type(e).__name__, e.errno and errno.errorcode[e.errno])


# A connection with more bytes than all buffers hold.
s = socket.create_server(("127.0.0.1", 0))
def echo():
    c, _ = s.accept()
    with c:
        while data := c.recv(65536):
            c.sendall(data)
t = threading.Thread(target=echo); t.start()
c = socket.create_connection(s.getsockname())
big = bytes(range(256)) * 8000; got = bytearray()
def take():
    while len(got) < len(big): got.extend(c.recv(65536))
r = threading.Thread(target=take); r.start(); c.sendall(big); r.join()
c.shutdown(socket.SHUT_WR); print("echo", bytes(got) == big, c.recv(1)); c.close(); t.join()

# Timeouts, refusals, signals.
c = socket.socket(); c.connect(s.getsockname())
c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
t0 = time.monotonic(); outcome("rcvtimeo", lambda: c.recv(1)); print(time.monotonic() - t0 >= 0.04)
outcome("refused", lambda: socket.create_connection(("127.0.0.1", 1)))
class Rang(Exception): pass
def ring(*_): raise Rang
quiet = socket.create_server(("127.0.0.1", 0))
signal.signal(signal.SIGALRM, ring)
# Where a move takes longer than the timer, it rings before the call.
try: signal.setitimer(signal.ITIMER_REAL, 0.05); quiet.accept()
except Rang: print("interrupted")
a, b = socket.socketpair(); b.send(b"1234")
later = threading.Timer(0.05, lambda: b.send(b"5678")); later.start(); print("waitall", a.recv(8, socket.MSG_WAITALL))
later.join()  # a call that goes on keeps its socket open, whoever closes the number
six = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
c4 = socket.create_connection(("127.0.0.1", six.getsockname()[1])); print("dual", six.accept()[1][0])

# Datagrams, one by one and many at once.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.connect(u.getsockname())
v.sendmsg([b"a", b"bc"]); print("gather", u.recv(9)); os.writev(v.fileno(), [b"de", b"f"]); print("writev", u.recv(9))
v.send(b"x" * 100); print("trunc", u.recvmsg(10)[2] == socket.MSG_TRUNC)
buf = ctypes.create_string_buffer(64); iov = (ctypes.c_uint64 * 2)(ctypes.addressof(buf), 8)
def header(name=0, namelen=0, iovs=ctypes.addressof(iov), n=1, control=0, clen=0):
    return struct.pack("QiIQQQQiI", name, namelen, 0, iovs, n, control, clen, 0, 0)
many = ctypes.create_string_buffer((header() + bytes(8)) * 3, 192)
call("sendmmsg", v.fileno(), many, 3, 0)
call("recvmmsg", u.fileno(), many, 3, socket.MSG_DONTWAIT, None)
call("recvmmsg", u.fileno(), many, 3, socket.MSG_DONTWAIT, None)

# Unix sockets: paths, descriptors, credentials.
p = "path.sock"
us = socket.socket(socket.AF_UNIX); us.bind(p); us.listen(1); print(os.path.exists(p), us.getsockname())
uc = socket.socket(socket.AF_UNIX); uc.connect(p); ua, _ = us.accept()
print("peercred", struct.unpack("3i", ua.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == os.getpid())
outcome("in use", lambda: socket.socket(socket.AF_UNIX).bind(p))
os.unlink(p); outcome("gone", lambda: socket.socket(socket.AF_UNIX).connect(p))
open(p, "w").close(); outcome("not a socket", lambda: socket.socket(socket.AF_UNIX).connect(p))
rfd, wfd = os.pipe(); socket.send_fds(a, [b"fd"], [wfd]); os.close(wfd)
_, fds, _, _ = socket.recv_fds(b, 10, 3); os.write(fds[0], b"via"); print("rights", os.read(rfd, 9))
socket.send_fds(a, [b"fd"], [rfd]); print("no room", b.recvmsg(10, 0)[1:3] == ([], socket.MSG_CTRUNC))
rights = lambda n: [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", n))]
outcome("bad fd", lambda: a.sendmsg([b"x"], rights([999])))
outcome("too many", lambda: a.sendmsg([b"x"], rights([rfd] * 254)))
b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1); a.send(b"who")
data, anc, _, _ = b.recvmsg(9, 64); print(data, [(x[1], struct.unpack("3i", x[2])[0] == os.getpid()) for x in anc])

# Calls that cannot be.
fd = u.fileno(); addr = struct.pack("=H", 2) + bytes(14)
call("socket", 2, 99, 0); call("socket", 99, 1, 0); call("socket", 2, 1, 17); call("socketpair", 2, 1, 0, buf)
call("bind", fd, addr, 16); call("bind", fd, addr, -1); call("bind", fd, addr, 129); call("bind", rfd, addr, 16)
call("bind", s.fileno(), ctypes.c_void_p(8), 16); call("connect", fd, addr, 3)
call("accept4", s.fileno(), None, None, 0x10); call("accept", fd, None, None)
call("listen", fd, 1); call("shutdown", fd, 9); call("shutdown", 999, 0)
length = ctypes.c_int(-1)
call("getsockname", fd, buf, ctypes.byref(length)); call("getsockname", fd, None, ctypes.byref(ctypes.c_int(16)))
call("getsockopt", fd, 1, 3, buf, ctypes.byref(length)); call("getsockopt", fd, 1, 999, buf, ctypes.byref(ctypes.c_int(4)))
call("setsockopt", fd, 1, 2, buf, -1); call("setsockopt", fd, 1, 2, buf, 2); call("setsockopt", fd, 1, 2, ctypes.c_void_p(8), 4)
call("sendmsg", v.fileno(), header(n=1025), 0); call("sendmsg", v.fileno(), header(namelen=-1, name=8), 0)
call("sendmsg", v.fileno(), header(iovs=8), 0); call("sendmsg", v.fileno(), ctypes.c_void_p(8), 0)
bad = ctypes.create_string_buffer(struct.pack("Qii", 99, 1, 1), 16)
call("sendmsg", a.fileno(), header(control=ctypes.addressof(bad), clen=16), 0)
call("sendto", v.fileno(), buf, 70000, 0, None, 0); call("send", v.fileno(), ctypes.c_void_p(8), 4, 0)
call("recv", fd, buf, 4, socket.MSG_DONTWAIT); call("send", a.fileno(), buf, 4, socket.MSG_OOB if False else 0)

# A broken connection sends a signal unless told not to.
b.close()
call("send", a.fileno(), buf, 1, socket.MSG_NOSIGNAL)
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    libc.write(a.fileno(), buf, 1)
    os._exit(1)
print("killed by", os.WTERMSIG(os.waitpid(pid, 0)[1]))

# Readiness.
ep = select.epoll(); l = socket.create_server(("127.0.0.1", 0)); ep.register(l, select.EPOLLIN | select.EPOLLET)
cc = socket.socket(); cc.setblocking(False); print(errno.errorcode[cc.connect_ex(l.getsockname())])
print(ep.poll(1) == [(l.fileno(), 1)], ep.poll(0)); ep.register(cc, select.EPOLLOUT | select.EPOLLRDHUP); print(ep.poll(1) == [(cc.fileno(), 4)])
x, _ = l.accept(); x.close(); print(ep.poll(1) == [(cc.fileno(), 4 | 0x2000)], cc.recv(1))
