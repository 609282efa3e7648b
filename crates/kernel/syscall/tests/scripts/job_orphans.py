"""A stopped group whose session has nobody left to continue it gets SIGHUP and SIGCONT: prints the same on Linux and in a sandbox."""
import ctypes, os, signal

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
told = os.pipe()


def member(number):
    os.setpgid(0, 0)
    signal.signal(signal.SIGHUP, lambda *a: os.write(told[1], b"hangup "))
    signal.signal(signal.SIGCONT, lambda *a: os.write(told[1], b"continued "))
    os.kill(os.getpid(), number)
    os._exit(9)


def leader(number):
    """Leads a session, waits until its child is stopped, and ends."""
    os.setsid()
    if (pid := os.fork()) == 0: member(number)
    os.waitpid(pid, os.WUNTRACED)
    os._exit(0)


for number in [signal.SIGSTOP, signal.SIGTSTP]:
    if (pid := os.fork()) == 0: leader(number)
    os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), sorted(os.read(told[0], 99).split()))
# An orphaned group does not stop at a terminal's wish.
if (pid := os.fork()) == 0:
    os.setsid()
    os.kill(os.getpid(), signal.SIGTSTP)
    os._exit(10)
print(os.waitstatus_to_exitcode(os.waitpid(pid, os.WUNTRACED)[1]))
