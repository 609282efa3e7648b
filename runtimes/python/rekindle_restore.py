"""What the Python runtime does around a snapshot: hooks, and random numbers of one's own.

Every clone wakes up in the middle of `Api.restore_next` with the memory of the original. The
kernel has made its own random numbers anew by then; what lives in the process must be made anew
here, before code of the function runs.
"""

import os
import sys


class HookFailed(Exception):
    """A hook of the function raised: what to tell, where, and the status to exit with."""

    def __init__(self, error, path, error_type, status):
        super().__init__(error_type)
        self.error, self.path, self.error_type, self.status = error, path, error_type, status


def registered(which):
    """The hooks of a function that has imported the module of hooks; ours or AWS's own."""
    module = sys.modules.get("snapshot_restore_py")
    return getattr(module, which)() if module is not None else []


def pass_through_snapshot(api):
    """Runs the hooks before, lets the platform take its snapshot, and runs the hooks after."""
    try:
        before = registered("get_before_snapshot")
        while before:
            # Taken off before it runs: the last registered is the first to run.
            func, args, kwargs = before.pop()
            func(*args, **kwargs)
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception as error:
        raise HookFailed(error, "init/error", "Runtime.BeforeSnapshotError", 64) from error
    late = api.restore_next()
    try:
        os.environ.update(late)
        reseed()
        for func, args, kwargs in registered("get_after_restore"):
            func(*args, **kwargs)
    except Exception as error:
        raise HookFailed(error, "restore/error", "Runtime.AfterRestoreError", 65) from error


def reseed():
    """Gives the generators that are loaded a state that no other clone has.

    `secrets`, `uuid.uuid4` and `os.urandom` ask the kernel each time and need nothing.
    """
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    # Adding to OpenSSL's pool reseeds its first generator from the kernel; the generators of
    # threads notice that it was and follow.
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(32), 0.0)
    rust = modules.get("cryptography.hazmat.bindings._rust")
    if rust is not None:  # has an OpenSSL of its own
        try:
            rust._openssl.lib.RAND_add(os.urandom(32), 32, 0.0)
        except AttributeError:
            pass  # a version without this door
