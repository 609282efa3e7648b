"""The modules of a crate and which of them refer to which.

A module is a file; modules written inside a file belong to it. A reference is a path of a `use` or in code that begins with
`crate`, `super`, `self`, a module or something that a `use` brought in. It counts for the module that *defines* the name:
re-exports are followed. Left out: references between a module and those above it (a parent declares and re-exports its
children, and they use the scope that they lie in), and what macros make.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from source import Source

MOD = re.compile(r"\bmod\s+(r#)?(\w+)\s*([;{])")
PATH_ATTRIBUTE = re.compile(r'#\[path\s*=\s*"([^"]*)"\]\s*(?:pub(?:\([^)]*\))?\s+)?$')
USE = re.compile(r"\buse\s+([^;]+);")
DEFINED = re.compile(
    r"\b(?:fn|struct|enum|union|trait|type|const|static(?:\s+mut)?)\s+(?:unsafe\s+fn\s+|fn\s+)?(\w+)|\bmacro_rules!\s*(\w+)"
)
PATH = re.compile(r"(?<![\w:.$])(\w+(?:\s*::\s*\w+)+)")
SPACE = re.compile(r"\s+")


@dataclass(eq=False)
class Module:
    """One module: a file, or a block within one."""

    name: str
    parent: Module | None
    # The module whose file this one is written in; itself where it has a file of its own.
    home: Module = None  # type: ignore[assignment]
    path: Path | None = None
    source: Source | None = None
    children: dict[str, Module] = field(default_factory=dict)
    # Names that it defines itself.
    defines: set[str] = field(default_factory=set)
    # What its `use`s bring in: name -> path; and paths of which everything is brought in.
    brings: dict[str, list[str]] = field(default_factory=dict)
    brings_all: list[list[str]] = field(default_factory=list)
    # Paths that it refers to.
    refers: list[list[str]] = field(default_factory=list)

    @property
    def full(self) -> str:
        """`crate::vfs::path`."""
        return f"{self.parent.full}::{self.name}" if self.parent else "crate"

    @property
    def lines(self) -> int:
        """The lines of its file."""
        return len(self.source.lines) - 1 if self.source else 0


def tree_of(root: Path, sources: dict[Path, Source]) -> list[Module]:
    """The modules of the tree that begins in the file `root`, without those that only tests have. The root comes first."""
    found: list[Module] = []
    top = Module("crate", None)
    _read(top, root, sources, found)
    return found


def _read(module: Module, path: Path, sources: dict[Path, Source], found: list[Module]) -> None:
    source = sources.get(path) or Source(path.read_text())
    module.home, module.path, module.source = module, path, source
    found.append(module)
    folder = path.parent if path.stem in ("lib", "main", "mod") or module.parent is None else path.parent / path.stem
    _read_block(module, source, 0, len(source.code), folder, sources, found)


def _read_block(module, source, start, end, folder, sources, found) -> None:
    """Reads `start..end` of a file into `module`, and modules within into their own."""
    code = source.code[:end]
    own: list[str] = []
    at = start
    for declared in MOD.finditer(code, start):
        if declared.start() < at:
            continue
        own.append(code[at : declared.start()])
        child = Module(declared.group(2), module)
        if declared.group(3) == "{":
            close = source.pairs.get(declared.end() - 1, end)
            child.home = module.home
            _read_block(child, source, declared.end(), close, folder / child.name, sources, found)
            module.children[child.name] = child
            at = close + 1
        else:
            at = declared.end()
            named = PATH_ATTRIBUTE.search(source.text[max(start, declared.start() - 200) : declared.start()])
            if named:
                file = (module.home.path.parent / named.group(1)).resolve()
            else:
                file = folder / f"{child.name}.rs"
                if not file.exists():
                    file = folder / child.name / "mod.rs"
            if file.exists():
                module.children[child.name] = child
                _read(child, file, sources, found)
    own.append(code[at:end])
    _read_names(module, "\n".join(own))


def _read_names(module: Module, code: str) -> None:
    for statement in USE.finditer(code):
        for path, name in expand(SPACE.sub(" ", statement.group(1)).strip()):
            module.refers.append(path)
            if name == "*":
                module.brings_all.append(path[:-1])
            elif name:
                module.brings[name] = path
    rest = USE.sub(" ", code)
    for defined in DEFINED.finditer(rest):
        module.defines.add(defined.group(1) or defined.group(2))
    for used in set(PATH.findall(rest)):
        module.refers.append([part.strip() for part in used.split("::")])


def expand(tree: str) -> list[tuple[list[str], str]]:
    """The paths of a `use` tree, each with the name that it brings in: `*` for everything, empty for none (`as _`)."""
    return [(path, name) for path, name in _expand(tree, [])]


def _expand(tree: str, before: list[str]) -> list[tuple[list[str], str]]:
    tree = tree.strip().removeprefix("::")
    brace = tree.find("{")
    if brace < 0:
        text, _, alias = tree.partition(" as ")
        path = before + [part.strip().removeprefix("r#") for part in text.split("::") if part.strip()]
        if path and path[-1] == "self" and len(path) > 1:
            path = path[:-1]
        alias = alias.strip()
        return [(path, "" if alias == "_" else alias or path[-1])] if path else []
    head = before + [part.strip() for part in tree[:brace].split("::") if part.strip()]
    out = []
    for part in _split(tree[brace + 1 : tree.rindex("}")]):
        out.extend(_expand(part, head))
    return out


def _split(text: str) -> list[str]:
    """`a, b::{c, d}` at its outer commas."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        if sign == "{":
            depth += 1
        elif sign == "}":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def resolve(module: Module, path: list[str], seen: frozenset = frozenset()) -> Module | None:
    """The module that defines what `path` means in `module`; none where it is another crate's."""
    if (id(module), tuple(path)) in seen or not path:
        return None
    seen = seen | {(id(module), tuple(path))}
    first, rest = path[0], path[1:]
    here: Module | None
    if first in ("crate", "$crate"):
        here = module
        while here.parent:
            here = here.parent
    elif first == "self":
        here = module
    elif first == "super":
        here = module.parent
        while here and rest and rest[0] == "super":
            here, rest = here.parent, rest[1:]
    elif first in module.children:
        here = module.children[first]
    elif first in module.brings and module.brings[first][0] != first:
        return resolve(module, module.brings[first] + rest, seen)
    elif first in module.brings and len(module.brings[first]) > 1:
        return resolve(module, module.brings[first] + rest, seen)
    elif first in module.defines:
        return module
    else:
        return _through_globs(module, path, seen)
    while here and rest:
        name = rest[0]
        if name in here.children:
            here, rest = here.children[name], rest[1:]
        elif name in here.defines or name == "*":
            return here
        elif name in here.brings:
            return resolve(here, here.brings[name] + rest[1:], seen)
        else:
            return _through_globs(here, rest, seen) or here
    return here


def _through_globs(module: Module, path: list[str], seen: frozenset) -> Module | None:
    for source in module.brings_all:
        there = resolve(module, source, seen)
        if there and there is not module and (path[0] in there.children or path[0] in there.defines or path[0] in there.brings):
            return resolve(there, ["self", *path], seen)
    return None


def within(module: Module, above: Module) -> bool:
    """Whether `above` is an ancestor of `module`."""
    here = module.parent
    while here and here.home is not above:
        here = here.parent
    return here is not None


def references(modules: list[Module]) -> dict[Module, dict[Module, set[str]]]:
    """For each module with a file: the modules that it refers to, each with the names it wants from there."""
    edges: dict[Module, dict[Module, set[str]]] = {module: {} for module in modules}

    def visit(module: Module) -> None:
        for path in module.refers:
            there = resolve(module, path)
            if there is None:
                continue
            a, b = module.home, there.home
            if a is b or within(a, b) or within(b, a):
                continue
            edges[a].setdefault(b, set()).add("::".join(path))
        for child in module.children.values():
            if child.home is module.home:
                visit(child)

    for module in modules:
        visit(module)
    return edges


def circles(edges: dict[Module, dict[Module, set[str]]]) -> list[list[Module]]:
    """The strongly connected components of two modules or more, biggest first (Tarjan, without recursion)."""
    index: dict[Module, int] = {}
    low: dict[Module, int] = {}
    stack: list[Module] = []
    on_stack: set[Module] = set()
    out: list[list[Module]] = []
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            here, ahead = work[-1]
            for there in ahead:
                if there not in index:
                    index[there] = low[there] = len(index)
                    stack.append(there)
                    on_stack.add(there)
                    work.append((there, iter(edges[there])))
                    break
                if there in on_stack:
                    low[here] = min(low[here], index[there])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == index[here]:
                    part = []
                    while True:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                        if part[-1] is here:
                            break
                    if len(part) > 1:
                        out.append(sorted(part, key=lambda module: module.full))
    return sorted(out, key=lambda part: -sum(module.lines for module in part))
