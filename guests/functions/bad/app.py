"""Misbehaves in the way that the event asks for; each way is a test of the platform."""

import ctypes
import os
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
