"""Memory calls by number, their answers and errors; prints the same on Linux and in a sandbox."""
import ctypes, errno, mmap, os, signal

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
P = 4096
NONE, R, W, X = 0, 1, 2, 4
SHARED, PRIVATE, FIXED, ANON, NOREPLACE, NORESERVE = 1, 2, 0x10, 0x20, 0x100000, 0x4000


def call(nr, *args):
    ctypes.set_errno(0)
    ret = libc.syscall(nr, *[ctypes.c_long(a) for a in args])
    return ret if ret != -1 else -ctypes.get_errno()


def name(ret):
    return errno.errorcode[-ret] if -4096 < ret < 0 else "ok"


def mm(addr, length, prot, flags, fd=-1, off=0):
    return call(9, addr, length, prot, flags, fd, off)


def poke(addr, value):
    ctypes.memset(addr, value, 1)


def peek(addr):
    return ctypes.string_at(addr, 1)[0]


def faults(action):
    """Which signal a child gets from doing it."""
    pid = os.fork()
    if pid == 0:
        for s in (signal.SIGSEGV, signal.SIGBUS):
            signal.signal(s, signal.SIG_DFL)
        action()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "fine"


base = mm(0, 64 * P, R | W, PRIVATE | ANON)
print("mmap errors", [name(mm(*a)) for a in [
    (0, 0, R, PRIVATE | ANON), (0, P, R, ANON), (0, P, R, PRIVATE, 99),
    (base + 1, P, R, PRIVATE | ANON | FIXED), (base, P, R, PRIVATE | ANON | NOREPLACE),
    (0, 1 << 62, R, PRIVATE | ANON), (0, P, R, PRIVATE, 0, 5), (0, P, R, 0x80000 | SHARED, 99),
]])
print("hint taken", mm(base + 3 * P, P, R, PRIVATE | ANON) != base + 3 * P)
print("munmap", [name(call(11, *a)) for a in [
    (base + 1, P), (base, 0), (base + 8 * P, 2 * P), (base + 8 * P, 2 * P)]])
print("hole", faults(lambda: poke(base + 8 * P, 1)), faults(lambda: poke(base, 1)))
print("mprotect", [name(call(10, *a)) for a in [
    (base + 1, P, R), (base, 0, R), (base + 7 * P, 2 * P, R), (base, P, 0x100), (base + P, P, NONE)]])
print("after", faults(lambda: poke(base + 7 * P, 1)), faults(lambda: peek(base + P)), faults(lambda: peek(base + 7 * P)))
poke(base + 20 * P, 7)
print("madvise", [name(call(28, *a)) for a in [
    (base + 20 * P, P, 4), (base + 1, P, 4), (base + 7 * P, 2 * P, 4), (base, P, 77), (base, P, 100 if os.getuid() else 77),
    (base, P, 10), (base, P, 11), (base, P, 9), (base, P, 14), (base, P, 20), (base, P, 8), (base, P, 23), (base + P, P, 23)]])
print("zero again", peek(base + 20 * P))
vec = ctypes.create_string_buffer(64)
v = ctypes.addressof(vec)
poke(base + 20 * P, 1)
print("mincore", name(call(27, base + 20 * P, P, v)), vec.raw[0], [name(call(27, *a)) for a in [(base + 1, P, v), (base + 7 * P, 2 * P, v), (base + 20 * P, P, 8)]])
print("msync", [name(call(26, *a)) for a in [
    (base + 20 * P, P, 4), (base, P, 5), (base, P, 8), (base + 1, P, 4), (base + 7 * P, 2 * P, 4), (base, P, 0)]])
print("mlock", [name(call(*a)) for a in [
    (149, base + 20 * P, P), (150, base + 20 * P, P), (149, base + 7 * P, 2 * P), (151, 0), (151, 8), (152,), (325, base, P, 2)]])

a = mm(0, 8 * P, R | W, PRIVATE | ANON)
for i in range(8):
    poke(a + i * P, i + 1)
print("mremap errors", [name(call(25, *r)) for r in [
    (a + 1, P, P, 0, 0), (a, P, 0, 0, 0), (a, P, 2 * P, 0x10, 0), (a, P, P, 2, base), (a, P, 2 * P, 5, 0),
    (a, 0, P, 1, 0), (base + 8 * P, P, 2 * P, 1, 0), (a, 2 * P, P, 3, a), (a, P, 4 * P, 0, 0)]])
