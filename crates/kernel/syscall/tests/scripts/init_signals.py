"""Process 1 and signals without a handler: prints what `unshare -Urpf --mount-proc python3 init_signals.py` prints."""
import ctypes, os, signal, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
# Not the group of whoever started it.
if os.getsid(0) != os.getpid(): os.setsid()
for number in [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT]: signal.signal(number, signal.SIG_DFL)


def child(work):
    """What a child of process 1 does to it."""
    if (pid := os.fork()) == 0:
        try:
            work()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def queue(number):
    info = (ctypes.c_int * 32)(0, 0, -1)
    if libc.syscall(129, 1, number, info): raise OSError(ctypes.get_errno(), "")


def to_thread(number):
    if libc.syscall(234, 1, 1, number): raise OSError(ctypes.get_errno(), "")


print("ours", os.getpid() == 1)
for number in [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGSEGV, signal.SIGALRM, 34]:
    others = [
        child(lambda: os.kill(1, number)),
        child(lambda: to_thread(number)),
        child(lambda: queue(number)),
        child(lambda: signal.pidfd_send_signal(os.pidfd_open(1), number)),
    ]
    os.kill(1, number)
    os.kill(os.getpid(), number)
    to_thread(number)
    queue(number)
    print(number + 0, others)
# Groups and all.
print(subprocess.run(["sh", "-c", "kill -9 0"]).returncode, subprocess.run(["sh", "-c", "kill -TERM 0"]).returncode)
print(child(lambda: os.kill(-1, signal.SIGKILL)))
# A thread of its own, and a pipe that nobody reads.
thread = threading.Thread(target=lambda: signal.raise_signal(signal.SIGABRT))
thread.start()
thread.join()
r, w = os.pipe()
os.close(r)
try:
    os.write(w, b"x")
except BrokenPipeError:
    print("nobody reads")
# Timers of all kinds; with a handler a later one shows that they ran.
signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.setitimer(signal.ITIMER_PROF, 0.001)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)
until = time.monotonic() + 0.05
while time.monotonic() < until: pass
print("timers", signal.sigpending())
# What has a handler, or is waited for, arrives.
signal.signal(signal.SIGTERM, lambda *a: print("handled"))
child(lambda: os.kill(1, signal.SIGTERM))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
child(lambda: os.kill(1, signal.SIGUSR1))
print("awaited", signal.sigwait([signal.SIGUSR1]) == signal.SIGUSR1)
child(lambda: os.kill(1, signal.SIGUSR2))
print("pending", signal.sigpending() == {signal.SIGUSR2})
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
print("gone", signal.sigpending())
sys.stdout.flush()
