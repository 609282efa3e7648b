"""One Rust file as text that can be searched: comments and strings blanked, test code cut off.

The blanked text has the length and the lines of the original, so that an offset found in one is good in the other.
What is not done: macros are not expanded, and `cfg` other than `test` is not looked at.
"""

from __future__ import annotations

import bisect
import re
from functools import cached_property

# Comments, strings and characters. A lifetime is none of them: its quote has no second one behind one character.
TOKEN = re.compile(
    r"""//[^\n]*
      | /\*
      | (?<![\w])(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes)
      | "(?:\\.|[^"\\])*"
      | '(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.)|[^\\'\n])'
    """,
    re.S | re.X,
)
BLOCK_EDGE = re.compile(r"/\*|\*/")
NOT_NEWLINE = re.compile(r"[^\n]")
BRACKET = re.compile(r"[{}()\[\]]")
CFG_TEST = re.compile(r"#(!?)\[cfg\((?:test|all\(\s*test\b[^\]]*)\)\]")
ITEM_WORD = re.compile(
    r"(?:pub|fn|mod|use|impl|struct|enum|union|trait|type|const|static|unsafe|async|extern|macro_rules)\b"
)

# Items that end at a semicolon though braces may come before it: `use a::{b, c};`, `const A: B = B { .. };`.
TO_SEMICOLON = re.compile(r"(?:pub(?:\([^)]*\))?\s+)?(?:(?:use|static|type)\b|const\s+(?!(?:unsafe|async|extern|fn)\b))")


def blank(text: str) -> str:
    """`text` with everything but newlines made a blank."""
    return NOT_NEWLINE.sub(" ", text)


def mask(text: str) -> str:
    """`text` without comments and without what is in strings and characters; their quotes stay."""
    out: list[str] = []
    at = 0
    while True:
        found = TOKEN.search(text, at)
        if not found:
            out.append(text[at:])
            return "".join(out)
        start, end = found.span()
        out.append(text[at:start])
        token = found.group()
        if token == "/*":
            end = end_of_block(text, end)
            out.append(blank(text[start:end]))
        elif token.startswith("//"):
            out.append(" " * len(token))
        else:
            out.append(token[0] + blank(token[1:-1]) + token[-1])
        at = end


def end_of_block(text: str, at: int) -> int:
    """Where the block comment ends whose inside begins at `at`; they nest."""
    depth = 1
    while depth:
        edge = BLOCK_EDGE.search(text, at)
        if not edge:
            return len(text)
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at


class Source:
    """One file."""

    def __init__(self, text: str):
        self.text = text
        whole = mask(text)
        self.pairs = pairs_of(whole)
        # Ranges of offsets that only tests are compiled with.
        self.tests = self._test_ranges(whole)
        # The searchable text: production only.
        self.code = self._without_tests(whole)
        # The same with test code left in.
        self.code_with_tests = whole
        self._line_starts = [0] + [found.end() for found in re.finditer("\n", text)]

    def line_of(self, offset: int) -> int:
        """The line, from 1, that holds `offset`."""
        return bisect.bisect_right(self._line_starts, offset)

    @cached_property
    def lines(self) -> list[str]:
        """The original lines."""
        return self.text.split("\n")

    @cached_property
    def production_lines(self) -> int:
        """Lines that are not test code; blank ones and comments count."""
        total = self.text.count("\n") + (0 if self.text.endswith("\n") or not self.text else 1)
        cut: set[int] = set()
        for start, end in self.tests:
            cut.update(range(self.line_of(start), self.line_of(max(start, end - 1)) + 1))
        return total - len(cut)

    def end_of_item(self, at: int, code: str | None = None) -> int:
        """Where the item that begins at `at` ends: behind its block or its semicolon."""
        code = self.code_with_tests if code is None else code
        while at < len(code):
            sign = code[at]
            if sign == ";":
                return at + 1
            if sign in "([":
                at = self.pairs.get(at, len(code) - 1) + 1
            elif sign == "{":
                return self.pairs.get(at, len(code) - 1) + 1
            elif sign == "}":
                return at
            else:
                at += 1
        return len(code)

    def _test_ranges(self, code: str) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        for found in CFG_TEST.finditer(code):
            if ranges and found.start() < ranges[-1][1]:
                continue
            if found.group(1):
                return [(0, len(code))]
            ranges.append((found.start(), self._end_of_marked(code, found.end())))
        return ranges

    def _end_of_marked(self, code: str, at: int) -> int:
        """Where the thing ends that carries the attribute ending at `at`: an item, a field, a statement."""
        while True:
            while at < len(code) and code[at].isspace():
                at += 1
            if code.startswith("#[", at):
                at = self.pairs.get(at + 1, len(code) - 1) + 1
            else:
                break
        if TO_SEMICOLON.match(code, at):
            return self._past(code, at, ";")
        if ITEM_WORD.match(code, at):
            return self.end_of_item(at, code)
        return self._past(code, at, ",;")

    def _past(self, code: str, at: int, signs: str) -> int:
        """Behind the next of `signs` outside brackets, or before the bracket that closes around `at`."""
        while at < len(code) and code[at] not in signs + "})]":
            at = self.pairs.get(at, at) + 1 if code[at] in "{([" else at + 1
        return at + 1 if at < len(code) and code[at] in signs else at

    def _without_tests(self, code: str) -> str:
        for start, end in self.tests:
            code = code[:start] + blank(code[start:end]) + code[end:]
        return code


def pairs_of(code: str) -> dict[int, int]:
    """The closing bracket of each opening one, by offset."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for found in BRACKET.finditer(code):
        if found.group() in "{([":
            opened.append(found.start())
        elif opened:
            pairs[opened.pop()] = found.start()
    return pairs
