"""A stand-in for the sandbox process that can be captured and restored, as far as the node sees.

`sandbox.py DIRECTORY --zygote --fd 0`: it divides when it is told to, and each part is a sandbox. What that does is in files of DIRECTORY (`capture`, `restore`, `offer`:
whether it speaks of snapshots), what it did is appended to `log`. A function's state is the number of events it has answered.
"""

import array
import ctypes
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import time

place = pathlib.Path(sys.argv[1])
link = socket.socket(fileno=0)
waiting = []


def note(text):
    with open(place / "log", "a") as log:
        log.write(text + "\n")


def behaviour(name):
    path = place / name
    return path.read_text().strip() if path.exists() else "well"


def exactly(count):
    data = b""
    while len(data) < count:
        piece, ancillary, _, _ = link.recvmsg(count - len(data), socket.CMSG_SPACE(16))
        if not piece:
            sys.exit(0)
        for level, kind, raw in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            numbers = array.array("i")
            numbers.frombytes(raw)
            waiting.extend(numbers)
        data += piece
    return data


def hear():
    head, payload = struct.unpack("<II", exactly(8))
    return json.loads(exactly(head)), exactly(payload)


def say(payload=b"", **head):
    text = json.dumps(head).encode()
    link.sendall(struct.pack("<II", len(text), len(payload)) + text + payload)


def serve(answered, first=None):
    while True:
        head, payload = first or hear()
        first = None
        if head["type"] == "capture":
            assert answered == 0
            capture(head)
        elif head["type"] == "event":
            answered += 1
            body = json.dumps({"answered": answered, "event": json.loads(payload)}).encode()
            say(body, type="response", request_id=head["request_id"], content_type=None)
            say(type="usage", max_memory_bytes=1)


def capture(head):
    note("capture")
    assert head["max_bytes"] > 0
    file = open(waiting.pop(0), "wb")
    how = behaviour("capture")
    if how == "unsupported":
        return say(type="refused", kind="unsupported", reason="no engine")
    content = b"state: 41 " + (b"s3cr3t-value" if how == "secret" else b"")
    file.write(content)
    file.close()
    say(type="captured", bytes=len(content), nanoseconds=1_500_000)


def check_late(environment):
    late = dict(environment)
    assert late.pop("AWS_LAMBDA_LOG_GROUP_NAME") == "/aws/lambda/f"
    assert "/[1]" in late.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    assert late == {"KEY": "s3cr3t-value"}, late


def divide():
    """Returns in each sandbox, which is a child of the node's (clone(2), CLONE_PARENT)."""
    global link
    clone, clone_parent = 56, 0x8000
    libc = ctypes.CDLL(None, use_errno=True)
    while True:
        head, _ = hear()
        assert head["type"] == "fork"
        channel, errors = waiting
        waiting.clear()
        pid = libc.syscall(clone, clone_parent | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            link.detach()
            os.dup2(channel, 0)
            os.dup2(errors, 2)
        os.close(channel)
        os.close(errors)
        if pid == 0:
            link = socket.socket(fileno=0)
            return
        say(type="forked", pid=pid)


assert sys.argv[2:] == ["--zygote", "--fd", "0"]
divide()
first, _ = hear()
if first["type"] == "start":
    note("start")
    environment = dict(first["program"]["env"])
    captured = environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
    if captured and behaviour("offer") == "well":
        assert "KEY" not in environment and "AWS_LAMBDA_LOG_STREAM_NAME" not in environment
        say(type="restore_point")
        while True:
            head, _ = hear()
            if head["type"] == "capture":
                capture(head)
            elif head["type"] == "resume":
                check_late(head["environment"])
                break
    say(type="ready")
    serve(0)
elif first["type"] == "shell":
    say(type="shell_ready")
    head, payload = hear()
    body, seed = payload[:-32], payload[-32:]
    assert head["type"] == "restore" and len(seed) == 32 and any(seed)
    assert bool(head["event"]) == bool(body)
    if behaviour("offer") == "well":
        check_late(head["environment"])
    content = open(waiting.pop(0), "rb").read()
    how = behaviour("restore")
    note(f"restore {how}")
    if how == "die":
        sys.exit("it fell over")
    if how == "break":
        say(type="restored", times=[])
        say(type="exited", status={"signal": 11}, reason="itself", max_memory_bytes=1)
        sys.exit(0)
    if how != "well":
        say(type="refused", kind=how, reason=f"a test: {how}")
        sys.exit(0)
    say(type="restored", times=[{"stage": "identity", "nanoseconds": 2_000_000}])
    first = None
    if head["event"]:
        assert head["event"]["timeout_ms"] > 0
        first = ({"type": "event", **head["event"]["head"]}, body)
        say(type="begun", nanoseconds=1_000, at=time.time_ns())
    else:
        say(type="ready")
    serve(int(content.split()[1]), first)
