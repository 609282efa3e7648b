"""`ratchet.toml`: read, compared, written anew with what went down."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path("tools/code/ratchet.toml")
HEAD = """\
# What is not as it should be yet. `make lint` refuses more of it; `make ratchet` writes what went down, and never what went up.
"""


@dataclass
class Record:
    """What is known to be wrong."""

    # Modules that lie in circles, by crate; and their share of all lines, in hundredths, rounded up.
    circles: dict[str, int] = field(default_factory=dict)
    circle_percent: int = 0
    # Tests that do not run unless asked for.
    skipped_tests: int = 0
    # Dependencies against the direction, each with its reason.
    arrows: dict[str, str] = field(default_factory=dict)
    # Names that mean several things in proto, node and sandbox, each with the crates that define it.
    homonyms: dict[str, str] = field(default_factory=dict)

    def lowered(self, found: Record) -> Record:
        """This record where `found` is worse, `found` where it is better."""
        return Record(
            circles={name: min(count, found.circles[name]) for name, count in self.circles.items() if name in found.circles},
            circle_percent=min(self.circle_percent, found.circle_percent),
            skipped_tests=min(self.skipped_tests, found.skipped_tests),
            arrows={arrow: why for arrow, why in self.arrows.items() if arrow in found.arrows},
            homonyms={name: found.homonyms[name] for name in self.homonyms if name in found.homonyms},
        )

    def text(self) -> str:
        """As it stands in the file."""
        lines = [HEAD, f"# Share of all lines, in hundredths, rounded up.\ncircle_percent = {self.circle_percent}"]
        lines.append(f"# `#[ignore]`, each with its reason beside it.\nskipped_tests = {self.skipped_tests}")
        for name, what in (
            ("circles", "Modules of a crate that lie in circles: make measure-code ARGS=--circles"),
            ("arrows", "Dependencies against the direction that ARCHITECTURE.md gives, with the reason why they are still there."),
            ("homonyms", "Names of types that mean several things in proto, node and sandbox, and where."),
        ):
            lines.append(f"\n# {what}\n[{name}]")
            lines += [f"{quoted(key)} = {quoted(value)}" for key, value in sorted(getattr(self, name).items())]
        return "\n".join(lines) + "\n"


def quoted(value: str | int) -> str:
    """A value, or a key that may hold anything, in TOML."""
    return str(value) if isinstance(value, int) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(top: Path) -> Record:
    """The record of the tree at `top`."""
    return Record(**tomllib.loads((top / FILE).read_text()))


def rounded_up(part: int, whole: int) -> int:
    """`part` of `whole` in hundredths."""
    return math.ceil(100 * part / whole) if whole else 0
