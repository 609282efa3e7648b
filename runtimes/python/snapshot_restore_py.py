"""Hooks around a snapshot, under the names that AWS's package has.

Functions registered with `register_before_snapshot` run before the snapshot is taken, the last
registered first; those registered with `register_after_restore` run in every clone (and in the
original, which goes on) before its first event, in the order of registration. Both can be used as
decorators, and take arguments for the call: `register_after_restore(connect, host, retries=3)`.

`snapshot_here`, which AWS's package does not have, takes the snapshot at once.
"""

__all__ = ["register_before_snapshot", "register_after_restore", "snapshot_here"]

_FILE = "/proc/rekindle/snapshot"

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` run before the snapshot; returns `func`."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` run after each restore; returns `func`."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """The registered `(func, args, kwargs)`, in order; for the runtime."""
    return _before_snapshot


def get_after_restore():
    """The registered `(func, args, kwargs)`, in order; for the runtime."""
    return _after_restore


def snapshot_here():
    """Asks for the snapshot at this very point: to be called while the function is loaded.

    Returns `captured` in the original, `restored` in each clone, where the random numbers of
    modules that are loaded have been made anew, and `none` where no snapshot was taken.
    """
    import sys

    # What is in the buffers would be written by every clone.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        with open(_FILE, "wb", 0) as file:
            file.write(b"now")
        with open(_FILE) as file:
            word = file.read().strip()
    except OSError:
        return "none"
    if word == "restored":
        import rekindle_restore

        rekindle_restore.reseed()
    return word
