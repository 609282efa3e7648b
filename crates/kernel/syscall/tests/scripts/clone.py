"""clone(2) and clone3(2), used and misused: prints the same on Linux and in a sandbox."""
import ctypes, errno, os, resource, select, struct

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
CLONE, CLONE3 = 56, 435
VM, FS, SIGHAND, PIDFD, VFORK, PARENT, THREAD = 0x100, 0x200, 0x800, 0x1000, 0x4000, 0x8000, 0x10000
NEWNS, PARENT_SETTID, CHILD_CLEARTID, DETACHED, CHILD_SETTID = 0x20000, 0x100000, 0x200000, 0x400000, 0x1000000
CLEAR_SIGHAND, SIGCHLD, BAD = 1 << 32, 17, 1

words = (ctypes.c_int32 * 16)()
at = [ctypes.addressof(words) + 4 * i for i in range(16)]


def call(number, *args):
    ctypes.set_errno(0)
    ret = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
    return ret if ret >= 0 else -ctypes.get_errno()


def ended(made):
    """The answer of a call that made a child, without its number."""
    if made == 0:
        os._exit(7)
    return errno.errorcode[-made] if made < 0 else ("child", os.waitstatus_to_exitcode(os.waitpid(made, 0)[1]))


def clone3(flags, pidfd=0, child_tid=0, parent_tid=0, signal=SIGCHLD, stack=0, size=0, tls=0, more=b"", length=None):
    raw = struct.pack("11Q", flags, pidfd, child_tid, parent_tid, signal, stack, size, tls, 0, 0, 0) + more
    keep = ctypes.create_string_buffer(raw, len(raw))
    return call(CLONE3, ctypes.addressof(keep), len(raw) if length is None else length)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def children():
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return "none"


# What fails leaves nothing: no descriptor, no child.
before = descriptors()
print("bad pointer", {ended(clone3(PIDFD, pidfd=BAD)) for _ in range(20)}, descriptors() - before, children())
print("legacy", {ended(call(CLONE, PIDFD | SIGCHLD, 0, BAD, 0, 0)) for _ in range(20)}, descriptors() - before, children())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
lowest = os.dup(0)
os.close(lowest)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
full = ended(clone3(PIDFD, pidfd=at[0]))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print("no descriptors left", full, descriptors() - before, children())

# The descriptor and the number of the parent have one place in the legacy call, and must have two in the new one.
print("one place", ended(call(CLONE, PIDFD | PARENT_SETTID | SIGCHLD, 0, at[0], 0, 0)))
print("one place", ended(clone3(PIDFD | PARENT_SETTID, pidfd=at[0], parent_tid=at[0])))
words[:] = [-1] * 16
pid = clone3(PIDFD | PARENT_SETTID | CHILD_SETTID, pidfd=at[0], parent_tid=at[1], child_tid=at[2])
if pid == 0:
    try:
        os.fstat(words[0] if words[0] >= 0 else lowest)
        seen = 1
    except OSError:
        seen = 0
    os._exit(10 + 2 * (words[2] == os.getpid()) + seen)
print("two places", words[0] == lowest, words[1] == pid, words[2], os.get_inheritable(words[0]))
print("child", select.select([words[0]], [], [], 60)[0] == [words[0]], ended(pid))
os.close(words[0])
pid = call(CLONE, PIDFD | SIGCHLD, 0, at[3], 0, 0)
if pid == 0:
    os._exit(9)
print("legacy", words[3] == lowest, select.select([words[3]], [], [], 60)[0] == [words[3]], ended(pid))
os.close(words[3])
# Nobody hears of numbers that cannot be written.
print("deaf", ended(clone3(PARENT_SETTID | CHILD_SETTID, parent_tid=BAD, child_tid=BAD)))

# What makes no sense.
for name, flags in [("thread alone", THREAD), ("actions alone", SIGHAND), ("thread without actions", THREAD | VM), ("cleared and shared", CLEAR_SIGHAND | SIGHAND | VM),
                    ("unknown", 1 << 40), ("detached", DETACHED), ("signal in flags", 17), ("namespace and directories", NEWNS | FS)]:
    print(name, ended(clone3(flags)))
print("legacy detached", ended(call(CLONE, PIDFD | DETACHED | SIGCHLD, 0, at[0], 0, 0)), ended(call(CLONE, DETACHED | SIGCHLD, 0, 0, 0, 0)))
print("sibling with signal", ended(clone3(PARENT)), "thread with signal", ended(clone3(THREAD | SIGHAND | VM)))
print("signals", [ended(clone3(0, signal=n)) for n in (65, 256)])
print("stacks", ended(clone3(0, stack=4096)), ended(clone3(0, size=4096)))
print("sizes", ended(clone3(0, length=63)), ended(clone3(0, length=64)), ended(clone3(0, more=bytes(24))), ended(clone3(0, more=b"x" * 8)), ended(clone3(0, length=8192)))
print("nothing there", errno.errorcode[-call(CLONE3, BAD, 88)], "thread pointer", ended(call(CLONE, 0x80000 | SIGCHLD, 0, 0, 0, 1 << 62)))
print("cleared", ended(clone3(CLEAR_SIGHAND)))
print("left", descriptors() - before, children())
