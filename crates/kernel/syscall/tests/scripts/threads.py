"""Threads that wait for each other, with and without time limits: prints the same on Linux, in a sandbox, and moved."""
import ctypes, os, queue, struct, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
word = (ctypes.c_uint32 * 16)()
at = [ctypes.addressof(word) + 4 * i for i in range(16)]
NS = 1_000_000_000


def futex(where, operation, value=0, timeout=None, other=0, third=0):
    spec = None if timeout is None else struct.pack("qq", *divmod(timeout, NS))
    if isinstance(timeout, int) and operation & 127 in (3, 4, 5):
        spec = ctypes.c_long(timeout)
    ctypes.set_errno(0)
    ret = libc.syscall(202, ctypes.c_long(where), operation, value, spec, ctypes.c_long(other), third)
    return ret if ret >= 0 else -ctypes.get_errno()


def run(work, *args):
    box = []
    thread = threading.Thread(target=lambda: box.append(work(*args)))
    thread.start()
    return thread, box


def result(started):
    started[0].join()
    return started[1][0]


def wake(where, operation=1, count=1, **more):
    """Until somebody was there to be woken."""
    while True:
        woken = futex(where, operation, count, **more)
        if woken:
            return woken
        time.sleep(0.0005)


print("not equal", futex(at[0], 0, 5), "timeout", futex(at[0], 0, 0, 2_000_000), futex(at[0], 9, 0, 1, third=-1))
waiting = run(futex, at[0], 0, 0)
print("woken", wake(at[0]), result(waiting))
waiting = run(futex, at[0], 0, 0, 3600 * NS)
print("in time", wake(at[0]), result(waiting))
waiting = [run(futex, at[1], 0, 0) for _ in range(3)]
moved = 0
while moved < 3:
    moved += futex(at[1], 3, 0, 9, at[2])
print("requeued", moved, futex(at[1], 1, 9), sum(wake(at[2], count=1) for _ in range(3)), [result(w) for w in waiting])
waiting = [run(futex, at[3], 9, 0, None, 0, bit) for bit in (1, 2, 4)]
print("bits", [wake(at[3], 10, 9, third=bit) for bit in (2, 4, 1)], [result(w) for w in waiting])
# A process that dies with a robust lock gives it back.
shared = libc.mmap
shared.restype, shared.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
page = shared(None, 4096, 3, 0x21, -1, 0)
libc.pthread_mutex_lock.argtypes = libc.pthread_mutex_consistent.argtypes = libc.pthread_mutex_unlock.argtypes = [ctypes.c_void_p]
attr = ctypes.create_string_buffer(64)
libc.pthread_mutexattr_init(attr), libc.pthread_mutexattr_setpshared(attr, 1), libc.pthread_mutexattr_setrobust(attr, 1)
print("init", libc.pthread_mutex_init(ctypes.c_void_p(page), attr))
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    libc.pthread_mutex_lock(page)
    os.write(w, b"x")
    time.sleep(0.005)
    os.kill(os.getpid(), 9)
os.read(r, 1)
print("robust", libc.pthread_mutex_lock(page), libc.pthread_mutex_consistent(page), libc.pthread_mutex_unlock(page))
os.waitpid(pid, 0)
# What programs do.
lock, held = threading.Lock(), threading.Lock()
held.acquire()
print("no luck", held.acquire(timeout=0.005), held.acquire(blocking=False))
threading.Timer(0.005, held.release).start()
print("luck", held.acquire(timeout=3600))
barrier, total = threading.Barrier(4), []


def meet():
    for turn in range(5):
        barrier.wait()
        with lock:
            total.append(turn)


threads = [threading.Thread(target=meet) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("met", all(total[i * 4:i * 4 + 4].count(i) >= 1 for i in range(5)), sorted(total) == sorted(list(range(5)) * 4))
work, done = queue.Queue(3), queue.Queue()


def consume():
    for item in iter(work.get, None):
        done.put(item * item)


threads = [threading.Thread(target=consume) for _ in range(3)]
for thread in threads:
    thread.start()
for item in range(40):
    work.put(item)
for _ in threads:
    work.put(None)
for thread in threads:
    thread.join()
print("queue", sum(done.get() for _ in range(40)))
condition, turn = threading.Condition(), [0]


def take_turns(own):
    for _ in range(10):
        with condition:
            condition.wait_for(lambda: turn[0] % 3 == own)
            turn[0] += 1
            condition.notify_all()


threads = [threading.Thread(target=take_turns, args=(n,)) for n in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with condition:
    print("turns", turn, condition.wait(0.005))
semaphore = threading.BoundedSemaphore(2)
print("semaphore", semaphore.acquire(), semaphore.acquire(), semaphore.acquire(timeout=0.001))
