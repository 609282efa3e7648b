"""The crates of a work tree: where they lie, what they depend on, their files.

Asks `cargo metadata --no-deps`, which reads manifests only.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from source import Source


@dataclass(eq=False)
class Crate:
    """One crate of the workspace."""

    name: str
    # From the top of the tree, as `crates/kernel/vfs`.
    folder: str
    top: Path
    # Names of crates of this workspace: what it is built with, and what only its tests are.
    uses: list[str] = field(default_factory=list)
    tests_use: list[str] = field(default_factory=list)
    # Roots of its module trees that are production: a library, programs.
    roots: list[Path] = field(default_factory=list)
    has_program: bool = False

    @property
    def layer(self) -> str:
        """The folder of its layer (`kernel`), or its own where it lies outside `crates/` (`bench`)."""
        parts = self.folder.split("/")
        return parts[1] if parts[0] == "crates" and len(parts) > 2 else parts[0]

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.top / self.folder

    @cached_property
    def sources(self) -> dict[Path, Source]:
        """Every Rust file beneath `src`, also those that only tests are compiled with."""
        return {path: Source(path.read_text()) for path in sorted((self.path / "src").rglob("*.rs"))}

    @cached_property
    def test_sources(self) -> dict[Path, Source]:
        """Every Rust file of its test, example and benchmark folders."""
        found = [path for name in ("tests", "examples", "benches") for path in (self.path / name).rglob("*.rs")]
        return {path: Source(path.read_text()) for path in sorted(found)}


def load(top: Path) -> list[Crate]:
    """The crates of the workspace at `top`, by folder."""
    asked = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path", top / "Cargo.toml"],
        check=True,
        capture_output=True,
        text=True,
    )
    packages = json.loads(asked.stdout)["packages"]
    top = top.resolve()
    names = {package["name"] for package in packages}
    crates = []
    for package in packages:
        crate = Crate(package["name"], str(Path(package["manifest_path"]).resolve().parent.relative_to(top)), top)
        for dependency in package["dependencies"]:
            if dependency["name"] in names and dependency.get("path"):
                (crate.tests_use if dependency["kind"] == "dev" else crate.uses).append(dependency["name"])
        for target in package["targets"]:
            if set(target["kind"]) & {"lib", "rlib", "proc-macro", "cdylib", "staticlib"} or "bin" in target["kind"]:
                crate.roots.append(Path(target["src_path"]).resolve())
                crate.has_program |= "bin" in target["kind"]
        crates.append(crate)
    return sorted(crates, key=lambda crate: crate.folder)


def linked_from(crates: list[Crate], names: set[str]) -> set[str]:
    """`names` and all crates that they are built with."""
    uses = {crate.name: crate.uses for crate in crates}
    seen: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(uses[name])
    return seen


def shipped(crates: list[Crate]) -> set[str]:
    """Crates that a program is built with; the others serve tests only."""
    return linked_from(crates, {crate.name for crate in crates if crate.has_program})
