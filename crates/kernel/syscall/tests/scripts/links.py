"""`st_nlink` of directories that are made up: prints the same on Linux and in a sandbox."""
import os, threading


def inner(path):
    names = [os.path.join(path, name) for name in os.listdir(path)]
    return sum(os.path.isdir(name) and not os.path.islink(name) for name in names)


def counts(path):
    print(path, os.stat(path).st_nlink - 2 - inner(path))


print(os.stat("/proc/self/task").st_nlink)
gate = threading.Event()
threads = [threading.Thread(target=gate.wait) for _ in range(3)]
for thread in threads: thread.start()
print(os.stat("/proc/self/task").st_nlink, len(os.listdir("/proc/self/task")))
fd = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
print(os.fstat(fd).st_nlink)
gate.set()
for thread in threads: thread.join()
for path in ["/proc/self", "/proc/self/task", "/proc/thread-self", "/dev/pts", "/dev/shm", "/sys/devices", "/sys/devices/system/cpu"]: counts(path)
for path in ["/proc/self/fd", "/proc/self/fdinfo", "/proc/self/ns", "/proc/sys", "/proc/sys/kernel", "/proc/sys/net/core"]:
    print(path, os.stat(path).st_nlink)
