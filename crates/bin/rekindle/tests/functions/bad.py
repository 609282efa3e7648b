"""Does to its sandbox what the event says."""

import ctypes
import os
import sys
import time

calls = 0


def handler(event, context):
    global calls
    calls += 1
    return globals()[event](context)


def ok(_):
    return [calls, os.getuid(), os.getcwd()]


def boom(_):
    raise ValueError("boom")


def leave(_):
    os._exit(5)


def segfault(_):
    ctypes.string_at(0)


def kill(_):
    os.kill(os.getpid(), 9)


def sleep(_):
    time.sleep(60)


def spin(_):
    while True:
        pass


def too_large(_):
    return "x" * 7_000_000


def allocate(_):
    held = []
    while True:
        held.append(bytearray(b"x") * 10_000_000)


def fork_bomb(_):
    mine = os.getpid()
    while True:
        try:
            os.fork()
        except OSError as error:
            if os.getpid() == mine:
                return error.strerror
            time.sleep(60)


def descriptors(_):
    held = []
    try:
        for _ in range(100_000):
            held.append(os.open("/dev/null", 0))
    except OSError as error:
        for fd in held:
            os.close(fd)
        return error.strerror


def fill_tmp(_):
    try:
        with open("/tmp/file", "wb") as file:
            for _ in range(700):
                file.write(b"x" * 1_048_576)
    except OSError as error:
        return error.strerror


def shout(_):
    line = "y" * 99 + "\n"
    for _ in range(1000):
        sys.stdout.write(line * 10_000)
    return "done"
