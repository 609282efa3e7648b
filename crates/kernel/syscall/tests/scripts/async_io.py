"""Signal-driven I/O: prints the same on Linux and in a sandbox."""
import array, ctypes, errno, fcntl, os, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True); libc.syscall.restype = ctypes.c_long
IO, URG, RT = signal.SIGIO, signal.SIGURG, signal.SIGRTMIN
waited = {IO, URG, RT}
signal.pthread_sigmask(signal.SIG_BLOCK, waited)
SETOWN, GETOWN, SETSIG, GETSIG, SETOWN_EX, GETOWN_EX = 8, 9, 10, 11, 15, 16
FIOASYNC, FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP = 0x5452, 0x8901, 0x8902, 0x8903, 0x8904
def named(f):
    try: return f()
    except OSError as e: return errno.errorcode[e.errno]
def control(fd, command, arg=0): return named(lambda: fcntl.fcntl(fd, command, arg))
def request(fd, command, value=0):
    def ask():
        raw = array.array('i', [value]); fcntl.ioctl(fd, command, raw); return raw[0]
    return named(ask)
def owner(fd): return named(lambda: struct.unpack('ii', fcntl.fcntl(fd, GETOWN_EX, struct.pack('ii', 9, 9))))
def taken(seconds=20):
    info = ctypes.create_string_buffer(128)
    n = libc.syscall(128, ctypes.c_char_p(struct.pack('Q', sum(1 << (s - 1) for s in waited))), info, ctypes.c_char_p(struct.pack('qq', seconds, 0)), 8)
    if n < 0: return errno.errorcode[ctypes.get_errno()]
    code, band, fd = struct.unpack_from('i4xqi', info, 8)
    return {IO: 'IO', URG: 'URG', RT: 'RT'}[n], code, (hex(band), fd) if code > 0 and code != 0x80 else None
def rest():
    while taken(0) != 'EAGAIN': pass
def on(fd, flag=os.O_NONBLOCK | 0o20000): return control(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | flag)
def off(fd): return control(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~0o20000)
def is_on(fd): return fcntl.fcntl(fd, fcntl.F_GETFL) & 0o20000 != 0
me, group = os.getpid(), os.getpgrp()
gone = os.fork()
if gone == 0: os._exit(0)
os.waitpid(gone, 0)
# Owners
r, w = os.pipe()
print('owners', control(r, GETOWN), owner(r), control(r, SETOWN, me), control(r, GETOWN) == me, owner(r) == (1, me), control(r, SETOWN, -group), owner(r) == (2, group), control(r, SETOWN, 0), control(r, GETOWN))
print(control(r, SETOWN, gone), control(r, SETOWN, -gone), control(r, SETOWN, -2**31), control(r, SETOWN_EX, struct.pack('ii', 1, gone)), control(r, SETOWN_EX, struct.pack('ii', 3, me)), control(r, SETOWN_EX, struct.pack('ii', -1, me)))
for kind, number in (0, me), (1, me), (2, group): print(len(control(r, SETOWN_EX, struct.pack('ii', kind, number))), owner(r) == (kind, number))
print(control(r, SETSIG, 65), control(r, SETSIG, -1), control(r, GETSIG), control(r, SETSIG, 10), control(r, GETSIG), control(r, SETSIG, 0), control(r, GETSIG))
child = os.fork()
if child == 0:
    os.read(r, 1); os._exit(0)
