"""Tests of measuring: what is cut off, what is counted, which modules refer to which."""

from __future__ import annotations

import unittest

import figures
import items
import modules
from samples import Samples
from source import Source, mask


class Blanking(unittest.TestCase):
    """Comments, strings and test code."""

    def test_strings_and_comments_are_blanked_and_lines_stay(self):
        text = 'let a = "x { \\" y"; // fn b() {\nlet c = r#"} " fn"#; /* a /* b */ { */ let d = \'{\'; let e: &\'a str;'
        code = mask(text)
        self.assertEqual(len(code), len(text))
        self.assertEqual(code.count("\n"), 1)
        self.assertNotIn("{", code)
        self.assertNotIn("fn", code)
        self.assertIn("&'a str;", code)

    def test_test_code_is_cut_off(self):
        source = Source(
            "fn kept() {}\n"
            "#[cfg(test)]\nuse a::{b, c};\n"
            "struct S {\n    a: u8,\n    #[cfg(test)]\n    b: u8,\n}\n"
            "#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn cut() {}\n}\n"
            "fn also_kept() {}\n"
        )
        self.assertEqual([one.name for one in items.functions(source)], ["kept", "also_kept"])
        self.assertEqual(source.production_lines, 14 - 2 - 2 - 5)

    def test_functions_are_measured_from_signature_to_brace(self):
        source = Source("pub(crate) const fn a<F: Fn(u8) -> u8>(\n    b: bool,\n    c: fn(bool) -> bool,\n) -> [u8; 2] {\n    [1, 2]\n}\ntrait T {\n    fn none(&self);\n}\n")
        (only,) = items.functions(source)
        self.assertEqual((only.name, only.line, only.lines, only.bools, only.parameters), ("a", 1, 6, 1, 2))

    def test_what_may_panic_and_what_is_argued(self):
        source = Source("fn a() {\n    b.unwrap_or(1);\n    b.unwrap();\n    // SAFETY: none\n    unsafe { c() };\n}\n\n\n\n\n\n\nunsafe impl Send for X {}\n")
        self.assertEqual(items.panics(source), [3])
        self.assertEqual(items.unsafe_blocks(source), [(5, True), (13, False)])

    def test_documented(self):
        source = Source("/// Said.\n#[derive(Debug)]\npub struct A;\npub struct B;\n/// Said.\npub fn c() {}\npub fn d() {}\n")
        self.assertEqual([(name, said) for name, _, said in items.public_items(source)], [("A", True), ("B", False), ("c", True), ("d", False)])


class UseTrees(unittest.TestCase):
    """`use` statements."""

    def test_trees_are_expanded(self):
        found = modules.expand("crate::{a::{self, B as C}, d::*, e as _}")
        self.assertEqual(
            found,
            [(["crate", "a"], "a"), (["crate", "a", "B"], "C"), (["crate", "d", "*"], "*"), (["crate", "e"], "")],
        )


class Circles(Samples):
    """Module circles."""

    def circles(self, files: dict[str, str]) -> list[list[str]]:
        """The circles of a crate of these files."""
        self.crate("kernel/a", {f"src/{name}": text for name, text in files.items()})
        (one,) = figures.measure(self.load()).crates
        return [[module.full for module in part] for part in one.circles]

    def test_two_modules_that_use_each_other(self):
        found = self.circles({"lib.rs": "mod a;\nmod b;\n", "a.rs": "use crate::b::B;\npub struct A;\n", "b.rs": "pub struct B(super::a::A);\n"})
        self.assertEqual(found, [["crate::a", "crate::b"]])

    def test_one_way_is_no_circle(self):
        self.assertEqual(self.circles({"lib.rs": "mod a;\nmod b;\n", "a.rs": "use crate::b::B;\n", "b.rs": "pub struct B;\n"}), [])

    def test_reexports_count_for_the_module_that_defines(self):
        found = self.circles(
            {
                "lib.rs": "mod a;\nmod b;\nmod c;\npub use a::A;\npub use c::*;\n",
                "a.rs": "use crate::{C, b};\npub struct A(b::B);\n",
                "b.rs": "use crate::A;\npub struct B;\n",
                "c.rs": "pub struct C;\n",
            }
        )
        self.assertEqual(found, [["crate::a", "crate::b"]])

    def test_parents_and_children_are_left_out(self):
        self.assertEqual(self.circles({"lib.rs": "mod a;\npub struct X(a::A);\n", "a.rs": "mod c;\npub struct A(crate::X, c::C);\n", "a/c.rs": "pub struct C(crate::X, super::A);\n"}), [])

    def test_what_only_tests_use_makes_no_circle(self):
        found = self.circles({"lib.rs": "mod a;\nmod b;\n", "a.rs": "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n", "b.rs": "use crate::a::A;\npub struct B;\n"})
        self.assertEqual(found, [])

    def test_modules_within_a_file_belong_to_it(self):
        found = self.circles({"lib.rs": "mod a;\nmod b;\n", "a.rs": "pub mod inner {\n    use super::super::b::B;\n    pub struct A;\n}\n", "b.rs": "use crate::a::inner::A;\npub struct B;\n"})
        self.assertEqual(found, [["crate::a", "crate::b"]])


class Names(Samples):
    """Names of types that several crates define."""

    def test_homonyms(self):
        self.crate("proto/a", {"src/lib.rs": "pub struct Turn;\npub(crate) enum Other {}\n"})
        self.crate("node/b", {"src/lib.rs": "pub struct Turn;\nstruct Other;\n"})
        self.crate("kernel/c", {"src/lib.rs": "pub type Other = u8;\n"})
        tree = figures.measure(self.load())
        self.assertEqual(list(tree.homonyms), ["Other", "Turn"])
        self.assertEqual(list(tree.homonyms_kept), ["Turn"])

    def test_what_serves_tests_only_may_panic(self):
        self.crate("bin/a", {"src/main.rs": "fn main() { b().unwrap() }\n"}, uses=["base/b"])
        self.crate("base/b", {"src/lib.rs": "pub fn b() { panic!() }\n"})
        self.crate("platform/c", {"src/lib.rs": "pub fn c() { panic!() }\n"})
        self.assertEqual(figures.measure(self.load()).total.panics, ["crates/base/b/src/lib.rs:1", "crates/bin/a/src/main.rs:1"])


if __name__ == "__main__":
    unittest.main()
