#!/usr/bin/env python3
"""CPython's own tests, on the machine itself against a sandbox, case by case.

    compare.py --rekindle PROGRAM [--platform NAME] [--patience SECONDS] [--jobs N] [--verbose] [MODULE...]

Prints a table of modules and every case that passes natively and not in the sandbox. Ends with 0 when each of those is in
exceptions.toml with its reason, and at least 98 % pass; with 1 otherwise, and with 2 when it could not compare.
"""

import argparse
import ast
import concurrent.futures
import dataclasses
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
# Slow packages are taken apart, so that their parts run side by side.
ASYNCIO = """base_events buffered_proto context events futures futures2 locks pep492 proactor_events protocols queues
    runners selector_events sendfile server sock_lowlevel ssl sslproto streams subprocess taskgroups tasks threads timeouts
    transports unix_events waitfor""".split()
MODULES = """test_os test_posix test_subprocess test_signal test_threading test_thread test_socket test_select test_selectors
    test_epoll test_poll test_mmap test_fcntl test_io test_fileio test_tempfile test_shutil test_pathlib test_time
    test_concurrent_futures test_ssl test_httpservers test_random test_uuid test_fork1 test_eintr
    test_pty""".split()
MODULES += [f"test_asyncio.test_{part}" for part in ASYNCIO]
SQLITE = "backup dbapi dump factory hooks regression transactions types userfunctions".split()
MODULES += [f"test_sqlite3.test_{part}" for part in SQLITE]


@dataclasses.dataclass
class Outcome:
    """What became of a module's cases on one side."""

    cases: dict = dataclasses.field(default_factory=dict)
    why: dict = dataclasses.field(default_factory=dict)
    note: str = ""
    seconds: float = 0.0


class Side:
    def __init__(self, patience, extra, rekindle=None, platform="process"):
        """`patience`: longest silence before the case at hand counts as hung, in seconds."""
        self.patience, self.extra, self.rekindle, self.platform = patience, extra, rekindle, platform

    def command(self, module):
        if not self.rekindle:
            # Signals are at their defaults, as there: who runs this in the background has them ignore SIGINT.
            return ["/usr/bin/env", "--default-signal", PYTHON, str(HERE / "cases.py"), module]
        command = [self.rekindle, "run", "--platform", self.platform, "--memory", "2G", "--workdir", "/tmp"]
        command += ["--mount", f"{HERE}:/cases:ro"]
        if self.extra:
            command += ["--mount", f"{self.extra}:/extra:ro", "--env", "EXTRA_TESTS=/extra"]
        return command + ["--", PYTHON, "/cases/cases.py", module]

    def environment(self):
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        if self.extra and not self.rekindle:
            env["EXTRA_TESTS"] = str(self.extra)
        return env

    def run(self, module):
        outcome, began = Outcome(), time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            # A case that hangs or ends the process costs itself: the rest is run again without it.
            for _ in range(50):
                if self.go_on(module, outcome, place):
                    break
        outcome.seconds = time.monotonic() - began
        return outcome

    def go_on(self, module, outcome, place):
        """Runs what is left; false when a case broke off the run."""
        process = subprocess.Popen(
            self.command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=place,
            env=self.environment(), start_new_session=True)
        process.stdin.write("\n".join(outcome.cases).encode())
        process.stdin.close()
        current, why, done, buffer = None, "", False, b""
        while not done:
            if not select.select([process.stdout], [], [], self.patience)[0]:
                break
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                break
            *lines, buffer = (buffer + part).split(b"\n")
            for line in lines:
                kind, _, rest = line.decode("utf-8", "replace").partition(" ")
                if kind == "begin":
                    current = rest
                elif kind == "why":
                    why = rest
                elif kind in ("end", "fixture"):
                    status, _, case = rest.partition(" ")
                    if kind == "end":
                        outcome.cases[case] = status
                        current = None
                    if why:
                        outcome.why[case] = why
                    why = ""
                done = done or kind == "done"
        hung = process.poll() is None and not done
        self.end(process)
        if not done and current is None and not outcome.cases:
            outcome.note = "hung at its start" if hung else f"could not be loaded (exit {process.returncode})"
        if done or current is None:
            return True
        outcome.cases[current] = "hung" if hung else f"ended the process ({process.returncode})"
        return False

    @staticmethod
    def end(process):
        for wait, number in ((5, signal.SIGTERM), (5, signal.SIGKILL)):
            try:
                process.wait(0 if number == signal.SIGTERM and process.poll() is not None else 0.1)
                break
            except subprocess.TimeoutExpired:
                try:
                    os.killpg(process.pid, number)
                    process.wait(wait)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
        process.stdout.close()