control(w, SETOWN, child); a = control(w, GETOWN) == child; os.write(w, b'x'); os.waitpid(child, 0); print('an owner that ended', a, control(w, GETOWN))
print('requests of a pipe', request(r, FIOSETOWN, me), request(r, SIOCGPGRP), 'of a socket', end=' ')
s, t = socket.socketpair()
print(request(s, FIOSETOWN, me) == me, request(s, FIOGETOWN) == me, request(s, SIOCGPGRP) == me, request(s, SIOCSPGRP, -group) == -group, owner(s) == (2, group), request(s, SIOCSPGRP, gone), request(s, FIOSETOWN, -2**31))
# Pipes
r, w = os.pipe(); control(r, SETOWN, me); os.write(w, b'x'); print('not asked', taken(0)); print(on(r), is_on(r)); os.write(w, b'x'); print('pipe', taken(), taken(0))
control(r, SETSIG, RT); os.write(w, b'x'); got = taken(); print('details', got[:2], got[2] == ('0x41', r)); d = os.dup(r); os.write(w, b'x'); got = taken(); print('of the number it was asked with', got[2][1] == r, is_on(d))
print(off(d), is_on(r)); os.write(w, b'x'); print('off', taken(0)); print(request(r, FIOASYNC, 1), is_on(r)); os.write(w, b'x'); print(taken()[:2], request(r, FIOASYNC, 0), is_on(r)); os.write(w, b'x'); print(taken(0))
r, w = os.pipe(); os.set_blocking(w, False); control(w, SETOWN, me); control(w, SETSIG, RT); os.write(w, b'x' * 65536); on(w); os.read(r, 65536); got = taken(); print('room', got[:2], got[2] == ('0x304', w)); rest()
os.close(r); got = taken(); print('the last reader leaves', got[0]); rest(); os.close(w)
r, w = os.pipe(); on(r); os.write(w, b'x'); print('nobody owns it', taken(0))
# Sockets
for make in lambda: socket.socketpair(), lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
    a, b = make(); control(a.fileno(), SETOWN, me); on(a.fileno()); b.send(b'x'); print('socket', taken()); rest()
    control(a.fileno(), SETSIG, RT); b.send(b'x'); got = taken(); print(got[:2], got[2] == ('0x41', a.fileno())); rest(); a.close(); b.close(); rest()
l = socket.create_server(('127.0.0.1', 0)); control(l.fileno(), SETOWN, me); on(l.fileno()); c = socket.create_connection(l.getsockname()); print('a connection comes', taken()); rest(); a, _ = l.accept(); rest()
control(a.fileno(), SETOWN, me); c.send(b'!', socket.MSG_OOB); print('urgent, unasked', taken(), taken(0)); on(a.fileno()); c.send(b'x'); print('tcp', taken()); rest()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); control(u.fileno(), SETOWN_EX, struct.pack('ii', 0, me)); on(u.fileno()); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b'x', u.getsockname()); print('udp', taken()); rest()
# A terminal owns itself to who asks
m, slave = os.openpty(); import tty; tty.setraw(slave); on(slave); print('terminal', control(slave, GETOWN) == me); os.write(m, b'x'); print(taken()); rest()
# A group
r, w = os.pipe(); ready, tell = os.pipe()
child = os.fork()
if child == 0:
    os.setpgid(0, 0); os.write(tell, b'r'); got = taken(); os._exit(0 if got[0] == 'IO' else 1)
os.read(ready, 1); print('group', control(r, SETOWN, -child), on(r)); os.write(w, b'x'); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), taken(0))
# What sends none
f = os.open('file', os.O_RDWR | os.O_CREAT); e = os.eventfd(0)
for fd in f, e: print('none', on(fd), is_on(fd), request(fd, FIOASYNC, 1), request(fd, FIOASYNC, 0), control(fd, SETOWN, me), control(fd, GETOWN) == me)
p = os.open('file', os.O_PATH); print('a place', control(p, SETOWN, me), control(p, GETOWN), control(p, SETSIG, 1))
# A handler
import threading
got = []; signal.signal(IO, lambda number, frame: got.append(number)); r, w = os.pipe(); control(r, SETOWN, me); on(r); os.write(w, b'x'); signal.pthread_sigmask(signal.SIG_UNBLOCK, {IO}); off(r); print('handled', got == [IO], os.read(r, 9))
signal.pthread_sigmask(signal.SIG_BLOCK, waited)
