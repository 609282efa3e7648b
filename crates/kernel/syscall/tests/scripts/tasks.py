"""unshare(2), membarrier(2), prctl(2), scheduling: prints the same on Linux and in a sandbox."""
import ctypes, errno, fcntl, os, struct, threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
FS, FILES, SIGHAND, VM, THREAD, SYSVSEM = 0x200, 0x400, 0x800, 0x100, 0x10000, 0x40000
UNSHARE, MEMBARRIER, PRCTL, SCHED_SETSCHEDULER, SCHED_GETATTR = 272, 324, 157, 144, 315


def call(number, *args):
    ctypes.set_errno(0)
    six = [ctypes.c_long(a) for a in args] + [ctypes.c_long(0)] * (6 - len(args))
    ret = libc.syscall(ctypes.c_long(number), *six)
    return ret if ret >= 0 else errno.errorcode[ctypes.get_errno()]


def aside(work):
    """In a thread that has its own directory and descriptors afterwards."""
    box = []
    thread = threading.Thread(target=lambda: box.append(work()))
    thread.start()
    thread.join()
    return box[0]


# Before there are threads: record locks stay with a table that nobody shares.
lock = os.open("lock", os.O_RDWR | os.O_CREAT)
fcntl.lockf(lock, fcntl.LOCK_EX)
print("locked", call(UNSHARE, FILES))
pid = os.fork()
if pid == 0:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os._exit(error.errno)
    os._exit(0)
print(errno.errorcode[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])

print("one thread", [call(UNSHARE, flags) for flags in (0, THREAD, SIGHAND, VM, THREAD | SIGHAND | VM)])
# What belongs to a thread alone after unshare(2), and what belongs to all.
os.makedirs("inside", exist_ok=True)
outside = os.getcwd()
r, w = os.pipe()


def alone():
    made = call(UNSHARE, FS | FILES | SYSVSEM)
    os.chdir("inside")
    os.close(r)
    return made, os.path.basename(os.getcwd())


print("alone", aside(alone), os.getcwd() == outside, os.fstat(r) is not None)
os.close(w)
print("together", aside(lambda: [os.chdir("inside"), os.path.basename(os.getcwd())][1]), os.path.basename(os.getcwd()))
os.chdir("..")
print("threads", aside(lambda: [call(UNSHARE, flags) for flags in (0, THREAD, SIGHAND, VM)]))
print("unknown", call(UNSHARE, 1), call(UNSHARE, 0x1000))
# Barriers, with threads that run and threads that sleep.
QUERY, GLOBAL, PRIVATE, REGISTER = 0, 1, 8, 16
print("barriers", call(MEMBARRIER, QUERY, 0, 0) & 25, call(MEMBARRIER, REGISTER, 0, 0))
stop = threading.Event()
count = [0, 0]


def run(n):
    while not stop.is_set():
        count[n] += 1


threads = [threading.Thread(target=run, args=(n,)) for n in range(2)] + [threading.Thread(target=stop.wait)]
for thread in threads:
    thread.start()
print("passed", {call(MEMBARRIER, PRIVATE, 0, 0) for _ in range(50)}, call(MEMBARRIER, GLOBAL, 0, 0))
stop.set()
for thread in threads:
    thread.join()
print("misused", call(MEMBARRIER, 1 << 20, 0, 0), call(MEMBARRIER, PRIVATE, 2, 0))

# Options of prctl(2).
place = ctypes.create_string_buffer(16)
at = ctypes.addressof(place)
name = ctypes.create_string_buffer(b"a name that is too long")
print("name", call(PRCTL, 15, ctypes.addressof(name)), call(PRCTL, 16, at), place.value, call(PRCTL, 15, 1))
print("signal", call(PRCTL, 1, 10), call(PRCTL, 2, at), struct.unpack("i", place.raw[:4]), call(PRCTL, 1, 65), call(PRCTL, 1, 0))
print("dumpable", call(PRCTL, 4, 0), call(PRCTL, 3), call(PRCTL, 4, 1), call(PRCTL, 3), call(PRCTL, 4, 9))
print("reaper", call(PRCTL, 36, 1), call(PRCTL, 37, at), struct.unpack("i", place.raw[:4]), call(PRCTL, 36, 0))
print("slack", call(PRCTL, 29, 77), call(PRCTL, 30), call(PRCTL, 29, 0), call(PRCTL, 30))
print("capabilities", call(PRCTL, 23, 99), call(PRCTL, 24, 99), call(PRCTL, 8, 2), call(PRCTL, 8, 1), call(PRCTL, 7), call(PRCTL, 8, 0))
print("privileges", call(PRCTL, 39), call(PRCTL, 38, 2), call(PRCTL, 38, 1), call(PRCTL, 39))
print("unknown", call(PRCTL, 9999))

# Scheduling.
param = ctypes.c_int(0)
print("policies", [call(SCHED_SETSCHEDULER, 0, policy, ctypes.addressof(param)) for policy in (0, 3, 0x40000003, 7777)])
param.value = 5
print("priority", call(SCHED_SETSCHEDULER, 0, 0, ctypes.addressof(param)), [(os.sched_get_priority_min(p), os.sched_get_priority_max(p)) for p in (0, 1, 2, 3, 5)])
print("nobody", call(SCHED_SETSCHEDULER, 4000000, 0, ctypes.addressof(param)), call(145, -1))
before = os.getpriority(os.PRIO_PROCESS, 0)
print("nice", os.nice(1) - before, os.getpriority(os.PRIO_PROCESS, 0) - before, call(140, 3, 0))
