"""What the Python runtime does before it knows its function: it loads what many functions have in common
and waits, while it is captured, to be told which function it is. Each then begins in a clone of it.
"""

import gc
import importlib
import json
import os
import sys

import rekindle_restore

#: Modules that many functions import, directly or by way of HTTP clients and the like.
COMMON = (
    "base64 collections.abc concurrent.futures contextlib copy csv dataclasses datetime decimal email.message enum "
    "functools gzip hashlib hmac html http.client http.cookies inspect io itertools json logging logging.config "
    "logging.handlers math mimetypes operator pathlib pickle platform queue random re secrets shutil signal socket "
    "ssl statistics string struct subprocess tempfile textwrap threading time traceback typing urllib.error "
    "urllib.parse urllib.request uuid warnings weakref zipfile zlib"
).split()


def become_a_function(api):
    """Comes back as a function: with its variables, and random numbers of its own."""
    before = tops()
    for name in COMMON:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # an interpreter without it
    added = tops() - before
    # What is here stays: the collector need not walk through it, and so write to its pages, in every clone.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    variables = json.loads(api.wait_in("template/next"))["environment"]
    # Set by the interpreter itself when there is no locale as LANG wants it.
    own = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(own | variables)
    if added & names_in(variables.get("LAMBDA_TASK_ROOT", "/var/task")) or added & names_in("/opt/python"):
        # It has a module of its own under the name of one that is loaded: from the beginning, then.
        os.execve(sys.executable, sys.orig_argv, dict(os.environ))
    rekindle_restore.reseed()


def tops():
    """Names of the packages and modules that are loaded."""
    return {name.partition(".")[0] for name in sys.modules}


def names_in(directory):
    """Names of the packages and modules in a directory, and more."""
    try:
        return {name.partition(".")[0] for name in os.listdir(directory)}
    except OSError:
        return set()
