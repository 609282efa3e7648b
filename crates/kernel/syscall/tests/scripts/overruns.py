"""Expiries of timers that nobody has taken yet: prints the same on Linux and in a sandbox."""
import ctypes, os, signal, struct, time

libc = ctypes.CDLL(None, use_errno=True)


def create(number, value):
    timer = ctypes.c_int()
    event = struct.pack("qii48x", value, number, 0)
    assert libc.syscall(222, 1, event, ctypes.byref(timer)) == 0
    return timer.value


def arm(timer, first, every=0):
    assert libc.syscall(223, timer, 0, struct.pack("4q", 0, every, 0, first), None) == 0


def take(number, seconds=30):
    """Signal, code, timer, overruns and value of what comes."""
    mask = struct.pack("Q", 1 << (number - 1))
    info = ctypes.create_string_buffer(128)
    got = libc.syscall(128, mask, info, struct.pack("2q", seconds, 0), 8)
    return (got,) + struct.unpack_from("i4xiiq", info, 8) if got > 0 else None


def overruns(timer): return libc.syscall(225, timer)


def spend(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until: pass


for number in [signal.SIGRTMIN, signal.SIGUSR1]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    timer = create(number, 77)
    print("none", overruns(timer))
    arm(timer, 1_000_000, 1_000_000)
    spend(0.05)
    print("not taken", overruns(timer))
    _, code, which, count, value = take(number)
    told = overruns(timer)
    arm(timer, 0)
    print(code, which == timer, 30 < count < 10_000, told == count, value)
    # Disarmed, it has nothing to tell; what was queued goes or is taken.
    take(number, 0)
    # Another signal of the number is no expiry, and takes nothing away.
    os.kill(os.getpid(), number)
    arm(timer, 1)
    spend(0.01)
    got = sorted(take(number)[1] for _ in range(2))
    print("besides", got, take(number, 0))
    # Two timers with one signal.
    other = create(number, 88)
    arm(timer, 1)
    arm(other, 1)
    spend(0.01)
    print("two", sorted((take(number)[2:] for _ in range(2)), key=lambda t: t[2]) == [(timer, 0, 77), (other, 0, 88)])
    for made in [timer, other]: libc.syscall(226, made)
