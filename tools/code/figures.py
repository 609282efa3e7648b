"""The figures of one tree: counted per crate, added up, put in words.

Counted are the crates below `crates/`, as every earlier measurement did. What serves tests only (the conformance suite, the
scripted platform) is counted with the rest, but may panic.
"""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

import items
import modules
import workspace
from modules import Module

# Functions longer than these many lines are counted.
LONG, VERY_LONG = 60, 100
# Names in these layers mean one thing each.
ONE_MEANING = ("proto", "node", "sandbox")


@dataclass
class CrateFigures:
    """What one crate, or all, come to."""

    name: str
    file_lines: list[int] = field(default_factory=list)
    function_lines: list[int] = field(default_factory=list)
    circle_lines: int = 0
    module_lines: int = 0
    circles: list[list[Module]] = field(default_factory=list)
    edges: dict[Module, dict[Module, set[str]]] = field(default_factory=dict)
    public: int = 0
    documented: int = 0
    heads: int = 0
    unsafe: int = 0
    argued: int = 0
    panics: list[str] = field(default_factory=list)
    bools: int = 0
    many_parameters: int = 0
    ignored: list[tuple[str, str]] = field(default_factory=list)
    long: list[tuple[str, int]] = field(default_factory=list)

    def add(self, other: CrateFigures) -> None:
        """Adds those of `other`."""
        for name in vars(self):
            if name not in ("name", "edges"):
                setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Tree:
    """What a whole tree comes to."""

    crates: list[CrateFigures]
    total: CrateFigures
    # Names of types that are defined in more than one crate: name -> places.
    homonyms: dict[str, list[str]]
    # Those among the layers in which a name means one thing.
    homonyms_kept: dict[str, list[str]]
    types: int


def measure(crates: list[workspace.Crate]) -> Tree:
    """Measures the crates below `crates/`."""
    kept = [crate for crate in crates if crate.folder.startswith("crates/")]
    ships = workspace.shipped(crates)
    each = [measure_crate(crate, crate.name in ships) for crate in kept]
    total = CrateFigures("all")
    for figures in each:
        total.add(figures)
    places = defaultdict(list)
    layers = defaultdict(list)
    for crate in kept:
        for path, source in production(crate):
            for name, line in items.type_names(source):
                places[name].append((crate.name, f"{path.relative_to(crate.top)}:{line}"))
                if crate.layer in ONE_MEANING:
                    layers[name].append((crate.name, f"{path.relative_to(crate.top)}:{line}"))
    return Tree(each, total, _several(places), _several(layers), len(places))


def _several(places: dict[str, list[tuple[str, str]]]) -> dict[str, list[str]]:
    """Names that stand in two crates or more."""
    return {
        name: [place for _, place in found]
        for name, found in sorted(places.items())
        if len({crate for crate, _ in found}) > 1
    }


@functools.cache
def trees(crate: workspace.Crate) -> list[list[Module]]:
    """The module trees of a crate: of its library, of its programs."""
    return [modules.tree_of(root, crate.sources) for root in crate.roots]


def production(crate: workspace.Crate):
    """The production files of a crate, each once."""
    seen = set()
    for tree in trees(crate):
        for module in tree:
            if module.path not in seen:
                seen.add(module.path)
                yield module.path, module.source


def measure_crate(crate: workspace.Crate, ships: bool) -> CrateFigures:
    """Measures one crate; `ships`: whether a program is built with it."""
    out = CrateFigures(crate.name)
    for path, source in production(crate):
        place = str(path.relative_to(crate.top))
        out.file_lines.append(source.production_lines)
        out.heads += items.has_head(source)
        for function in items.functions(source):
            out.function_lines.append(function.lines)
            out.bools += function.bools
            out.many_parameters += function.parameters > 6
            if function.lines > LONG:
                out.long.append((f"{place}:{function.line} {function.name}", function.lines))
        public = items.public_items(source)
        out.public += len(public)
        out.documented += sum(documented for _, _, documented in public)
        blocks = items.unsafe_blocks(source)
        out.unsafe += len(blocks)
        out.argued += sum(argued for _, argued in blocks)
        if ships:
            out.panics += [f"{place}:{line}" for line in items.panics(source)]
    for path, source in [*crate.sources.items(), *crate.test_sources.items()]:
        out.ignored += [(f"{path.relative_to(crate.top)}:{line}", why) for line, why in items.ignored_tests(source)]
    for tree in trees(crate):
        edges = modules.references(tree)
        found = modules.circles(edges)
        out.edges.update(edges)
        out.circles += found
        out.circle_lines += sum(module.lines for part in found for module in part)
        out.module_lines += sum(module.lines for module in tree)
    return out


def at(values: list[int], share: float) -> int:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def percent(part: float, whole: float, digits: int = 1) -> float:
    """`part` of `whole` in hundredths."""
    return round(100 * part / whole, digits) if whole else 0.0


def words(figures: CrateFigures) -> dict[str, float | int]:
    """The figures of one crate, or of all, by name."""
    lines, bodies = figures.file_lines, figures.function_lines
    return {
        "lines": sum(lines),
        "files": len(lines),
        "file_median": int(statistics.median(lines)) if lines else 0,
        "file_p90": at(lines, 0.9),
        "file_max": max(lines, default=0),
        "files_over_400": sum(count > 400 for count in lines),
        "functions": len(bodies),
        "function_median": int(statistics.median(bodies)) if bodies else 0,
        "function_p90": at(bodies, 0.9),
        "function_p99": at(bodies, 0.99),
        "functions_over_60": sum(count > LONG for count in bodies),
        "functions_over_60_percent": percent(sum(count > LONG for count in bodies), len(bodies), 2),
        "functions_over_100": sum(count > VERY_LONG for count in bodies),
        "functions_over_100_percent": percent(sum(count > VERY_LONG for count in bodies), len(bodies), 2),
        "functions_of_more_than_6_parameters": figures.many_parameters,
        "circle_lines": figures.circle_lines,
        "circle_percent": percent(figures.circle_lines, figures.module_lines),
        "circle_sizes": [len(part) for part in figures.circles],
        "documented_percent": percent(figures.documented, figures.public),
        "head_percent": percent(figures.heads, len(lines)),
        "unsafe": figures.unsafe,
        "unsafe_argued": figures.argued,
        "panics": len(figures.panics),
        "panics_per_kloc": round(1000 * len(figures.panics) / max(1, sum(lines)), 2),
        "bool_parameters": figures.bools,
        "bool_parameters_per_1000_functions": round(1000 * figures.bools / max(1, len(bodies)), 1),
        "skipped_tests": len(figures.ignored),
    }
