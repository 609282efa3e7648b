#!/usr/bin/env python3
"""Host calls that the jail allows and nobody makes: rows of the host filter without a caller.

    callers.py [--top FOLDER] [--list]      prints what it finds, and ends with 1 when that is anything

The rows stand in `crates/sandbox/confine/src/{calls,values,machine}.rs`. Each row (`rule`), and each value of an argument (`value`), names a
place, `by(file below crates/, function, what stands in it)`. That place must be production code that a sandbox is built with. A function of
`host/sys` is a wrapper: it is a caller only when somebody above, or another such function of its file, calls it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import workspace
from source import Source

LISTS = tuple(f"crates/sandbox/confine/src/{name}.rs" for name in ("calls", "values", "machine"))
WRAPPERS = "host/sys/"
# What a sandbox process is built with, and the lists themselves, which call nothing.
SANDBOX, JAIL = "sandbox-instance", "sandbox-confine"

BY = re.compile(r'\bby\(\s*"([^"]+)",\s*"(\w+)",\s*"([^"]+)",?\s*\)')


class Places:
    """The production code of a sandbox."""

    def __init__(self, top: Path):
        crates = workspace.load(top)
        names = workspace.linked_from(crates, {SANDBOX}) - {JAIL}
        self.files: dict[str, Source] = {}
        for crate in crates:
            if crate.name in names:
                for path, source in crate.sources.items():
                    self.files[str(path.relative_to(top / "crates"))] = source
        self.above = [source.code for file, source in self.files.items() if not file.startswith(WRAPPERS)]

    def bodies(self, file: str, function: str) -> list[str]:
        """The text of every production function of this name."""
        source = self.files[file]
        found = re.finditer(rf"\bfn {function}\b", source.code)
        return [source.code[one.start() : source.end_of_item(one.start(), source.code)] for one in found]

    def is_called(self, file: str, function: str, asked: frozenset[str] = frozenset()) -> bool:
        """Whether a wrapper is called from above, or by a wrapper of its file that is."""
        call = re.compile(rf"(?:\.|::)\s*{function}\s*\(")
        imported = re.compile(rf"\buse host_sys\b[^;]*\b{function}\b")
        if any(call.search(code) or imported.search(code) for code in self.above):
            return True
        near = re.compile(rf"(?<!fn ){function}\s*\(")
        names = set(re.findall(r"\bfn (\w+)", self.files[file].code)) - asked - {function}
        return any(
            near.search(body) and self.is_called(file, name, asked | {function})
            for name in names
            for body in self.bodies(file, name)
        )

    def fault(self, file: str, function: str, code: str) -> str | None:
        """What is wrong with a place; nothing when it makes the call."""
        if file not in self.files:
            return "no file that a sandbox is built with"
        if not any(code in body for body in self.bodies(file, function)):
            return f"no production function `{function}` with `{code}` in it"
        if file.startswith(WRAPPERS) and not self.is_called(file, function):
            return f"nothing in a sandbox calls `{function}`"
        return None


def rows(top: Path) -> list[tuple[str, str, str, str]]:
    """Every place that the lists name: where it is named, file, function, code."""
    found = []
    for file in LISTS:
        text = (top / file).read_text()
        for one in BY.finditer(text):
            line = text.count("\n", 0, one.start()) + 1
            found.append((f"{file}:{line}", one[1], one[2], one[3]))
    return found


def findings(top: Path) -> list[str]:
    """Rows without a caller, as lines for people."""
    top = top.resolve()
    places = Places(top)
    out = []
    for where, file, function, code in rows(top):
        fault = places.fault(file, function, code)
        if fault:
            out.append(f"filter: {where}: crates/{file}: {fault}: name who makes the call, or remove the row")
    return out


def main() -> int:
    """Reads the arguments, looks, prints."""
    asked = argparse.ArgumentParser(description="Finds rows of the host filter without a caller.")
    asked.add_argument("--top", type=Path, default=Path(__file__).resolve().parents[2], help="the tree (default: this one)")
    asked.add_argument("--list", action="store_true", help="print the places that the lists name, and look nowhere")
    asked = asked.parse_args()
    if asked.list:
        for _, *place in rows(asked.top):
            print(*place)
        return 0
    found = findings(asked.top)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
