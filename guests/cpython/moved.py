#!/usr/bin/env python3
"""CPython's own tests in a kernel that is captured, ended and replaced at random system calls, against one that is not.

    moved.py --moving PROGRAM [--seed N] [--every CALLS] [--jobs N] [--verbose] [MODULE...]

PROGRAM is the example `moving` of kernel-syscall. Prints a table of modules and every case whose result is another one. Ends
with 0 when there is none and every module was moved, with 1 otherwise.
"""

import argparse
import ast
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

from compare import HERE, PYTHON, Side, table

MODULES = """test_os test_threading test_select test_mmap test_fileio test_subprocess test_signal test_random test_time
    test_concurrent_futures""".split()

# Longest silence before the case at hand counts as hung, in seconds.
PATIENCE = 120
# Calls between two moves where a module makes few.
EVERY = {"test_fileio": 100, "test_mmap": 100, "test_select": 50, "test_time": 100}


class Moved(Side):
    def __init__(self, program, *options, every=1):
        super().__init__(PATIENCE, extra=None)
        self.program, self.options, self.every = program, options, every

    def command(self, module):
        report = f"{self.place}/{module}" if self.place else "/dev/null"
        every = str(min(self.every, EVERY.get(module, self.every)))
        options = ["--layer", str(HERE), "--report", report, "--every", every, *self.options]
        return [self.program, *options, "--", PYTHON, "/cases.py", module]

    @staticmethod
    def end(process):
        """The report comes when all that the module began has ended."""
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        Side.end(process)

    def moves(self, module):
        """How often it was moved, and how often a capture was refused, by reason."""
        moves, refused = 0, collections.Counter()
        try:
            with open(f"{self.place}/{module}") as file:
                text = file.read()
        except FileNotFoundError:
            return 0, refused
        for number in re.findall(r"(\d+) moves", text):
            moves += int(number)
        for number, reason in re.findall(r"refused (\d+) times: (.*)", text):
            refused[re.sub(r"[/.][^/. ]* \(deleted\)", "/* (deleted)", reason)] += int(number)
        return moves, refused

    place = None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--moving", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1000, help="calls between two moves, on average")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print why each case failed")
    parser.add_argument("modules", nargs="*", default=MODULES)
    args = parser.parse_args()
    program, began = os.path.abspath(args.moving), time.monotonic()
    still = Moved(program, "--from", str(1 << 62))
    moved = Moved(program, "--seed", str(args.seed), every=args.every)
    rows = [("module", "cases", "ok without", "ok with", "moves", "refused", "s without", "s with")]
    different, reasons, unmoved = [], collections.Counter(), []
    with tempfile.TemporaryDirectory() as place, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        moved.place = place
        runs = {module: (pool.submit(still.run, module), pool.submit(moved.run, module)) for module in args.modules}
        for module, (theirs, ours) in runs.items():
            theirs, ours = theirs.result(), ours.result()
            moves, refused = moved.moves(module)
            reasons.update(refused)
            ok = [sum(status == "ok" for status in side.cases.values()) for side in (theirs, ours)]
            rows.append((module, len(theirs.cases), *ok, moves, sum(refused.values()),
                         f"{theirs.seconds:.0f}", f"{ours.seconds:.0f}"))
            for case in sorted(theirs.cases.keys() | ours.cases.keys()):
                before, after = (side.cases.get(case, side.note or "not run") for side in (theirs, ours))
                if before != after:
                    different.append(f"{case}: {before}, moved: {after}")
                    why = ours.why.get(case) or theirs.why.get(case)
                    if args.verbose and why:
                        print(f"--- {case}\n{ast.literal_eval(why)}", file=sys.stderr)
            if not moves or not theirs.cases:
                unmoved.append(f"{module}: {moves} moves, {len(theirs.cases)} cases; {theirs.note or ours.note}")
            print(f"[{time.monotonic() - began:6.0f} s] {module}", file=sys.stderr)
    table(rows)
    for reason, times in reasons.most_common():
        print(f"refused {times} times: {reason}")
    for line in unmoved + different:
        print(line)
    print(f"{len(different)} cases with another result; seed {args.seed}, a move in {args.every} calls or fewer")
    return 1 if different or unmoved else 0


if __name__ == "__main__":
    sys.exit(main())
