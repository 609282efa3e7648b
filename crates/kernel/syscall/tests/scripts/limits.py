"""Resource limits that act on who passes them: prints the same on Linux and in a sandbox."""
import ctypes, errno, os, resource, signal, sys

libc = ctypes.CDLL(None, use_errno=True)
i64 = ctypes.c_longlong


def child(work):
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        try:
            code = work()
        except OSError as error:
            code = error.errno
        sys.stdout.flush()
        os._exit(code or 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def burn():
    while True: pass


def each_second():
    signal.signal(signal.SIGXCPU, lambda *a: os.write(1, b"told %d\n" % resource.getrlimit(resource.RLIMIT_CPU)[0]))
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    burn()


def inherited():
    resource.setrlimit(resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))
    return -child(burn)


def lifted():
    """What is lifted in time does nothing."""
    resource.setrlimit(resource.RLIMIT_CPU, (0, 5))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    return resource.getrlimit(resource.RLIMIT_CPU)[0]


print("soft, then hard", child(each_second))
print("inherited", child(inherited))
print("lifted", child(lambda: signal.signal(signal.SIGXCPU, signal.SIG_IGN) and 0 or lifted()))

LIMIT = 10000
PIECE = 256 << 10
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def pieces():
    resource.setrlimit(resource.RLIMIT_FSIZE, (PIECE, PIECE))
    fd = os.open("pieces", os.O_RDWR | os.O_CREAT)
    print(os.write(fd, b"p" * (PIECE + 5)), os.fstat(fd).st_size)


print("pieces", child(pieces))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
print("no handler", child(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)) or os.pwrite(os.open("big", os.O_RDWR | os.O_CREAT), b"x", LIMIT)))
hits = []
signal.signal(signal.SIGXFSZ, lambda *a: hits.append(1))
old = os.open("old", os.O_RDWR | os.O_CREAT)
os.ftruncate(old, 3 * LIMIT)
resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
fd = os.open("file", os.O_RDWR | os.O_CREAT)
full = os.open("full", os.O_RDWR | os.O_CREAT)
os.write(full, b"f" * LIMIT)
data = b"d" * 4000


def attempt(what, call):
    hits.clear()
    try:
        result = call()
    except OSError as error:
        result = errno.errorcode[error.errno]
    # Here the handler runs at the latest.
    (lambda: None)()
    print(what, result, len(hits), os.fstat(fd).st_size, os.lseek(fd, 0, 1))


def raw(number, *args):
    result = libc.syscall(number, *args)
    if result < 0: raise OSError(ctypes.get_errno(), "")
    return result


def at(where, call):
    def work():
        os.ftruncate(fd, 0)
        os.lseek(fd, where, 0)
        return call()
    return work


for where in [0, LIMIT - 4000, LIMIT - 1, LIMIT, LIMIT + 1]:
    print("at", where)
    attempt("write", at(where, lambda: os.write(fd, data)))
    attempt("nothing", at(where, lambda: os.write(fd, b"")))
    attempt("writev", at(where, lambda: os.writev(fd, [data[:1], data[1:]])))
    attempt("pwrite", at(0, lambda: os.pwrite(fd, data, where)))
    attempt("pwritev", at(0, lambda: os.pwritev(fd, [data], where)))
    attempt("truncate", at(0, lambda: os.truncate("file", where)))
    attempt("ftruncate", at(0, lambda: os.ftruncate(fd, where)))
    attempt("fallocate", at(0, lambda: os.posix_fallocate(fd, where, 4000)))
    attempt("allocate and keep", at(0, lambda: raw(285, fd, 1, i64(where), i64(4000))))
    attempt("sendfile", at(where, lambda: os.sendfile(fd, old, 0, 4000)))
    attempt("copy", at(where, lambda: os.copy_file_range(old, fd, 4000, 0)))
    attempt("copy to", at(0, lambda: os.copy_file_range(old, fd, 4000, 0, where)))
    r, w = os.pipe()
    os.write(w, data)
    attempt("splice", at(where, lambda: os.splice(r, fd, 4000)))
    attempt("splice to", at(0, lambda: os.splice(r, fd, 100, offset_dst=where)) if where >= LIMIT else lambda: 0)
# Appending goes by the length; pipes, devices and memory have none or are as files.
appending = os.open("full", os.O_WRONLY | os.O_APPEND)
attempt("append", lambda: os.write(appending, data))
os.ftruncate(full, LIMIT - 5)
attempt("append", lambda: os.write(appending, data))
attempt("append", lambda: os.write(appending, data))
attempt("large", lambda: os.write(fd, b"l" * (3 * LIMIT)) and os.write(fd, b"l"))
memory = os.memfd_create("m")
attempt("memory", lambda: os.write(memory, b"m" * (2 * LIMIT)))
attempt("memory", lambda: os.write(memory, b"m"))
attempt("device", lambda: os.pwrite(os.open("/dev/null", os.O_WRONLY), data, LIMIT))
# What is longer already may be cut.
attempt("cut", lambda: os.ftruncate(old, 2 * LIMIT))
attempt("grow", lambda: os.ftruncate(old, 2 * LIMIT + 1))
attempt("overwrite", lambda: os.pwrite(old, b"o", LIMIT + 7))
