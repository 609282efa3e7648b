"""Process 1 and the processes that it inherits: prints what `unshare -Urpf --mount-proc python3 orphans.py` prints."""
import ctypes, os, select, signal, subprocess

libc = ctypes.CDLL(None, use_errno=True)


def orphan(code=0):
    """A process whose parent has ended, what lets it end, and a descriptor that tells of its end."""
    gate, told = os.pipe(), os.pipe()
    if (parent := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            os.close(gate[1])
            os.read(gate[0], 1)
            os._exit(code)
        os.write(told[1], b"%d" % pid)
        os._exit(0)
    os.close(gate[0])
    os.waitpid(parent, 0)
    pid = int(os.read(told[0], 99))
    for fd in told:
        os.close(fd)
    return pid, gate[1], os.pidfd_open(pid)


def finish(gate, end):
    os.close(gate)
    select.select([end], [], [])


# Asked for by number while it lives, and by a wait that begins before its end.
pid, gate, end = orphan(3)
print("lives", os.waitpid(pid, os.WNOHANG) == (0, 0))
finish(gate, end)
print("by number", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
pid, gate, end = orphan(4)
if os.fork() == 0:
    os.close(gate)
    os._exit(0)
first = os.wait()[0]
os.close(gate)
second = os.wait()[0]
print("any", first != pid, second == pid)
# Having waited for any, it gets those that end before the next wait, with their signal.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
pid, gate, end = orphan(5)
while signal.sigtimedwait([signal.SIGCHLD], 0): pass
finish(gate, end)
info = signal.sigwaitinfo([signal.SIGCHLD])
print("told", info.si_pid == pid, info.si_status, os.wait() == (pid, 5 << 8))
# A zombie that is inherited is told of as well.
told = os.pipe()
if (parent := os.fork()) == 0:
    if (pid := os.fork()) == 0: os._exit(6)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.write(told[1], b"%d" % pid)
    os._exit(7)
pid = int(os.read(told[0], 99))
print("zombies", {os.wait(), os.wait()} == {(pid, 6 << 8), (parent, 7 << 8)})
# Others that ask to adopt keep what they adopt.
program = """
import ctypes, os
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
gate = os.pipe()
if (parent := os.fork()) == 0:
    if os.fork() == 0:
        os.close(gate[1])
        os.read(gate[0], 1)
        os._exit(8)
    os._exit(0)
os.waitpid(parent, 0)
os.close(gate[1])
print("subreaper", os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))
"""
subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", program])
