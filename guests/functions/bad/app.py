"""Misbehaves in the way that the event asks for; each way is a test of the platform."""

import ctypes
import mmap
import os
import sys
import time


def handler(event, context):
    return globals()[event["do"]]()


def nothing():
    return {"ok": True}


def fail():
    raise ValueError("boom")


def sleep():
    time.sleep(60)


def spin():
    while True:
        pass


def leave():
    os._exit(3)


def crash():
    ctypes.string_at(0)


def kill():
    os.kill(os.getpid(), 9)


def eat_memory():
    held = []
    while True:
        held.append(bytearray(10 << 20))


def fork_bomb():
    while True:
        if os.fork() == 0:
            time.sleep(100)


def descriptors():
    opened = []
    try:
        for _ in range(100_000):
            opened.append(os.open("/dev/null", 0))
    except OSError as error:
        for fd in opened:
            os.close(fd)
        return error.strerror


def fill_tmp():
    try:
        with open("/tmp/filled", "wb") as file:
            while True:
                file.write(b"x" * (1 << 20))
    except OSError as error:
        os.unlink("/tmp/filled")
        return error.strerror


def big_answer():
    return "z" * (7 << 20)


def shout():
    line = "y" * 99 + "\n"
    for _ in range(1000):
        sys.stdout.write(line * 10_000)
    return "a gigabyte"


def nap():
    time.sleep(1)
    return "slept"


pages = []


def code(instructions):
    """A function of these machine instructions."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(instructions)
    pages.append(page)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))


def undefined_instruction():
    code(b"\x0f\x0b")()


def privileged_instruction():
    code(b"\xf4")()


def jump_into_kernel():
    ctypes.CFUNCTYPE(ctypes.c_long)(0xFFFFFFFF81000000)()


def call_by_interrupt():
    """The 32-bit entry: mov eax, 1 (exit there); int 0x80; ret."""
    return code(b"\xb8\x01\x00\x00\x00\xcd\x80\x48\x98\xc3")()
