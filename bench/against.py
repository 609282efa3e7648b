#!/usr/bin/env python3
"""One benchmark of two builds in turn, and the ratio of their figures round by round.

    bench/against.py OLD NEW cold-start --rounds 20 -- --rounds 5 --instances 8

OLD and NEW are programs (`rekindle` of either build). Each round runs `PROGRAM bench NAME ARGUMENTS -o json` once with either,
the first of the two changing from round to round, so that a machine whose speed drifts disturbs both alike. Every number
of the output is a figure; its name is its place in the JSON, with list elements called by their own text (`functions.Python`).
Printed are the medians of both, and the median and quartiles of NEW/OLD over the rounds. Exit status 0, or 1 with `--at-most`
where a median ratio is larger than that.
"""

import argparse
import json
import statistics
import subprocess
import sys


def figures(value, name=""):
    """Names and numbers of everything in a JSON value."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, (int, float)):
        yield name, float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from figures(inner, f"{name}.{called(inner, at)}")


def called(element, at):
    """What a list element calls itself: its texts, and how many did it at once."""
    if not isinstance(element, dict):
        return str(at)
    texts = [text for text in element.values() if isinstance(text, str) and len(text) < 40]
    counts = [f"{key}={element[key]}" for key in ("clients", "at_once", "instances", "threads") if key in element]
    return " ".join(texts[:2] + counts) or str(at)


def once(program, name, arguments, limit):
    """The figures of one run."""
    command = [program, "bench", name, *arguments, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return dict(figures(json.loads(done.stdout)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("name", help="the benchmark, as `rekindle bench` calls it")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", action="append", default=[], help="figures whose name contains this text")
    parser.add_argument("--at-most", type=float, help="largest median ratio that is well")
    parser.add_argument("--limit", type=float, default=600, help="longest time of one run in seconds")
    own, _, arguments = "\0".join(sys.argv[1:]).partition("\0--\0")
    args = parser.parse_args(own.split("\0"))
    args.arguments = arguments.split("\0") if arguments else []

    pairs = {}
    for turn in range(args.rounds):
        programs = [("old", args.old), ("new", args.new)]
        if turn % 2:
            programs.reverse()
        seen = {which: once(program, args.name, args.arguments, args.limit) for which, program in programs}
        for name in seen["old"].keys() & seen["new"].keys():
            if seen["old"][name] > 0 and (not args.only or any(text in name for text in args.only)):
                pairs.setdefault(name, []).append((seen["old"][name], seen["new"][name]))
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)

    worst = 0.0
    print(f"{'figure':70} {'old':>10} {'new':>10} {'new/old':>8}   quartiles   rounds")
    for name, rows in sorted(pairs.items()):
        ratios = [new / old for old, new in rows]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        old, new = (statistics.median(side) for side in zip(*rows))
        worst = max(worst, middle)
        print(f"{name[-70:]:70} {old:10.3f} {new:10.3f} {middle:8.3f}   {low:.3f} {high:.3f} {len(rows):6}")
    if args.at_most and worst > args.at_most:
        sys.exit(f"the largest median ratio is {worst:.3f}, more than {args.at_most}")


if __name__ == "__main__":
    main()
