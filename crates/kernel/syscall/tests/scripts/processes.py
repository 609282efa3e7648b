"""Processes that make, replace, wait for and kill each other: prints the same on Linux, in a sandbox, and moved from one to another."""
import ctypes, os, select, signal, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)


def status(pid, options=0):
    return os.waitstatus_to_exitcode(os.waitpid(pid, options)[1])


def child(work):
    pid = os.fork()
    if pid == 0:
        os._exit(work() or 0)
    return pid


# Orphans go to the subreaper, as they would to the first process.
libc.prctl(36, 1, 0, 0, 0)
# Exits are kept until somebody asks, in any order.
pids = [child(lambda n=n: n) for n in range(5)]
print("exits", [status(pid) for pid in reversed(pids)])
try:
    os.wait()
except ChildProcessError:
    print("none left")
# A child that has ended is seen without being taken.
pid = child(lambda: 9)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print("seen", os.waitid(os.P_PID, pid, os.WEXITED).si_status)
# A pipe between parent, child and grandchild.
r, w = os.pipe()


def family():
    inner = child(lambda: os.write(w, b"grandchild ") and 3)
    code = status(inner)
    os.write(w, b"child %d " % code)
    return code + 1


pid = child(family)
print("family", status(pid))
os.close(w)
print(b"".join(iter(lambda: os.read(r, 4), b"")))
os.close(r)
# vfork and exec by way of subprocess, with input and output.
print(subprocess.run(["tr", "a-z", "A-Z"], input=b"shout", stdout=subprocess.PIPE).stdout)
print(subprocess.run("exit 5", shell=True).returncode, subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
try:
    subprocess.run(["/no/such/program"])
except FileNotFoundError as error:
    print("exec", error.errno)
# Stopped, continued, killed.
pid = child(lambda: [signal.pause() for _ in range(9)] and 0)
os.kill(pid, signal.SIGSTOP)
print("stopped", os.WSTOPSIG(os.waitpid(pid, os.WUNTRACED)[1]) == signal.SIGSTOP)
os.kill(pid, signal.SIGCONT)
print("continued", os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]))
os.kill(pid, signal.SIGTERM)
print("killed", status(pid))
# A process group of its own is waited for and killed as one.
r, w = os.pipe()


def leader():
    os.setpgid(0, 0)
    for _ in range(2):
        child(lambda: os.write(w, b".") and signal.pause())
    os.write(w, b".")
    signal.pause()


pid = child(leader)
seen = b""
while len(seen) < 3:
    seen += os.read(r, 3)
os.killpg(pid, signal.SIGKILL)
print("group", [os.waitid(os.P_PGID, pid, os.WEXITED).si_status for _ in range(3)])
pid = child(lambda: child(lambda: os.read(r, 1) and 7) and 0)
print("parent", status(pid))
os.write(w, b"x")
print("orphan", os.waitstatus_to_exitcode(os.wait()[1]))
# SIGCHLD with what it says, by a descriptor of the process.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
pid = child(lambda: 4)
info = signal.sigwaitinfo([signal.SIGCHLD])
print("told", info.si_pid == pid, info.si_status, info.si_code == 1)
fd = os.pidfd_open(pid)
print("pidfd", select.select([fd], [], [], 60)[0] == [fd], status(pid))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
# A parent's death is told to the child that asked.
gate = os.pipe()


def middle():
    def inner():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        libc.prctl(1, signal.SIGUSR1, 0, 0, 0)
        os.write(w, b"x")
        signal.sigwait([signal.SIGUSR1])
        os.write(gate[1], b"orphaned")
    child(inner)
    os.read(r, 1)


status(child(middle))
print(os.read(gate[0], 99), os.waitstatus_to_exitcode(os.wait()[1]))
# What goes through execve: descriptors, masks, ignored signals, environment, directory.
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.makedirs("place", exist_ok=True)
os.chdir("place")
keep = os.open("kept", os.O_RDWR | os.O_CREAT)
os.write(keep, b"0123456789")
os.lseek(keep, 4, 0)
os.set_inheritable(keep, True)
r, w = os.pipe()
code = f"import os, signal; print(os.read({keep}, 3), signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN, " \
    f"signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, []), os.path.basename(os.getcwd()), os.environ['X'], " \
    f"os.path.exists('/proc/self/fd/{w}'))"
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    os.execve("/usr/bin/python3", ["python3", "-I", "-S", "-c", code], {"X": "here"})
print(status(pid), os.lseek(keep, 0, 1))
