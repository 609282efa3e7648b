"""Who owns what a process makes: prints the same on Linux and in a sandbox, for the user 993 of the group 990."""
import ctypes, os, socket, stat

libc = ctypes.CDLL(None)
libc.memfd_create.restype = ctypes.c_int


def tell(name, path):
    try:
        s = os.lstat(path)
        print(name, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink)
    except OSError as error:
        print(name, error.errno)


def attempt(what, call):
    try:
        call()
        print(" ", what, "done")
    except OSError as error:
        print(" ", what, error.errno)


def about(name, fd):
    s = os.fstat(fd)
    path = f"/proc/self/fd/{fd}"
    print(name, oct(s.st_mode), s.st_uid, s.st_gid, os.path.samestat(s, os.stat(path)))
    tell("  link", path)
    attempt("open", lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))


r, w = os.pipe()
about("pipe", r)
about("pipe", w)
for fd in [r, w]:
    os.fchmod(fd, 0o640)
    os.fchown(fd, -1, os.getegid())
print(oct(os.fstat(r).st_mode), oct(os.fstat(w).st_mode))
attempt("give away", lambda: os.fchown(r, 0, 0))
about("memory", memory := os.memfd_create("x"))
os.fchmod(memory, 0o600)
print(oct(os.fstat(memory).st_mode))
sealed = libc.memfd_create(b"y", 8)
attempt("executable", lambda: os.fchmod(sealed, 0o700))
about("event", event := os.eventfd(0))
a, b = socket.socketpair()
about("socket", a.fileno())
server = socket.create_server(("127.0.0.1", 0))
about("socket", server.fileno())
master, slave = os.openpty()
s = os.stat(os.ttyname(slave))
print("terminal", stat.S_ISCHR(s.st_mode), s.st_uid)
attempt("by name", lambda: os.close(os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY)))
os.umask(0o022)
os.mkdir("mine")
os.mkfifo("mine/fifo")
bound = socket.socket(socket.AF_UNIX)
bound.bind("mine/socket")
os.symlink("fifo", "mine/link")
for name in ["", "fifo", "socket", "link"]: tell("made " + name, "mine/" + name)
# Names for files of others: only of plain ones that one may write.
for path in ["/etc/passwd", "/bin/sh", "/dev/null", "mine/fifo", "mine/link", "mine/socket"]:
    try:
        os.link(path, "mine/other", follow_symlinks=False)
        print("linked", path)
        os.unlink("mine/other")
    except OSError as error:
        print(path, error.errno in (1, 18))
own = f"task/{os.getpid()}"
for name in ["", "fd", "fdinfo", "task", "status", "cwd", "exe", "fdinfo/0", "environ", own + "/comm", own + "/fd", "net/tcp"]:
    path = "/proc/self/" + name
    s = os.lstat(path)
    print(name.replace(own, "own"), oct(s.st_mode), s.st_uid, s.st_gid)
# What nobody else is to see belongs to root.
libc.prctl(4, 0, 0, 0, 0)
for name in ["", "status", "environ", "fd"]:
    s = os.stat("/proc/self/" + name)
    print("secret", name, s.st_uid, s.st_gid)
