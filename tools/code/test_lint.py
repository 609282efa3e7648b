"""Tests of the lint: on small trees, and on copies of this tree into which something wrong is put."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import direction
import record
import spins
from lint import Lint
from record import Record
from samples import Samples

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]


class Direction(Samples):
    """Which crate may be built with which."""

    def setUp(self) -> None:
        super().setUp()
        self.crate("base/abi", {"src/lib.rs": ""})

    def test_the_towers_meet_in_proto_only(self):
        self.crate("proto/p", {"src/lib.rs": ""}, uses=["base/abi"])
        self.crate("sandbox/s", {"src/lib.rs": ""}, uses=["proto/p"])
        self.crate("node/n", {"src/lib.rs": ""}, uses=["proto/p", "sandbox/s"])
        self.crate("kernel/k", {"src/lib.rs": ""}, uses=["node/n"])
        found = direction.arrows(self.load())
        self.assertEqual(list(found), ["kernel-k -> node-n", "node-n -> sandbox-s"])
        self.assertIn("meet in proto/ only", found["node-n -> sandbox-s"])

    def test_nothing_is_built_with_a_layer_above(self):
        self.crate("control/c", {"src/lib.rs": ""}, uses=["base/abi"])
        self.crate("edge/e", {"src/lib.rs": ""}, uses=["control/c"])
        self.assertEqual(direction.arrows(self.load()), {})
        self.crate("control/c", {"src/lib.rs": ""}, uses=["edge/e"])
        self.assertEqual(list(direction.arrows(self.load())), ["control-c -> edge-e"])

    def test_the_kernel_knows_no_platform(self):
        self.crate("platform/api", {"src/lib.rs": ""})
        self.crate("platform/kvm", {"src/lib.rs": ""}, uses=["platform/api"])
        self.crate("kernel/k", {"src/lib.rs": ""}, uses=["platform/api", "platform/kvm"])
        self.assertEqual(list(direction.arrows(self.load())), ["kernel-k -> platform-kvm"])

    def test_a_new_folder_needs_a_place(self):
        self.crate("somewhere/x", {"src/lib.rs": ""})
        self.assertIn("MAY_USE", direction.arrows(self.load())["somewhere-x -> ?"])


class Waiting(Samples):
    """Loops in tests."""

    def test_spins_of_tests_are_found_and_those_of_production_are_not(self):
        self.crate(
            "bin/a",
            {
                "src/main.rs": "fn main() { while x() { std::thread::yield_now() } }\n#[cfg(test)]\nmod tests {\n    fn t() {\n        while !x.load(R) {}\n    }\n}\n",
                "tests/t.rs": "fn t() {\n    loop { if x { std::hint::spin_loop() } }\n}\n// yield_now\nfn u() {\n    loop { for _ in 0..3 { std::thread::yield_now() } }\n}\n",
            },
        )
        (crate,) = self.load()
        self.assertEqual(sorted(spins.spins(crate, True)), [("crates/bin/a/src/main.rs", 5), ("crates/bin/a/tests/t.rs", 2)])


class Ratchet(unittest.TestCase):
    """What is recorded goes down only."""

    def test_what_went_down_is_written_and_what_went_up_is_not(self):
        known = Record(circles={"a": 5, "b": 2, "c": 3}, circle_percent=41, skipped_tests=1, arrows={"a -> b": "for a while"})
        found = Record(circles={"a": 4, "b": 3}, circle_percent=40, skipped_tests=2, arrows={"a -> b": "?", "c -> d": "?"}, homonyms={"X": "a b"})
        lowered = known.lowered(found)
        self.assertEqual(lowered, Record({"a": 4, "b": 2}, 40, 1, {"a -> b": "for a while"}, {}))

    def test_what_is_written_is_read_again(self):
        known = Record({"a": 5}, 41, 1, {"a -> b": 'with "quotes" and \\'}, {"X": "a b"})
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / record.FILE
            file.parent.mkdir(parents=True)
            file.write_text(known.text())
            self.assertEqual(record.read(Path(folder)), known)


class ChangedCopies(unittest.TestCase):
    """This tree, copied and made worse: each is refused with what to do."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.top = Path(cls.folder.name) / "tree"
        cls.addClassCleanup(cls.folder.cleanup)
        for part in ("crates", "bench", "fuzz", "tests"):
            if (TREE / part).is_dir():
                shutil.copytree(TREE / part, cls.top / part, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "target"))
        for file in ("Cargo.toml", "Cargo.lock", str(record.FILE)):
            (cls.top / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / file, cls.top / file)
        lint = Lint(cls.top)
        # As if what is found now were all recorded: the copy is judged by what is put into it.
        cls.known = lint.found()
        (cls.top / record.FILE).write_text(cls.known.text())

    def put(self, file: str, text: str) -> None:
        """Appends to a file of the copy, for this test only."""
        path = self.top / file
        before = path.read_text() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text((before or "") + text)
        self.addCleanup(lambda: path.unlink() if before is None else path.write_text(before))

    def refused(self, *said: str) -> None:
        """Runs the lint as `make lint` does, and looks for what it says."""
        ran = subprocess.run([sys.executable, "-B", HERE / "lint.py", "--top", self.top], capture_output=True, text=True)
        self.assertEqual(ran.returncode, 1, ran.stdout + ran.stderr)
        for part in said:
            self.assertIn(part, ran.stdout)

    def test_a_new_circle_is_refused(self):
        self.put("crates/proto/lambda/src/lib.rs", "mod chicken;\nmod egg;\n")
        self.put("crates/proto/lambda/src/chicken.rs", "//! One.\nuse crate::egg::Egg;\npub(crate) struct Chicken(Egg);\n")
        self.put("crates/proto/lambda/src/egg.rs", "//! Other.\npub(crate) struct Egg(Option<Box<crate::chicken::Chicken>>);\n")
        self.refused("circle: proto-lambda has 2 modules that use each other, 0 are recorded (chicken, egg)", "ARGS=--circles", "move what both need")

    def test_an_arrow_between_the_towers_is_refused(self):
        manifest = (self.top / "crates/node/pool/Cargo.toml").read_text()
        self.addCleanup((self.top / "crates/node/pool/Cargo.toml").write_text, manifest)
        (self.top / "crates/node/pool/Cargo.toml").write_text(manifest.replace("[dependencies]\n", "[dependencies]\nkernel-vfs.workspace = true\n", 1))
        self.refused("arrow: node-pool -> kernel-vfs: ", "meet in proto/ only", "Put the types that cross into proto/")

    def test_a_name_with_a_second_meaning_is_refused(self):
        self.put("crates/proto/node/src/lib.rs", "/// One.\npub struct Chicken;\n")
        self.put("crates/node/pool/src/lib.rs", "/// Other.\npub struct Chicken;\n")
        self.refused("name: Chicken means several things (crates/node/pool/src/lib.rs", "rename one of them")

    def test_a_spin_in_a_test_is_refused(self):
        self.put("crates/proto/node/tests/spin.rs", "fn t() { while x() { std::thread::yield_now() } }\n")
        self.refused("spin: crates/proto/node/tests/spin.rs:1: wait with `eventually`")

    def test_a_skipped_test_is_refused(self):
        self.put("crates/proto/node/tests/skip.rs", "#[ignore]\nfn t() {}\n")
        self.refused("skipped: crates/proto/node/tests/skip.rs:1: say why", "tests are,")

    def test_a_row_of_the_host_filter_without_a_caller_is_refused(self):
        self.put("crates/sandbox/confine/src/calls.rs", 'const NEW: Caller = by("host/sys/src/call_stops.rs", "resume_to_call", "PTRACE_SYSCALL");\n')
        self.put("crates/sandbox/confine/src/machine.rs", 'const NEW: Caller = by("platform/kvm/src/vcpu.rs", "run", "get_nothing(");\n')
        self.refused(
            "nothing in a sandbox calls `resume_to_call`: name who makes the call, or remove the row",
            "crates/platform/kvm/src/vcpu.rs: no production function `run` with `get_nothing(` in it",
        )

    def test_the_copy_itself_passes(self):
        ran = subprocess.run([sys.executable, "-B", HERE / "lint.py", "--top", self.top], capture_output=True, text=True)
        self.assertEqual((ran.stdout, ran.returncode), ("", 0))


if __name__ == "__main__":
    unittest.main()
