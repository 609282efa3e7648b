#!/usr/bin/env python3
"""The figures of this tree's code, or of a commit's: `make measure-code`.

    measure.py [--top FOLDER | --commit REVISION] [-o table|json] [--circles] [--homonyms] [--long] [--panics] [--skipped]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

import figures
import workspace

# Column heads of the table, and what stands below.
COLUMNS = [
    ("lines", "lines"),
    ("files", "files"),
    ("median", "file_median"),
    ("p90", "file_p90"),
    ("max", "file_max"),
    ("fns", "functions"),
    ("median", "function_median"),
    ("p90", "function_p90"),
    ("p99", "function_p99"),
    (">60", "functions_over_60"),
    (">100", "functions_over_100"),
    ("circle", "circle_lines"),
    ("%", "circle_percent"),
    ("doc %", "documented_percent"),
    ("head %", "head_percent"),
    ("unsafe", "unsafe"),
    ("argued", "unsafe_argued"),
    ("panics", "panics"),
    ("bools", "bool_parameters"),
    ("skipped", "skipped_tests"),
]


@contextlib.contextmanager
def tree_at(top: Path, commit: str | None):
    """The folder to measure: `top`, or what `commit` of its repository held."""
    if commit is None:
        yield top
        return
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "-C", top, "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=packed)
        yield Path(folder)


def table(rows: list[list[str]]) -> str:
    """Rows below each other, the first column to the left, the others to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    )


def summary(tree: figures.Tree) -> dict:
    """Everything by name, ready for JSON."""
    return {
        "all": figures.words(tree.total),
        "types": tree.types,
        "homonyms": len(tree.homonyms),
        "homonyms_in_proto_node_sandbox": len(tree.homonyms_kept),
        "crates": {one.name: figures.words(one) for one in tree.crates},
    }


def print_table(tree: figures.Tree) -> None:
    """The table, and the figures that are of the whole."""
    rows = [["crate", *(head for head, _ in COLUMNS)]]
    for one in [*tree.crates, tree.total]:
        said = figures.words(one)
        rows.append([one.name, *(str(said[key]) for _, key in COLUMNS)])
    print(table(rows))
    said = figures.words(tree.total)
    print()
    print(f"lines in module circles                {said['circle_lines']} of {tree.total.module_lines} ({said['circle_percent']} %)")
    print(f"functions over 60 / over 100 lines     {said['functions_over_60_percent']} / {said['functions_over_100_percent']} %")
    print(f"functions with more than 6 parameters  {said['functions_of_more_than_6_parameters']}")
    print(f"files over 400 lines                   {said['files_over_400']}")
    print(f"unwrap, expect, panic in production    {said['panics']} ({said['panics_per_kloc']} per 1000 lines)")
    print(f"public items documented                {said['documented_percent']} %")
    print(f"bool parameters per 1000 functions     {said['bool_parameters_per_1000_functions']}")
    print(f"names of types in two crates or more   {len(tree.homonyms)} of {tree.types}")
    print(f"  among proto, node, sandbox           {len(tree.homonyms_kept)}")
    print(f"skipped tests                          {said['skipped_tests']}")


def print_circles(tree: figures.Tree) -> None:
    """Each circle with the references that make it."""
    for one in tree.crates:
        for part in one.circles:
            print(f"\n{one.name}: {len(part)} modules, {sum(module.lines for module in part)} lines")
            for module in part:
                for there, names in sorted(one.edges[module].items(), key=lambda edge: edge[0].full):
                    if there in part:
                        print(f"  {module.full} -> {there.full}  ({', '.join(sorted(names)[:4])})")


def main() -> None:
    """Reads the arguments, measures, prints."""
    asked = argparse.ArgumentParser(description="Measures the code of this tree.")
    asked.add_argument("--top", type=Path, default=Path(__file__).resolve().parents[2], help="the tree (default: this one)")
    asked.add_argument("--commit", help="measure what this commit held")
    asked.add_argument("-o", "--output", choices=["table", "json"], default="table")
    asked.add_argument("--circles", action="store_true", help="list module circles with their references")
    asked.add_argument("--homonyms", action="store_true", help="list names of types that several crates define")
    asked.add_argument("--long", action="store_true", help="list functions over 60 lines and files over 350")
    asked.add_argument("--panics", action="store_true", help="list what ends the process by intent")
    asked.add_argument("--skipped", action="store_true", help="list tests that do not run unless asked for")
    asked = asked.parse_args()
    with tree_at(asked.top, asked.commit) as top:
        crates = workspace.load(top)
        tree = figures.measure(crates)
        if asked.output == "json":
            print(json.dumps(summary(tree), indent=1))
            return
        print_table(tree)
        if asked.circles:
            print_circles(tree)
        if asked.homonyms:
            for name, places in tree.homonyms.items():
                print(f"{'!' if name in tree.homonyms_kept else ' '} {name:24} {' '.join(places)}")
        if asked.long:
            for place, lines in sorted(tree.total.long, key=lambda one: -one[1]):
                print(f"  {lines:4} {place}")
            for crate in crates:
                for path, source in figures.production(crate):
                    if crate.folder.startswith("crates/") and source.production_lines > 350:
                        print(f"  {source.production_lines:4} {path.relative_to(crate.top)}")
        if asked.panics:
            print("\n".join(f"  {place}" for place in tree.total.panics))
        if asked.skipped:
            print("\n".join(f"  {place} {why or '(no reason)'}" for place, why in tree.total.ignored))


if __name__ == "__main__":
    main()
