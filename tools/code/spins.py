"""Tests that wait: for an event with a limit, through `eventually`, never in a loop that burns a processor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from source import Source
from workspace import Crate

# Giving up the processor in order to look again, and loops without a body that read what another thread writes.
SPIN = re.compile(r"\b(?:yield_now|spin_loop)\b|\bwhile\s[^{};]*\.load\([^{};]*\{\s*\}|\bloop\s*\{\s*\}")
MENDING = "wait with `eventually` (crates/base/eventually), which has a limit and says what it waited for"


def test_code(crate: Crate, ships: bool) -> Iterator[tuple[Path, Source, str]]:
    """The test code of a crate, the rest blanked: its test folders, `cfg(test)`, all of a crate that only tests use."""
    for path, source in crate.test_sources.items():
        yield path, source, source.code_with_tests
    for path, source in crate.sources.items():
        if not ships or path.stem == "tests":
            yield path, source, source.code_with_tests
        else:
            parts = [" " * start + source.code_with_tests[start:end] for start, end in source.tests]
            for part in parts:
                yield path, source, part


def in_a_loop(source: Source, at: int) -> bool:
    """Whether the innermost loop around `at`, within its function or closure, has no count: `while` or `loop`, not `for`."""
    code = source.code_with_tests
    around = [start for start, end in source.pairs.items() if start < at < end and code[start] == "{"]
    for start in sorted(around, reverse=True):
        before = max(code.rfind(sign, 0, start) for sign in ";{}")
        header = code[before + 1 : start]
        if re.search(r"\b(?:while|loop)\b", header):
            return True
        if re.search(r"\b(?:for|fn)\b|\|", header):
            return False
    return False


def spins(crate: Crate, ships: bool) -> list[tuple[str, int]]:
    """Files, with the lines, in which a test of this crate spins."""
    return [
        (str(path.relative_to(crate.top)), source.line_of(found.start()))
        for path, source, code in test_code(crate, ships)
        for found in SPIN.finditer(code)
        if "{" in found.group() or in_a_loop(source, found.start())
    ]
