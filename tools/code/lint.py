#!/usr/bin/env python3
"""What clippy cannot see: direction of dependencies, module circles, names, waiting in tests. Part of `make lint`.

    lint.py [--top FOLDER] [--lower]      --lower writes what went down into ratchet.toml (`make ratchet`)

Says for each finding where it is and what to do. What is known and not mended yet stands in `ratchet.toml`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import callers
import direction
import figures
import record
import spins
import workspace
from record import Record

# Where the code has to stay, whatever the record says: lines of nine files in ten, functions over 60 lines (hundredths),
# public items that are documented (hundredths).
FILE_P90, LONG_PERCENT, DOCUMENTED_PERCENT = 350, 0.7, 98.0


class Lint:
    """One look at a tree."""

    def __init__(self, top: Path):
        self.top = top.resolve()
        self.crates = workspace.load(self.top)
        self.tree = figures.measure(self.crates)
        self.forbidden = direction.arrows(self.crates)
        ships = workspace.shipped(self.crates)
        self.spinning = [place for crate in self.crates for place in spins.spins(crate, crate.name in ships)]

    def found(self) -> Record:
        """The record that this tree would have."""
        total = self.tree.total
        return Record(
            circles={one.name: count for one in self.tree.crates if (count := sum(map(len, one.circles)))},
            circle_percent=record.rounded_up(total.circle_lines, total.module_lines),
            skipped_tests=len(total.ignored),
            arrows=self.forbidden,
            homonyms={name: " ".join(sorted(map(crate_of, places))) for name, places in self.tree.homonyms_kept.items()},
        )

    def findings(self, known: Record) -> list[str]:
        """Everything that is worse than `known`, or that `known` still has and is gone."""
        found = self.found()
        return [
            *self.circles(found, known),
            *self.arrows(found, known),
            *self.names(found, known),
            *self.tests(found, known),
            *self.bounds(),
            *callers.findings(self.top),
            *stale(found, known),
        ]

    def circles(self, found: Record, known: Record) -> list[str]:
        """Modules that use each other."""
        out = []
        for one in self.tree.crates:
            now, before = found.circles.get(one.name, 0), known.circles.get(one.name, 0)
            if now > before:
                parts = "; ".join(", ".join(module.full.removeprefix("crate::") for module in part) for part in one.circles)
                out.append(
                    f"circle: {one.name} has {now} modules that use each other, {before} are recorded ({parts}). "
                    "`make measure-code ARGS=--circles` lists who uses what: move what both need into a module that uses neither"
                )
        if found.circle_percent > known.circle_percent:
            out.append(f"circle: {found.circle_percent} % of all lines lie in module circles, {known.circle_percent} % are recorded")
        return out

    def arrows(self, found: Record, known: Record) -> list[str]:
        """Dependencies against the direction."""
        return [f"arrow: {arrow}: {why}" for arrow, why in found.arrows.items() if arrow not in known.arrows]

    def names(self, found: Record, known: Record) -> list[str]:
        """Names that mean several things."""
        return [
            f"name: {name} means several things ({' '.join(self.tree.homonyms_kept[name])}): in proto, node and sandbox a name means one; rename one of them "
            "by its field's word (glossary of ARCHITECTURE.md)"
            for name in found.homonyms
            if name not in known.homonyms
        ]

    def tests(self, found: Record, known: Record) -> list[str]:
        """Tests that are skipped or burn a processor."""
        out = [f"spin: {file}:{line}: {spins.MENDING}" for file, line in self.spinning]
        out += [f"skipped: {place}: say why: #[ignore = \"...\"]" for place, why in self.tree.total.ignored if not why]
        if found.skipped_tests > known.skipped_tests:
            listed = "; ".join(f"{place} {why}" for place, why in self.tree.total.ignored)
            out.append(f"skipped: {found.skipped_tests} tests are, {known.skipped_tests} are recorded ({listed})")
        return out

    def bounds(self) -> list[str]:
        """Sizes and documentation."""
        said = figures.words(self.tree.total)
        out = []
        if said["file_p90"] > FILE_P90:
            out.append(f"size: one file in ten has over {said['file_p90']} lines, {FILE_P90} is the bound: divide the longest (ARGS=--long)")
        if said["functions_over_60_percent"] > LONG_PERCENT:
            out.append(f"size: {said['functions_over_60_percent']} % of the functions have over 60 lines, {LONG_PERCENT} is the bound (ARGS=--long)")
        if said["documented_percent"] < DOCUMENTED_PERCENT:
            out.append(f"documentation: {said['documented_percent']} % of the public items have it, {DOCUMENTED_PERCENT} is the bound")
        out += [f"panic: {place}: production code returns an error" for place in self.tree.total.panics]
        return out


def crate_of(place: str) -> str:
    """The folders of the crate that a file lies in, as `node/pool`."""
    return "/".join(place.split("/")[1:3])


def stale(found: Record, known: Record) -> list[str]:
    """What the record still has and the tree has not."""
    if known.lowered(found) == known:
        return []
    return ["record: ratchet.toml tells of more than there is: `make ratchet` writes what went down; commit it"]


def main() -> int:
    """Reads the arguments, looks, prints."""
    asked = argparse.ArgumentParser(description="Checks the structure of this tree.")
    asked.add_argument("--top", type=Path, default=Path(__file__).resolve().parents[2], help="the tree (default: this one)")
    asked.add_argument("--lower", action="store_true", help="write what went down into ratchet.toml")
    asked = asked.parse_args()
    lint = Lint(asked.top)
    known = record.read(asked.top)
    if asked.lower:
        known = known.lowered(lint.found())
        (asked.top / record.FILE).write_text(known.text())
    findings = lint.findings(known)
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} findings about the structure")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