def extra_tests():
    """A directory with test_sqlite3, which Debian's package leaves out, from another CPython of the machine."""
    script = "import sys, os, test; print([p for p in test.__path__ if os.path.isdir(p + '/test_sqlite3')][0])"
    for python in ("python3", *sorted(map(str, pathlib.Path("/usr/local/bin").glob("python3.*[0-9]")))):
        found = subprocess.run([python, "-c", script], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return None


def compare(module, native, sandbox):
    theirs = native.run(module)
    return module, theirs, sandbox.run(module)


def table(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(w) if i == 0 else str(cell).rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rekindle", required=True)
    parser.add_argument("--platform", default="process")
    parser.add_argument("--patience", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print why each case failed in the sandbox")
    parser.add_argument("modules", nargs="*", default=MODULES)
    args = parser.parse_args()
    if not any(pathlib.Path(p).glob("test/test_os.py") for p in pathlib.Path("/usr/lib").glob("python3.*")):
        print("CPython's tests are missing: run tests/cpython.sh", file=sys.stderr)
        return 2
    reasons = {entry["case"]: entry["reason"] for entry in tomllib.loads((HERE / "exceptions.toml").read_text())["exception"]}
    modules = args.modules or MODULES
    extra, began = extra_tests(), time.monotonic()
    native = Side(args.patience, extra)
    sandbox = Side(args.patience, extra, os.path.abspath(args.rekindle), args.platform)
    rows, exceptions, passed, total, broken = [("module", "native passes", "sandbox passes", "native s", "sandbox s")], [], 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for future in concurrent.futures.as_completed(pool.submit(compare, m, native, sandbox) for m in modules):
            module, theirs, ours = future.result()
            good = [case for case, status in theirs.cases.items() if status == "ok"]
            bad = [case for case in good if ours.cases.get(case) != "ok"]
            rows.append((module, len(good), len(good) - len(bad), f"{theirs.seconds:.0f}", f"{ours.seconds:.0f}"))
            passed, total = passed + len(good) - len(bad), total + len(good)
            if not good:
                broken.append(f"{module}: no case passes natively; {theirs.note or 'every case is skipped'}")
            for case in bad:
                exceptions.append((case, ours.cases.get(case, ours.note or "not run"), reasons.get(case)))
                if args.verbose and case in ours.why:
                    print(f"--- {case}\n{ast.literal_eval(ours.why[case])}", file=sys.stderr)
            print(f"[{time.monotonic() - began:6.0f} s] {module}: {len(good) - len(bad)} of {len(good)}", file=sys.stderr)
    rows[1:] = sorted(rows[1:], key=lambda row: modules.index(row[0]))
    rows.append(("all", total, passed, "", f"{time.monotonic() - began:.0f}"))
    table(rows)
    for case, status, reason in exceptions:
        print(f"{status}: {case}: {reason or 'NO REASON GIVEN'}")
    for line in broken:
        print(line)
    share = 100 * passed / total if total else 0
    unexplained = sum(1 for _, _, reason in exceptions if reason is None)
    print(f"{share:.2f} % of the cases that pass natively pass in the sandbox; {unexplained} exceptions without a reason")
    return 0 if share >= 98 and not unexplained else 1


if __name__ == "__main__":
    sys.exit(main())
