"""Signals, timers and calls that they interrupt: prints the same on Linux, in a sandbox, and moved from one to another."""
import ctypes, os, select, signal, struct, threading, time

libc = ctypes.CDLL(None, use_errno=True)
seen = []
note = lambda number, frame: seen.append(number)
for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGRTMIN + 1):
    signal.signal(number, note)


def take():
    taken = [int(n) for n in seen]
    seen.clear()
    return taken


# A timer is neither lost nor told twice.
for _ in range(60):
    before = len(seen)
    signal.setitimer(signal.ITIMER_REAL, 2e-6)
    while len(seen) == before:
        time.sleep(1e-5)
print("once each", len(take()))
# Far longer than a handler and a move of it take, or nothing else would ever run.
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
while len(seen) < 5:
    signal.pause()
left, every = signal.setitimer(signal.ITIMER_REAL, 0)
print("again and again", len(take()) >= 5, left <= 0.2, round(every, 3))
signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
print("of the processor", 999 < signal.getitimer(signal.ITIMER_VIRTUAL)[0])
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
# Timers of timer_create(2), with a value that comes with the signal.
event = struct.pack("qii48x", 77, signal.SIGRTMIN, 0)
timer = ctypes.c_int()
print("create", libc.syscall(222, 1, event, ctypes.byref(timer)))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
print("set", libc.syscall(223, timer, 0, struct.pack("4q", 0, 0, 0, 5_000_000), None))
print("info", signal.sigwaitinfo([signal.SIGRTMIN]).si_code)
print("delete", libc.syscall(226, timer))
# Queued ones come in order, plain ones once.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN + 1])
for _ in range(3):
    for number in (signal.SIGUSR2, signal.SIGRTMIN + 1, signal.SIGUSR1, signal.SIGRTMIN):
        os.kill(os.getpid(), number)
print("pending", sorted(int(n) for n in signal.sigpending()))
print("waited", int(signal.sigwait([signal.SIGUSR1, signal.SIGUSR2])))
signal.pthread_sigmask(signal.SIG_SETMASK, [])
print("rest", sorted(take()))
print("none", signal.sigtimedwait([signal.SIGUSR1], 0.01))


def later(number, delay=0.01):
    pid = os.fork()
    if pid == 0:
        time.sleep(delay)
        os.kill(os.getppid(), number)
        os._exit(0)
    return pid


# Calls that end, go on or begin anew.
r, w = os.pipe()
signal.siginterrupt(signal.SIGUSR1, False)
pid = os.fork()
if pid == 0:
    os.kill(os.getppid(), signal.SIGUSR1)
    time.sleep(0.02)
    os.write(w, b"data")
    os._exit(0)
print("read", os.read(r, 9), take())
os.waitpid(pid, 0)
poll = select.poll()
poll.register(r, select.POLLIN)
for name, wait in (("poll", lambda: poll.poll(100)), ("select", lambda: select.select([r], [], [], 0.1)[0]),
                   ("sleep", lambda: time.sleep(0.1))):
    before = time.monotonic()
    pid = later(signal.SIGUSR2)
    found, long_enough = wait(), time.monotonic() - before >= 0.1
    # On a slow machine the signal comes after the wait.
    os.waitpid(pid, 0)
    print(name, found, take(), long_enough)


def insist(number):
    parent = os.getpid()
    pid = os.fork()
    while pid == 0:
        time.sleep(0.01)
        if os.getppid() != parent:
            os._exit(0)
        os.kill(parent, number)
    return pid


# What is left of a sleep is told. A single signal can come before the sleep, which then nothing would cut off.
pid = insist(signal.SIGUSR1)
left = (ctypes.c_long * 2)()
print("cut off", libc.syscall(35, (ctypes.c_long * 2)(3600, 0), left), ctypes.get_errno(), 3000 < left[0] < 3600)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
take()
# ppoll waits with another mask, and puts the old one back.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
pid = later(signal.SIGUSR1)
empty = ctypes.c_ulong(0)
print("ppoll", libc.syscall(271, None, 0, None, ctypes.byref(empty), 8), ctypes.get_errno(), take())
print("mask", [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])])
os.waitpid(pid, 0)
pid = later(signal.SIGUSR1)
print("suspend", libc.syscall(130, ctypes.byref(empty), 8), ctypes.get_errno(), take())
os.waitpid(pid, 0)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
# A handler that is interrupted by another one, on a stack of its own.
depth = []


def nested(number, frame):
    depth.append(number)
    if len(depth) < 4:
        os.kill(os.getpid(), number)
        time.sleep(0.001)


signal.signal(signal.SIGUSR1, nested)
os.kill(os.getpid(), signal.SIGUSR1)
print("nested", len(depth))
# To one thread, and to whichever takes it.
signal.signal(signal.SIGUSR1, note)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
got = []
threads = [threading.Thread(target=lambda: got.append(signal.sigwait([signal.SIGUSR1]))) for _ in range(3)]
for thread in threads:
    thread.start()
    signal.pthread_kill(thread.ident, signal.SIGUSR1)
    thread.join()
print("threads", [int(n) for n in got])
