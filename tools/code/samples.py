"""Small workspaces in a temporary folder, for the tests of these scripts."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import workspace


class Samples(unittest.TestCase):
    """A test with a folder of its own, in which crates can be made."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name).resolve()
        (self.top / "Cargo.toml").write_text('[workspace]\nresolver = "3"\nmembers = ["crates/*/*"]\n')

    def crate(self, folder: str, files: dict[str, str], uses: list[str] = ()) -> None:
        """Makes the crate `crates/FOLDER` of these files; `uses`: folders of those it depends on."""
        name = folder.replace("/", "-")
        lines = [f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]']
        lines += [f'{used.replace("/", "-")} = {{ path = "../../{used}" }}' for used in uses]
        path = self.top / "crates" / folder
        for file, text in files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text)
        (path / "Cargo.toml").write_text("\n".join(lines) + "\n")

    def load(self) -> list[workspace.Crate]:
        """The crates made so far."""
        return workspace.load(self.top)
