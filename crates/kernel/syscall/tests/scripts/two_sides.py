"""Calls with two sides wait for the side that is not ready, and wake when it is: prints the same on Linux and in a sandbox."""
import ctypes, errno, fcntl, os, signal, socket, struct, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
signal.signal(signal.SIGPIPE, lambda *a: print('SIGPIPE', end=' '))
def call(number, *args):
    n = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return n if n >= 0 else errno.errorcode[ctypes.get_errno()]
def waits(number, *args):
    """A thread that makes the call; it is asleep in it, or done, when this returns."""
    got, tid = [], []
    def body(): tid.append(threading.get_native_id()); got.append(call(number, *args))
    thread = threading.Thread(target=body, daemon=True); thread.start()
    while not tid: os.sched_yield()
    while not got:
        try: now = open(f'/proc/self/task/{tid[0]}/syscall').read().split()[0]; state = open(f'/proc/self/task/{tid[0]}/stat').read().rsplit(')', 1)[1].split()[0]
        except FileNotFoundError: break
        if now == str(number) and state == 'S': break
        os.sched_yield()
    early = bool(got)
    def result():
        thread.join(20)
        return ('at once ' if early else '') + str(got[0] if got else 'waits for ever')
    return result
def pipe(holds=0):
    r, w = os.pipe(); os.write(w, b'p' * holds); return r, w
def stuffed():
    a, b = socket.socketpair(); a.setblocking(False)
    try:
        while True: a.send(b's' * 65536)
    except BlockingIOError: a.setblocking(True)
    return a, b
def empty(fd):
    os.set_blocking(fd, False)
    try:
        while os.read(fd, 1 << 16): pass
    except BlockingIOError: os.set_blocking(fd, True)
SPLICE, TEE, VMSPLICE, SENDFILE, NOW = 275, 276, 278, 40, 2
f = os.open('file', os.O_RDWR | os.O_CREAT); os.write(f, b'f' * 8192)
# From pipe to pipe
for nr, args in (SPLICE, lambda r, w, flags=0: (r, 0, w, 0, 100, flags)), (TEE, lambda r, w, flags=0: (r, w, 100, flags)):
    r, w = pipe(); r2, w2 = pipe(); got = waits(nr, *args(r, w2)); os.write(w, b'x' * 10); print(nr, 'empty', got())
    r, w = pipe(10); r2, w2 = pipe(65536); got = waits(nr, *args(r, w2)); os.read(r2, 65536); print(nr, 'full', got())
    r, w = pipe(); r2, w2 = pipe(65536); got = waits(nr, *args(r, w2)); os.write(w, b'x' * 10); os.read(r2, 65536); print(nr, 'both', got())
    r, w = pipe(); r2, w2 = pipe(65536); got = waits(nr, *args(r, w2)); os.read(r2, 65536); os.write(w, b'x' * 10); print(nr, 'both', got())
    r, w = pipe(); r2, w2 = pipe(); got = waits(nr, *args(r, w2)); os.close(w); print(nr, 'no writer', got())
    r, w = pipe(10); r2, w2 = pipe(65536); got = waits(nr, *args(r, w2)); os.close(r2); print(nr, 'no reader', got())
    r, w = pipe(10); r2, w2 = pipe(); os.close(r2); print(nr, 'no reader at all', call(nr, *args(r, w2)))
    r, w = pipe(); r2, w2 = pipe(); os.close(r2); print(nr, 'nothing to nobody', call(nr, *args(r, w2, NOW))); os.close(w); print(nr, 'the end of nobody', call(nr, *args(r, w2)))
    for source, target in (0, 0), (10, 65536):
        r, w = pipe(source); r2, w2 = pipe(target); print(nr, 'does not wait', call(nr, *args(r, w2, NOW)), end=' ')
        os.set_blocking(r, False); print(call(nr, *args(r, w2)), end=' '); os.set_blocking(r, True); os.set_blocking(w2, False); print(call(nr, *args(r, w2)))
    r, w = pipe(10); r2, w2 = pipe(); print(nr, call(nr, *args(r, w)), call(nr, *args(w2, w)), call(nr, *args(r, r2)), call(nr, *args(r, w2, 1 << 10)), call(nr, *args(-1, w2)), call(nr, *args(f, f)))
