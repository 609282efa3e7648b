"""Buffers that are not all there: what fits is delivered, and nothing is lost. Prints the same on Linux and in a sandbox."""
import ctypes, errno, os, random, select, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
PAGE = 4096
def call(number, *args):
    n = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return n if n >= 0 else errno.errorcode[ctypes.get_errno()]
def room(pages, tail=0):
    """Memory of so many pages with nothing after them, and where its last `tail` bytes begin (0: where it begins)."""
    start = call(9, 0, (pages + 1) * PAGE, 3, 0x22, -1, 0)
    assert call(11, start + pages * PAGE, PAGE) == 0
    return start + pages * PAGE - tail if tail else start
def iovec(*parts):
    return ctypes.create_string_buffer(b''.join(struct.pack('PQ', at, n) for at, n in parts)), len(parts)
def text(n): return bytes((i // 7 + i) % 251 for i in range(n))
def peek(at, n): return ctypes.string_at(at, n) if isinstance(n, int) and n > 0 else b''
def poke(at, data): ctypes.memmove(at, data, len(data))

# What a reading call gives of `size` bytes to memory that ends after `good` of `want` bytes, and what is left for the next one.
def drain(read):
    rest = b''
    while True:
        try: more = read(1 << 16)
        except BlockingIOError: return rest
        if not more: return rest
        rest += more
class Source:
    def __init__(self, kind, data):
        self.offset = None
        if kind == 'file':
            self.fd = os.open('source', os.O_RDWR | os.O_CREAT | os.O_TRUNC); os.write(self.fd, data); os.lseek(self.fd, 0, 0)
            self.rest = lambda: drain(lambda n: os.read(self.fd, n))
        elif kind == 'pipe':
            self.fd, w = os.pipe(); os.write(w, data); os.close(w); os.set_blocking(self.fd, False)
            self.rest = lambda: drain(lambda n: os.read(self.fd, n))
        else:
            if kind == 'unix': a, b = socket.socketpair()
            else:
                l = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(l.getsockname()); a, _ = l.accept()
            a.sendall(data); a.close(); self.s = b
            select.select([b], [], []); b.setblocking(False); self.fd = b.fileno()
            self.rest = lambda: drain(b.recv)
def reads(fd, at, want):
    parts, n = iovec((at, want // 2), (at + want // 2, want - want // 2))
    head = ctypes.create_string_buffer(struct.pack('PIPQPQi', 0, 0, ctypes.addressof(parts), n, 0, 0, 0) + bytes(8))
    yield 'read', lambda: call(0, fd, at, want)
    yield 'readv', lambda: call(19, fd, parts, n)
    yield 'pread', lambda: call(17, fd, at, want, 0)
    yield 'preadv', lambda: call(295, fd, parts, n, 0, 0)
    yield 'preadv2', lambda: call(327, fd, parts, n, -1, -1, 0)
    yield 'recvfrom', lambda: call(45, fd, at, want, 0, 0, 0)
    yield 'peek', lambda: call(45, fd, at, want, 2, 0, 0)
    yield 'recvmsg', lambda kept=parts: call(47, fd, head, 0)
names = [name for name, _ in reads(0, 0, 0)]
random.seed(7)
for kind in 'file', 'pipe', 'unix', 'tcp':
    for name in names:
        socket_call = name in ('recvfrom', 'peek', 'recvmsg')
        if socket_call != (kind in ('unix', 'tcp')) and name not in ('read', 'readv'): continue
        if kind == 'pipe' and name in ('pread', 'preadv'): continue
        lost, answers = 0, []
        for size, good, want in [(2 * PAGE, PAGE, 2 * PAGE), (3 * PAGE, 2 * PAGE, 3 * PAGE), (PAGE, 0, PAGE)] + [
                (random.randrange(1, 5 * PAGE), random.randrange(1, 3 * PAGE), random.randrange(1, 5 * PAGE)) for _ in range(20)]:
            source = Source(kind, text(size)); at = room(3, good) if good else room(0, 0)
            ctypes.set_errno(0)
            n = dict(reads(source.fd, at, want))[name]()
            got, rest = peek(at, n), source.rest()
            moved = name == 'peek' or name in ('pread', 'preadv')
            whole = rest == text(size) and text(size).startswith(got) if moved and not (kind == 'pipe') else got + rest == text(size)
            lost += not whole
            # What does not fit in a buffer of Linux's own is EFAULT there, and delivered in part here; neither is lost.
            if kind == 'file' or good % PAGE == 0 and kind == 'pipe': answers.append(n)
            elif n == 'EFAULT': assert good < min(want, size), (kind, name, size, good, want)
            else: assert 0 < n <= min(good, want, size), (kind, name, size, good, want, n)
        print(kind, name, 'lost', lost, answers)
# Descriptors that come with bytes for which there is no memory stay with them.
a, b = socket.socketpair(); socket.send_fds(a, [b'fd'], [0])
control = ctypes.create_string_buffer(64); parts, n = iovec((room(0), 2))
head = ctypes.create_string_buffer(struct.pack('PIPQPQi', 0, 0, ctypes.addressof(parts), n, ctypes.addressof(control), 64, 0) + bytes(8))
before = len(os.listdir('/proc/self/fd')); print(call(47, b.fileno(), head, 0), len(os.listdir('/proc/self/fd')) - before)
data, fds, _, _ = socket.recv_fds(b, 10, 5); print(data, len(fds))

# Writing: what is there is written, and nothing twice.
def writes(fd, at, want):
    parts, n = iovec((at, want // 2), (at + want // 2, want - want // 2))
    yield 'write', lambda: call(1, fd, at, want)
    yield 'writev', lambda: call(20, fd, parts, n)
    yield 'pwrite', lambda: call(18, fd, at, want, 0)
    yield 'pwritev', lambda: call(296, fd, parts, n, 0, 0)
    yield 'pwritev2', lambda: call(328, fd, parts, n, -1, -1, 0)
    yield 'vmsplice', lambda: call(278, fd, parts, n, 0)
for kind in 'file', 'pipe', 'unix', 'tcp':
    for name, _ in writes(0, 0, 0):
        if kind != 'file' and name in ('pwrite', 'pwritev'): continue
        if kind in ('unix', 'tcp') and name == 'vmsplice': continue
        answers = []
        for good, want in [(PAGE, 2 * PAGE), (2 * PAGE, 3 * PAGE), (0, PAGE), (100, 8), (100, 200)] + [
                (random.randrange(1, 3 * PAGE), random.randrange(1, 5 * PAGE)) for _ in range(20)]:
            if name == 'vmsplice' and want > good: continue
            at = room(3, good) if good else room(0, 0)
            poke(at, text(good))
            if kind == 'file':
                fd = os.open('target', os.O_RDWR | os.O_CREAT | os.O_TRUNC); read = lambda: drain(lambda n: os.pread(fd, n, 0) if not got else b'')
            elif kind == 'pipe':
                r, fd = os.pipe(); os.set_blocking(fd, False); os.set_blocking(r, False)
            else:
                if kind == 'unix': a, b = socket.socketpair()
                else: l = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(l.getsockname()); a, _ = l.accept()
                fd = a.fileno(); b.setblocking(False)
            n = dict(writes(fd, at, want))[name]()
            if kind == 'file': got = os.pread(fd, 1 << 20, 0)
            elif kind == 'pipe': os.close(fd); got = drain(lambda n: os.read(r, n))
            else: a.close(); b.setblocking(True); got = drain(b.recv)
            assert got == text(good)[:n if isinstance(n, int) else 0], (kind, name, good, want, n, len(got))
            if kind != 'pipe' or good % PAGE == 0 or good >= want: answers.append(n)
        print(kind, name, answers)

# Directories: the records that fit, and the others next time.
os.mkdir('many')
for i in range(300): open(f'many/{i:060}', 'w').close()
for nr in 217, 78:
    seen, sizes = [], []
    d = os.open('many', os.O_RDONLY); at = room(1, 2000)
    while True:
        n = call(nr, d, at, 3000)
        if not isinstance(n, int) or n == 0: break
        raw, o = peek(at, n), 0
        while o < n:
            length = struct.unpack_from('H', raw, o + 16)[0]; name = raw[o + (19 if nr == 217 else 18):o + length].split(b'\0')[0]; seen.append(name); o += length
    print(nr, n, len(seen), len(set(seen)), call(nr, os.open('many', os.O_RDONLY), room(0), 3000), call(nr, os.open('many', os.O_RDONLY), at, 10))

# Events that found no memory come again.
ep = select.epoll(); ends = [os.pipe() for _ in range(3)]
for r, w in ends[:2]: ep.register(r, select.EPOLLIN | select.EPOLLET)
ep.register(ends[2][0], select.EPOLLIN | select.EPOLLONESHOT)
for r, w in ends: os.write(w, b'x')
at = room(1, 12 + 6)
print('epoll', call(232, ep.fileno(), room(0), 8, 0), call(232, ep.fileno(), at, 8, 0), len(ep.poll(0)), ep.poll(0))
print('getrandom', call(318, room(1, 100), 200, 0), call(318, room(0), 10, 0), call(318, room(2), 3 * PAGE, 0))

# Which mistake is told
r, w = os.pipe(); f = os.open('source', os.O_RDONLY); g = os.open('source', os.O_WRONLY); bad = room(0); p = os.open('source', os.O_PATH)
vec, n = iovec((bad, 9)); null = os.open('/dev/null', os.O_RDWR)
for name, number, args in [
        ('write', 1, (f, bad, 9)), ('write', 1, (r, bad, 9)), ('write', 1, (f, bad, 0)), ('writev', 20, (f, vec, n)), ('writev', 20, (f, bad, 1)), ('pwrite', 18, (f, bad, 9, 0)),
        ('pwrite', 18, (-1, bad, 9, -1)), ('pwrite', 18, (w, bad, 9, 0)), ('pwrite', 18, (r, bad, 9, 0)), ('pwritev', 296, (r, vec, n, 0, 0)), ('pwritev', 296, (f, vec, n, 0, 0)),
        ('read', 0, (g, bad, 9)), ('read', 0, (w, bad, 9)), ('readv', 19, (g, vec, n)), ('pread', 17, (g, bad, 9, 0)), ('pread', 17, (w, bad, 9, 0)), ('pread', 17, (-1, bad, 9, -1)),
        ('preadv', 295, (w, vec, n, 0, 0)), ('preadv', 295, (-1, vec, n, -1, 0)), ('write', 1, (p, bad, 9)), ('read', 0, (p, bad, 9)), ('write', 1, (w, bad, 9)), ('write', 1, (w, bad, 0)),
        ('readv', 19, (r, vec, -1)), ('readv', 19, (r, vec, 1025)), ('writev', 20, (-1, vec, 1025)), ('writev', 20, (w, vec, 0)), ('read', 0, (f, bad, 0)), ('read', 0, (r, bad, 0)),
        ('pwritev2', 328, (g, vec, n, 0, 0, 1 << 20)), ('preadv2', 327, (f, vec, n, 0, 0, 1 << 20)), ('preadv2', 327, (r, vec, n, -1, -1, 8))]:
    print(name, call(number, *args), end='; ')
print()

# What preadv2 and pwritev2 add
f = os.open('flags', os.O_RDWR | os.O_CREAT | os.O_TRUNC); os.write(f, b'0123456789'); os.lseek(f, 3, 0)
print(os.pwritev(f, [b'end'], 2, os.RWF_APPEND), os.lseek(f, 0, 1), call(328, f, vec := iovec((good := room(1), 3))[0], 1, -1, -1, 16), os.lseek(f, 0, 1), os.pread(f, 30, 0))
r, w = os.pipe(); print(call(327, r, vec, 1, -1, -1, 8)); os.write(w, b'1'); print(call(327, r, vec, 1, -1, -1, 8)); os.write(w, b'f' * 65536); print(call(328, w, vec, 1, -1, -1, 8))
a, b = socket.socketpair(); print(call(327, a.fileno(), vec, 1, -1, -1, 8), call(328, a.fileno(), vec, 1, -1, -1, 8))
