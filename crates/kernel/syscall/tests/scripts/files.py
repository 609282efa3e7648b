"""Files, directories and what is open of them: prints the same on Linux, in a sandbox, and moved from one to another."""
import ctypes, fcntl, mmap, os, struct, sys, tempfile

libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("d")
fd = os.open("d/file", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
print("write", os.write(fd, b"0123456789"), os.lseek(fd, -3, 2), os.read(fd, 9))
other, again = os.dup(fd), os.open("d/file", os.O_RDONLY)
os.lseek(other, 2, 0)
print("shared offset", os.read(fd, 2), "own offset", os.read(again, 2))
append = os.open("d/file", os.O_WRONLY | os.O_APPEND)
os.lseek(append, 0, 0)
os.write(append, b"end")
print("append", os.pread(fd, 99, 8), fcntl.fcntl(append, fcntl.F_GETFL) & os.O_APPEND != 0)
os.ftruncate(fd, 4)
os.pwrite(fd, b"far", 9000)
print("hole", os.lseek(fd, 0, 3), os.lseek(fd, 0, 4) > 0, os.fstat(fd).st_size, os.pread(fd, 6, 2))
libc.fallocate(fd, 3, ctypes.c_long(9000), ctypes.c_long(2))
print("punched", os.pread(fd, 9, 8998))
# Names come and go under open files.
os.rename("d/file", "d/moved")
os.link("d/moved", "d/linked")
print("links", os.fstat(fd).st_nlink, os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
os.unlink("d/moved")
print("still", os.fstat(fd).st_nlink, open("d/linked", "rb").read(4))
os.unlink("d/linked")
print("gone", os.fstat(fd).st_nlink, os.pread(again, 4, 0), os.readlink(f"/proc/self/fd/{again}").endswith("(deleted)"))
os.write(append, b"!")
print("one file", os.pread(again, 1, os.fstat(fd).st_size - 1))
for number in (fd, other, again, append):
    os.close(number)
# Listings.
names = {f"name-{n:04}" for n in range(150)}
for name in names:
    open(f"d/{name}", "w").close()
seen = []
with os.scandir("d") as entries:
    for entry in entries:
        seen.append(entry.name)
        if len(seen) % 20 == 0:
            os.stat(entry.path)
print("listed", len(seen), set(seen) == names)
directory = os.open("d", os.O_RDONLY)
buffer, parts = ctypes.create_string_buffer(600), []
while (got := libc.syscall(217, directory, buffer, 600)) > 0:
    at = 0
    while at < got:
        length, = struct.unpack_from("H", buffer, at + 16)
        parts.append(buffer.raw[at + 19:at + length].split(b"\0")[0].decode())
        at += length
print("in parts", len(parts) == len(names) + 2, set(parts) - {".", ".."} == names)
os.close(directory)
for name in names:
    os.unlink(f"d/{name}")
# Below a directory descriptor, in a directory that moved.
os.mkdir("d/sub")
directory = os.open("d/sub", os.O_RDONLY | os.O_DIRECTORY)
os.rename("d/sub", "d/elsewhere")
inner = os.open("inner", os.O_CREAT | os.O_WRONLY, dir_fd=directory)
os.fchdir(directory)
print("below", os.listdir("."), os.path.basename(os.getcwd()))
os.close(inner)
os.unlink("inner")
os.chdir("../..")
os.close(directory)
os.rmdir("d/elsewhere")
# Temporary files that never have a name.
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 10000)
    file.seek(5)
    view = mmap.mmap(file.fileno(), 10000)
    view[7:9] = b"YY"
    print("temporary", file.read(5), view[9990:] == b"x" * 10)
    pid = os.fork()
    if pid == 0:
        view[0:5] = b"child"
        os._exit(0)
    os.waitpid(pid, 0)
    file.seek(0)
    print("seen", file.read(9))
    view.close()
# Mappings of a file that goes away.
with open("d/mapped", "wb+") as file:
    file.write(bytes(range(256)) * 32)
    file.flush()
    shared = mmap.mmap(file.fileno(), 8192)
    private = mmap.mmap(file.fileno(), 8192, flags=mmap.MAP_PRIVATE)
    os.unlink("d/mapped")
    shared[1:3], private[4097:4099] = b"SH", b"PR"
    print("mapped", private[0:4], private[4096:4100], os.pread(file.fileno(), 4, 0), os.pread(file.fileno(), 4, 4096))
print("after", shared[0:4], private[4096:4100])
fd = os.memfd_create("memory")
os.write(fd, b"a" * 5000)
shared = mmap.mmap(fd, 5000)
shared[4999:5000] = b"z"
os.ftruncate(fd, 6000)
print("memfd", os.pread(fd, 3, 4998), os.fstat(fd).st_size)
# Attributes.
with open("d/a", "w") as file:
    os.fchmod(file.fileno(), 0o604)
    os.utime(file.fileno(), ns=(5, 7_000_000_123))
    os.setxattr(file.fileno(), "user.note", b"value")
    s = os.fstat(file.fileno())
    print("attributes", oct(s.st_mode), s.st_atime_ns, s.st_mtime_ns, os.listxattr("d/a"), os.getxattr("d/a", "user.note"))
os.symlink("a", "d/link")
os.mkfifo("d/fifo")
print("kinds", os.readlink("d/link"), sorted(os.listdir("d")), os.lstat("d/fifo").st_mode >> 12)
both = os.open("d/fifo", os.O_RDWR | os.O_NONBLOCK)
os.write(both, b"through")
print("fifo", os.read(os.open("d/fifo", os.O_RDONLY | os.O_NONBLOCK), 9))
# Pipes that are full, half-written blocks, and bytes moved without a copy.
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(r)
    os.write(w, b"p" * 200_000)
    os._exit(0)
os.close(w)
print("through a pipe", sum(len(part) for part in iter(lambda: os.read(r, 30_000), b"")), os.waitpid(pid, 0)[1])
with open("d/long", "wb") as file:
    file.write(b"q" * 150_000)
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(r)
    with open("d/long", "rb") as file:
        left = 150_000
        while left:
            left -= os.sendfile(w, file.fileno(), None, left)
        os._exit(left)
os.close(w)
print("sent", sum(len(part) for part in iter(lambda: os.read(r, 9000), b"")), os.waitpid(pid, 0)[1])
