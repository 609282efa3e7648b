"""What a file holds: functions, public items, unsafe blocks, what may panic, skipped tests."""

from __future__ import annotations

import re
from dataclasses import dataclass

from source import Source

FUNCTION = re.compile(r"\bfn\s+(?:r#)?(\w+)\s*[<(]")
# Words before `fn` belong to the function: `pub(crate) const unsafe extern "C" fn`.
BEFORE = re.compile(r'(?:(?:pub(?:\([^)]*\))?|const|async|unsafe|extern(?:\s+"[^"]*")?)\s+)+$')
PUBLIC = re.compile(
    r"(?<![\w:])pub\s+(?:(?:const|async|unsafe|extern(?:\s+\"[^\"]*\")?)\s+)*(fn|struct|enum|union|trait|type|const|static|mod|macro)\s+(?:mut\s+)?(\w+)"
)
TYPE = re.compile(r"(?<![\w:])pub(?:\([^)]*\))?\s+(?:unsafe\s+)?(?:struct|enum|union|trait|type)\s+(\w+)")
UNSAFE = re.compile(r"\bunsafe\s*(?:\{|impl\b)")
PANICS = re.compile(r"\.\s*(?:unwrap|expect|unwrap_err|expect_err)\s*\(|\b(?:panic|unreachable|todo|unimplemented)!")
IGNORED = re.compile(r"#\[ignore\b")
IGNORED_REASON = re.compile(r'#\[ignore\s*=\s*"((?:\\.|[^"\\])*)"')
BOOL = re.compile(r":\s*(?:&\s*(?:mut\s+)?)?bool\s*(?=[,)]|$)")
# How far above an unsafe block its argument may stand.
SAFETY_WITHIN = 6


@dataclass
class Function:
    """One function with a body."""

    name: str
    line: int
    # From its signature to its closing brace.
    lines: int
    bools: int
    parameters: int


def functions(source: Source) -> list[Function]:
    """The production functions of a file."""
    code = source.code
    out = []
    for found in FUNCTION.finditer(code):
        opening = code.find("(", _past_generics(code, found.end() - 1))
        closing = source.pairs.get(opening)
        if closing is None:
            continue
        end = source.end_of_item(closing + 1, code)
        if end == 0 or code[end - 1] != "}":
            continue
        words = BEFORE.search(code, max(0, found.start() - 80), found.start())
        start = words.start() if words else found.start()
        line = source.line_of(start)
        taken = _top_level(code[opening + 1 : closing])
        out.append(
            Function(
                found.group(1),
                line,
                source.line_of(end - 1) - line + 1,
                sum(1 for part in taken if BOOL.search(part)),
                sum(1 for part in taken if not re.match(r"\s*(?:&\s*(?:'\w+\s+)?)?(?:mut\s+)?self\b", part)),
            )
        )
    return out


def _past_generics(code: str, at: int) -> int:
    """Behind `<...>` if that stands at `at`; the arrow of a closure's type is no closing."""
    if code[at] != "<":
        return at
    depth = 0
    while at < len(code):
        if code[at] == "<":
            depth += 1
        elif code[at] == ">" and code[at - 1] != "-":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return at


def _top_level(text: str) -> list[str]:
    """A parameter list at its outer commas."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        if sign in "([{<":
            depth += 1
        elif sign in ")]}" or sign == ">" and text[at - 1] != "-":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def public_items(source: Source) -> list[tuple[str, int, bool]]:
    """Public items (not fields and re-exports): name, line, whether it is documented."""
    out = []
    for found in PUBLIC.finditer(source.code):
        line = source.line_of(found.start())
        documented = _documented(source, line) or found.group(1) == "mod" and source.code[found.end() :].lstrip()[:1] == ";"
        out.append((found.group(2), line, documented))
    return out


def _documented(source: Source, line: int) -> bool:
    """Whether a doc comment stands above `line`, attributes in between."""
    at = line - 2
    while at >= 0:
        text = source.lines[at].strip()
        if text.startswith(("///", "/**", "*/", "#[doc")):
            return True
        if not text or text.startswith("//") or text.endswith((";", "}", "{")) and not text.startswith(("#", ")")):
            return False
        at -= 1
    return False


def type_names(source: Source) -> list[tuple[str, int]]:
    """Public and crate-public types: name and line."""
    return [(found.group(1), source.line_of(found.start())) for found in TYPE.finditer(source.code)]


def has_head(source: Source) -> bool:
    """Whether the file says what it is."""
    return source.text.lstrip().startswith("//!")


def unsafe_blocks(source: Source) -> list[tuple[int, bool]]:
    """Unsafe blocks and implementations: line, whether an argument stands above or beside it."""
    out = []
    for found in UNSAFE.finditer(source.code):
        line = source.line_of(found.start())
        above = source.lines[max(0, line - 1 - SAFETY_WITHIN) : line + 1]
        out.append((line, any("SAFETY" in text or "# Safety" in text for text in above)))
    return out


def panics(source: Source) -> list[int]:
    """Lines of what ends the process by intent."""
    return [source.line_of(found.start()) for found in PANICS.finditer(source.code)]


def ignored_tests(source: Source) -> list[tuple[int, str]]:
    """Tests that do not run unless asked for: line and reason, empty where none is given."""
    out = []
    for found in IGNORED.finditer(source.code_with_tests):
        reason = IGNORED_REASON.match(source.text, found.start())
        out.append((source.line_of(found.start()), reason.group(1) if reason else ""))
    return out