b = call(25, a, 4 * P, 6 * P, 1, 0)
print("moved", b != a, [peek(b + i * P) for i in range(6)], faults(lambda: peek(a)), peek(a + 4 * P))
c = call(25, b, 6 * P, 2 * P, 0, 0)
print("shrunk", c == b, faults(lambda: peek(b + 2 * P)))
d = call(25, c, 2 * P, 2 * P, 3, base + 30 * P)
print("fixed", d == base + 30 * P, [peek(d), peek(d + P)], faults(lambda: peek(c)))
e = call(25, d, 2 * P, 2 * P, 5, 0)
print("kept", [peek(e), peek(e + P)], [peek(d), peek(d + P)])

f = os.open("/tmp/memory-test", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
os.write(f, b"x" * (P + 10))
s = mm(0, 3 * P, R | W, SHARED, f)
p = mm(0, P, R | W, PRIVATE, f)
poke(s, ord("S"))
poke(p + 1, ord("P"))
os.pwrite(f, b"W", 2)
print("file", os.pread(f, 4, 0), ctypes.string_at(s, 4), ctypes.string_at(p, 4), name(call(26, s, P, 4)))
print("tail", peek(s + P + 9), peek(s + P + 10), faults(lambda: peek(s + 2 * P)))
os.ftruncate(f, 3 * P)
print("grown", faults(lambda: peek(s + 2 * P)))
print("remove", name(call(28, s, P, 9)), peek(s), name(call(28, p, P, 9)))
ro = os.open("/tmp/memory-test", os.O_RDONLY)
wo = os.open("/tmp/memory-test", os.O_WRONLY)
q = mm(0, P, R, SHARED, ro)
print("access", [name(mm(0, P, *r)) for r in [(R | W, SHARED, ro), (R | W, PRIVATE, ro), (R, SHARED, wo), (R, PRIVATE, wo)]],
      name(call(10, q, P, R | W)), name(call(10, p, P, R | W | X)))
pipe = os.pipe()
print("unmappable", name(mm(0, P, R, PRIVATE, pipe[0])), name(mm(0, P, R, PRIVATE, os.open("/", os.O_RDONLY))))

k = mm(0, 3 * P, R | W, PRIVATE | ANON)
sh = mm(0, P, R | W, SHARED | ANON)
for i in range(3):
    poke(k + i * P, 5)
print("fork advice", name(call(28, k, P, 18)), name(call(28, k + P, P, 10)), name(call(28, sh, P, 18)))
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    poke(sh, 99)
    poke(k + 2 * P, 6)
    os.write(w, bytes([peek(k), peek(k + 2 * P)]) + faults(lambda: peek(k + P)).encode())
    os._exit(0)
os.waitpid(pid, 0)
print("fork", os.read(r, 99), peek(sh), peek(k + 2 * P), peek(k + P))
big = mm(0, 40 << 30, NONE, PRIVATE | ANON | NORESERVE)
print("reserve", name(big), name(call(10, big + (20 << 30), P, R | W)), faults(lambda: poke(big + (20 << 30), 1)))
code = mm(0, P, R | W | X, PRIVATE | ANON)
ctypes.memmove(code, b"\xb8\x2a\0\0\0\xc3", 6)
print("jit", ctypes.CFUNCTYPE(ctypes.c_int)(code)())
heap = call(12, 0)
print("brk", call(12, heap + 5 * P) == heap + 5 * P, peek(heap + 4 * P), call(12, heap) == heap, call(12, 1) == heap)
low = mm(0, P, R, PRIVATE | ANON | 0x40)
print("32 bit", low < 1 << 31)
print("others", name(call(216, base, P, 0, 0, 0)), name(call(329, base + 20 * P, P, R, -1)), name(call(329, base, P, R, 12)))
lines = open("/proc/self/maps").read().splitlines()
spans = [tuple(int(x, 16) for x in l.split()[0].split("-")) for l in lines]
print("maps", spans == sorted(spans), any("memory-test" in l for l in lines), any("[stack]" in l for l in lines), any("[heap]" in l for l in lines))
os.unlink("/tmp/memory-test")
zero, no_write, no_read = os.open("/dev/zero", os.O_RDWR), os.open("/dev/zero", os.O_RDONLY), os.open("/dev/zero", os.O_WRONLY)
mine, ours = mm(0, P, R | W, PRIVATE, zero, 0), mm(0, P, R | W, SHARED, zero, 0)
poke(mine, 3); poke(ours, 4)
child = os.fork()
if child == 0: poke(mine, 5); poke(ours, 6); os._exit(0)
os.waitpid(child, 0)
print("/dev/zero", peek(mine), peek(ours), peek(mine + 1), peek(mm(0, P, R, SHARED, no_write, 0)), faults(lambda: poke(mm(0, P, R | W, PRIVATE, no_write, 0), 1)),
      name(mm(0, P, R | W, SHARED, no_write, 0)), name(mm(0, P, R, PRIVATE, no_read, 0)), name(mm(0, P, R, PRIVATE, os.open("/dev/null", os.O_RDWR), 0)))
