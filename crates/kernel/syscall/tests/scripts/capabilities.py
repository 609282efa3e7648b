"""Capabilities that a new program has, for root: prints the same on Linux and in a sandbox."""
import ctypes, errno, os, sys

libc = ctypes.CDLL(None, use_errno=True)
BOUND = int([l for l in open("/proc/self/status") if l.startswith("CapBnd")][0].split()[1], 16)
SHOW = """
import os
sets = [l.split() for l in open("/proc/self/status") if l.startswith(("Cap", "NoNewP"))]
print(*(f"{n[:-1]}={v}" for n, v in sets), os.getresuid(), os.getresgid())
"""


def prctl(*args):
    args = [ctypes.c_ulong(a) for a in (list(args) + [0] * 4)[:5]]
    result = libc.prctl(*args)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result


def capset(effective, permitted, inheritable):
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)()
    for index, value in enumerate([effective, permitted, inheritable]):
        words[index], words[index + 3] = value & 0xffffffff, value >> 32
    return errno.errorcode[ctypes.get_errno()] if libc.capset(head, words) < 0 else 0


def child(name, work, program=None):
    """Does the work, and shows what another program then has."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(write, 1)
        try:
            told = work()
            if told is not None: os.write(1, (repr(told) + "\n").encode())
            os.execv(program or sys.executable, ["python3", "-I", "-S", "-c", SHOW])
        except BaseException as error:
            os.write(1, repr(error).encode())
            os._exit(1)
    os.close(write)
    text = b"".join(iter(lambda: os.read(read, 4096), b"")).decode()
    os.close(read)
    os.waitpid(pid, 0)
    for value, word in [(BOUND, "all"), (BOUND & ~NET, "less"), (NET, "net"), (0, "none")]: text = text.replace(f"{value:016x}", word)
    print(name, text.strip())


def away(*more):
    prctl(8, 1)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    for work in more: work()


NET = 1 << 10
child("root", lambda: None)
child("away", lambda: os.setresuid(65534, 65534, 65534))
child("kept", away)
child("kept and raised", lambda: away(lambda: capset(BOUND, BOUND, 0)))
child("inheritable alone", lambda: away(lambda: capset(BOUND, BOUND, NET)))
child("ambient", lambda: away(lambda: capset(BOUND, BOUND, NET), lambda: prctl(47, 2, 10)))
child("root with less", lambda: capset(NET, NET, 0))
child("root with less, bound", lambda: prctl(38, 1) or capset(NET, NET, 0))
child("bounding", lambda: prctl(24, 10) and None)
child("no root", lambda: prctl(28, 1))
child("no root, inheritable", lambda: [prctl(28, 1), capset(BOUND, BOUND, NET)])
child("effective only", lambda: os.setresuid(65534, 0, 0))
child("real only", lambda: os.setresuid(0, 65534, 65534))


def ambients():
    capset(BOUND, BOUND, NET)
    yield prctl(47, 1, 10), prctl(47, 2, 10), prctl(47, 1, 10), prctl(47, 2, 11), prctl(47, 2, 99), prctl(47, 9, 10), prctl(47, 2, 10, 1)
    yield prctl(47, 4, 1), prctl(47, 3, 10), prctl(47, 1, 10), prctl(47, 2, 10), prctl(47, 4), prctl(47, 1, 10)
    prctl(47, 2, 10)
    yield capset(BOUND, BOUND, 0), prctl(47, 1, 10)


child("ambient calls", lambda: list(ambients()))
child("bits", lambda: [prctl(27), prctl(28, 4), prctl(8, 1), prctl(27), prctl(28, 0x20), prctl(8, 1), prctl(28, 0), prctl(28, 1 << 31), prctl(27)])
child("keeping is forgotten", lambda: prctl(8, 1))
child("no new privileges", lambda: [prctl(38, 1, 1), prctl(38, 1, 0, 1), prctl(38, 1, 0, 0, 1), prctl(38, 0), prctl(38, 2), prctl(39, 1), prctl(39), prctl(38, 1), prctl(39), prctl(38, 0)])
child("fixed", lambda: prctl(28, 4) or os.setresuid(65534, 65534, 65534))


def for_files():
    """setfsuid takes the rights over files, and gives them back."""
    def effective(): return [int(l.split()[1], 16) for l in open("/proc/self/status") if l.startswith("CapEff")][0]
    before = effective()
    libc.setfsuid(1000)
    less = effective()
    libc.setfsuid(0)
    return hex(before & ~less), effective() == before


child("files", for_files)
# Programs that are somebody else's.
os.umask(0)
os.chmod(".", 0o755)
path = os.path.abspath("python")
with open(sys.executable, "rb") as f, open(path, "wb") as g: g.write(f.read())
for mode, uid, gid in [(0o4755, 0, 0), (0o4755, 1000, 0), (0o2755, 0, 1000), (0o2745, 0, 1000), (0o6755, 1000, 1001)]:
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    print(oct(os.stat(path).st_mode))
    child("by root", lambda: None, path)
    child("by another", lambda: away(), path)
    child("without new privileges", lambda: away(lambda: prctl(38, 1)), path)
    child("with ambient ones", lambda: away(lambda: capset(BOUND, BOUND, NET), lambda: prctl(47, 2, 10)), path)
# Who is somebody else tells nobody of its memory, until it is another program.
print(prctl(3))


def secret():
    os.setresuid(65534, 65534, 65534)
    told = [prctl(3), os.stat("/proc/self/status").st_uid]
    if (pid := os.fork()) == 0: os._exit(prctl(3) + 10)
    return told + [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]


child("secret", secret)
