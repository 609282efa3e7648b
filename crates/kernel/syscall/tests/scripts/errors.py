"""Which mistake a call tells of first, for descriptors of every kind: prints the same on Linux and in a sandbox."""
import ctypes, errno, os, resource, select, socket, struct
libc = ctypes.CDLL(None, use_errno=True); libc.syscall.restype = ctypes.c_long
def call(number, *args):
    n = libc.syscall(*[ctypes.c_long(a) for a in (number, *args)])
    return n if n >= 0 else errno.errorcode[ctypes.get_errno()]
BAD = 0x1000
r, w = os.pipe(); f = os.open('file', os.O_RDWR | os.O_CREAT); os.write(f, b'x' * 5000)
files = dict(none=-1, reader=r, writer=w, file=f, ro=os.open('file', os.O_RDONLY), wo=os.open('file', os.O_WRONLY), path=os.open('file', os.O_PATH), directory=os.open('.', os.O_RDONLY),
             append=os.open('file', os.O_WRONLY | os.O_APPEND), event=os.eventfd(0, os.EFD_NONBLOCK), null=os.open('/dev/null', os.O_RDWR), memfd=os.memfd_create('m'))
ep = select.epoll(); sockets = [socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX), *socket.socketpair(), socket.create_server(('127.0.0.1', 0))]
files.update(epoll=ep.fileno(), **dict(zip(('tcp', 'udp', 'unix', 'pair', 'peer', 'listener'), [s.fileno() for s in sockets])))
for s in sockets: s.setblocking(False)
os.set_blocking(r, False); os.set_blocking(w, False)
buffer = ctypes.create_string_buffer(4096); B = ctypes.addressof(buffer)
part = ctypes.create_string_buffer(struct.pack('PQ', B, 10)); V = ctypes.addressof(part)
everything = list(files)
seekable = ['none', 'file', 'ro', 'wo', 'path', 'memfd', 'reader', 'tcp', 'pair']
for title, number, args, kinds in [
        ('lseek', 8, (0, 9), everything), ('lseek', 8, (-1, 0), seekable), ('lseek', 8, (9000, 3), ['file', 'path', 'none', 'reader']),
        ('fallocate', 285, (0, -1, 5), everything), ('fallocate', 285, (0, 0, 0), everything), ('fallocate', 285, (0x100, 0, 5), everything), ('fallocate', 285, (2, 0, 5), everything),
        ('fallocate', 285, (0, 1 << 62, 1 << 62), everything), ('fallocate', 285, (1, 0, 10), everything),
        ('fsync', 74, (), everything), ('fdatasync', 75, (), everything), ('syncfs', 306, (), everything), ('sync_file_range', 277, (0, 0, 8), everything), ('sync_file_range', 277, (-1, 0, 0), everything),
        ('sync_file_range', 277, (0, -1, 0), everything), ('sync_file_range', 277, (0, 0, 0), everything), ('fadvise', 221, (0, 0, 9), everything), ('fadvise', 221, (0, -1, 0), everything), ('fadvise', 221, (0, 0, 3), everything),
        ('pread', 17, (B, 10, -1), everything), ('pread', 17, (BAD, 10, 0), [k for k in everything if k not in ('null', 'directory')]), ('pwrite', 18, (B, 0, 0), everything),
        ('readv', 19, (V, -1), everything), ('readv', 19, (V, 0), [k for k in everything if k not in ('directory', 'epoll')]), ('readv', 19, (BAD, 1), [k for k in everything if k not in ('directory', 'epoll')]),
        ('writev', 20, (V, 1025), everything), ('writev', 20, (V, 0), [k for k in everything if k not in ('directory', 'epoll')]), ('preadv2', 327, (V, 1, 0, 0, 1 << 9), [k for k in everything if k != 'directory']), ('pwritev2', 328, (V, 1, 0, 0, 1 << 9), everything),
        ('accept', 43, (0, 0), everything), ('accept4', 288, (0, 0, 1), everything), ('listen', 50, (5,), ['none', 'path', 'reader', 'file', 'udp', 'pair']),
        ('epoll_wait', 232, (B, 0, 0), everything), ('epoll_wait', 232, (B, -1, 0), everything), ('epoll_wait', 232, (B, 1 << 30, 0), everything), ('epoll_wait', 232, (B, 1, 0), everything),
        ('F_DUPFD', 72, (0, -1), everything), ('F_ADD_SEALS', 72, (1033, 0), everything), ('F_SETLEASE', 72, (1024, 9), everything), ('fcntl', 72, (99, 0), everything), ('F_SETOWN_EX', 72, (15, BAD), everything),
        ('flock', 73, (0,), everything), ('flock', 73, (3,), everything), ('flock', 73, (9,), everything), ('flock', 73, (5,), everything)]:
    print(title, args[-1] if args and args[-1] < BAD else '', *[f'{kind}={call(number, files[kind], *args)}' for kind in kinds])
# A connection for which there is no number stays for who has one
c = socket.create_connection(sockets[-1].getsockname()); limit = resource.getrlimit(resource.RLIMIT_NOFILE)
select.select([sockets[-1]], [], []); resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1])); print(call(43, files['listener'], 0, 0)); resource.setrlimit(resource.RLIMIT_NOFILE, limit)
a, _ = sockets[-1].accept(); a.send(b'still there'); print(c.recv(20))
