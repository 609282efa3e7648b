#!/usr/bin/env python3
"""Shows that no system call of guest code reaches the host kernel, by watching every one that does.

    confinement.py REKINDLE [COMMAND...]       (default: REKINDLE demo)

`strace -f` cannot watch the guests, since a sandbox traces them itself; the host's own tracepoints can. `sys_enter` is met
by a call that the host kernel is about to carry out, `sys_exit` by every call, also by one that seccomp took away.
Each call that a guest's host thread carries out must come from the one page of our code in its address space, above all
that a guest can map; or be one that our kernel lets through because it has only plain registers for arguments and changes
nothing but the thread itself. Ends with 0 if so, with 1 and the calls if not, and with 77 where the host does not let us watch.
Needs root and perf (Debian: linux-perf). That it can fail: a copy of cat called `guest` in place of REKINDLE fails.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

# crates/platform/process/src/layout.rs
CODE, CODE_LEN = 0x7FFF_FF00_0000, 0x1000
NAMES = {0: "read", 3: "close", 9: "mmap", 10: "mprotect", 11: "munmap", 13: "rt_sigaction", 16: "ioctl", 25: "mremap", 28: "madvise",
         56: "clone", 60: "exit", 72: "fcntl", 158: "arch_prctl", 317: "seccomp", 436: "close_range", 231: "exit_group"}
# A thread begins with the end of fork, vfork, clone or clone3, and is a stub's from the prctl(2) that names it so.
BEGINNINGS = {56, 57, 58, 435, 157}
# exit(2) of a thread, and arch_prctl(2) of its own segment register, once our kernel has decided so.
LET_THROUGH = {60, 158}
# What the threads of stubs are called on the host.
STUB = "guest"
HEAD = re.compile(r"^(\S.*?)\s+(\d+)\s+raw_syscalls:(sys_enter|sys_exit): NR (-?\d+)")
FRAME = re.compile(r"^\s+([0-9a-f]+) \((.*)\)")


def events(path):
    """Thread, event, call number and instruction of each event of a stub."""
    script = subprocess.Popen(["perf", "script", "-i", path, "-F", "comm,tid,event,trace,ip,dso"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    current, frames = None, []
    for line in script.stdout:
        head = HEAD.match(line)
        if head:
            if current:
                yield *current, frames
            current, frames = None, []
            if head[1].strip() == STUB:
                current = int(head[2]), head[3], int(head[4])
        elif current and (frame := FRAME.match(line)):
            frames.append((int(frame[1], 16), frame[2]))
    if current:
        yield *current, frames


def main():
    command = sys.argv[1:] if len(sys.argv) > 2 else [sys.argv[1], "demo"]
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "perf.data")
        record = ["perf", "record", "-q", "-g", "-m", "16M", "-o", path, "-e", "raw_syscalls:sys_enter", "-e",
                  "raw_syscalls:sys_exit", "--", *command]
        try:
            done = subprocess.run(record, capture_output=True, text=True)
        except FileNotFoundError:
            print("perf is not installed: nothing was shown", file=sys.stderr)
            return 77
        if not os.path.exists(path) or os.path.getsize(path) == 0:
            print(f"perf could not record: {done.stderr.strip()}", file=sys.stderr)
            return 77
        if done.returncode != 0:
            print(f"{' '.join(command)} failed: {done.stderr}", file=sys.stderr)
            return 1
        inside, asked, entered, wrong = set(), 0, collections.Counter(), []
        own = os.path.realpath(command[0])
        for tid, event, number, frames in events(path):
            if event == "sys_exit":
                asked += tid not in inside and number not in BEGINNINGS
                inside.discard(tid)
                continue
            inside.add(tid)
            # The last frame is the instruction in user mode; what precedes it is the host kernel's.
            ip, image = next((frame for frame in frames if frame[0] < 1 << 47), (0, "nowhere"))
            if CODE <= ip < CODE + CODE_LEN:
                entered[number] += 1
            elif os.path.realpath(image) == own:
                # A stub begins as a copy of our own process, which takes everything away from itself.
                entered[f"{number} (by our program, before there is a guest)"] += 1
            elif number in LET_THROUGH:
                entered[f"{number} (let through by our kernel: plain registers)"] += 1
            else:
                wrong.append((tid, number, f"{image}+{ip:#x}"))
    print(f"{asked} system calls of guests' threads were taken away from the host. Carried out by the host, from our own page:")
    for number, count in sorted(entered.items(), key=lambda item: -item[1]):
        bare = int(str(number).split()[0])
        print(f"{count:8}  {NAMES.get(bare, '')} {number}")
    for tid, number, ip in wrong[:50]:
        print(f"FROM GUEST CODE: call {number} at {ip} on thread {tid}")
    if not asked or not entered:
        print("nothing of a guest was seen: the watch is broken")
        return 1
    print(f"{len(wrong)} calls from guest code reached the host kernel")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