print('nothing asked', call(SPLICE, -1, 0, -1, 0, 0, 0), call(TEE, -1, -1, 0, 0), call(TEE, -1, -1, 0, 1 << 10), call(SPLICE, -1, 0, -1, 0, 0, 1 << 10))
# Between pipe and socket
r, w = pipe(10); a, b = stuffed(); got = waits(SPLICE, r, 0, a.fileno(), 0, 100, 0); empty(b.fileno()); print('to a full socket', got())
r, w = pipe(); a, b = socket.socketpair(); got = waits(SPLICE, r, 0, a.fileno(), 0, 100, 0); os.write(w, b'12'); print('to a socket', got(), b.recv(9))
r, w = pipe(); a, b = socket.socketpair(); got = waits(SPLICE, a.fileno(), 0, w, 0, 100, 0); b.send(b'123'); print('from a socket', got(), os.read(r, 9))
r, w = pipe(65536); a, b = socket.socketpair(); b.send(b'123'); got = waits(SPLICE, a.fileno(), 0, w, 0, 100, 0); os.read(r, 65536); print('to a full pipe', got(), os.read(r, 9))
r, w = pipe(10); a, b = stuffed(); a.setblocking(False); print('does not wait', call(SPLICE, r, 0, a.fileno(), 0, 100, 0), call(SPLICE, b.fileno(), 0, w, 0, 100, NOW))
r, w = pipe(); a, b = socket.socketpair(); a.setblocking(False); print(call(SPLICE, a.fileno(), 0, w, 0, 9, 0), call(SPLICE, r, 0, a.fileno(), 0, 9, NOW), end=' '); a.setblocking(True); print(call(SPLICE, a.fileno(), 0, w, 0, 9, NOW))
r, w = pipe(10); a, b = socket.socketpair(); b.close(); print('to nobody', call(SPLICE, r, 0, a.fileno(), 0, 9, 0))
# Between pipe and file
r, w = pipe(65536); got = waits(SPLICE, f, ctypes.byref(ctypes.c_long(0)), w, 0, 100, 0); os.read(r, 65536); print('from a file', got(), os.read(r, 200) == b'f' * 100)
r, w = pipe(); got = waits(SPLICE, r, 0, f, ctypes.byref(ctypes.c_long(0)), 100, 0); os.write(w, b'in'); print('to a file', got(), os.pread(f, 3, 0))
r, w = pipe(65536); os.set_blocking(w, False); print(call(SPLICE, f, ctypes.byref(ctypes.c_long(0)), w, 0, 9, 0)); os.close(r); print(call(SPLICE, f, ctypes.byref(ctypes.c_long(0)), w, 0, 9, 0))
appending = os.open('file', os.O_WRONLY | os.O_APPEND); r, w = pipe(10); a, b = socket.socketpair()
print('refused', call(SPLICE, r, 0, appending, 0, 9, 0), call(SPLICE, r, ctypes.byref(ctypes.c_long(0)), f, 0, 9, 0), call(SPLICE, r, 0, a.fileno(), ctypes.byref(ctypes.c_long(0)), 9, 0),
      call(SPLICE, a.fileno(), ctypes.byref(ctypes.c_long(0)), w, 0, 9, 0), call(SPLICE, r, 0, f, ctypes.byref(ctypes.c_long(-1)), 9, 0), call(SPLICE, f, 0, f, 0, 9, 0))
# sendfile
r, w = pipe(65536); got = waits(SENDFILE, w, f, ctypes.byref(ctypes.c_long(0)), 100); os.read(r, 65536); print('sendfile', got(), len(os.read(r, 200)))
a, b = stuffed(); got = waits(SENDFILE, a.fileno(), f, ctypes.byref(ctypes.c_long(0)), 100); empty(b.fileno()); print('sendfile', got())
r, w = pipe(65536); os.set_blocking(w, False); print('sendfile', call(SENDFILE, w, f, ctypes.byref(ctypes.c_long(0)), 9)); os.set_blocking(w, True); os.close(r); print(call(SENDFILE, w, f, ctypes.byref(ctypes.c_long(0)), 9))
# vmsplice
def vec(n): memory = ctypes.create_string_buffer(b'v' * n, n); v = ctypes.create_string_buffer(struct.pack('PQ', ctypes.addressof(memory), n)); v.memory = memory; return v
big, small = vec(100_000), vec(10)
r, w = pipe(65536); got = waits(VMSPLICE, w, small, 1, 0); os.read(r, 65536); print('vmsplice', got(), os.read(r, 20))
r, w = pipe(); got = waits(VMSPLICE, w, big, 1, 0); n = int(got().removeprefix('at once ')); print('more than fits', 0 < n <= 65536)
r, w = pipe(); got = waits(VMSPLICE, r, small, 1, 0); os.write(w, b'123'); print('out', got(), small.memory.raw[:3])
r, w = pipe(65536); print('does not wait', call(VMSPLICE, w, small, 1, NOW), end=' '); os.read(r, 65536); print(call(VMSPLICE, r, small, 1, NOW))
r, w = pipe(65536); os.set_blocking(w, False); got = waits(VMSPLICE, w, small, 1, 0); os.read(r, 65536); print('O_NONBLOCK is not asked', got())
r, w = pipe(); os.set_blocking(r, False); got = waits(VMSPLICE, r, small, 1, 0); os.write(w, b'1'); print('O_NONBLOCK is not asked', got())
r, w = pipe(); print('nothing', call(VMSPLICE, w, small, 0, 0), call(VMSPLICE, w, vec(0), 1, 0), call(VMSPLICE, f, small, 1, 0), call(VMSPLICE, w, small, 1, 1 << 10)); os.close(r); print(call(VMSPLICE, w, small, 1, 0))
