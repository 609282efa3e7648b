"""Which crate may be built with which: layers by folder, two towers that meet in `proto`.

Running guest code: host < platform < kernel < sandbox. Deciding what runs: node; control < edge. A process and a trust boundary
lie between them, so neither is ever linked with the other; the binary composes both. See ARCHITECTURE.md.
"""

from __future__ import annotations

from workspace import Crate

# For each layer those that its crates may be built with.
MAY_USE = {
    "base": {"base"},
    "proto": {"base", "proto"},
    "host": {"base", "host"},
    "platform": {"base", "host", "platform"},
    "kernel": {"base", "host", "platform", "kernel"},
    "sandbox": {"base", "proto", "host", "platform", "kernel", "sandbox"},
    "node": {"base", "proto", "host", "node"},
    "control": {"base", "proto", "control"},
    "edge": {"base", "proto", "host", "control", "edge"},
    "bin": {"base", "proto", "host", "platform", "kernel", "sandbox", "node", "control", "edge", "bin"},
    # Benchmarks look at everything, and nothing is built with them.
    "bench": {"base", "proto", "host", "platform", "kernel", "sandbox", "node", "control", "edge", "bench"},
    # Functions of bytes that only tests and fuzzers call.
    "fuzz": {"base", "proto", "host", "platform", "kernel", "sandbox", "node", "control", "edge", "fuzz"},
    "tests": {"base", "proto", "host", "platform", "kernel", "sandbox", "node", "control", "edge", "tests"},
}
RUNNING = {"platform", "kernel", "sandbox"}
DECIDING = {"node", "control", "edge"}
# What the kernel knows of platforms.
SEAM = "platform-api"


def arrows(crates: list[Crate]) -> dict[str, str]:
    """Dependencies that the rules forbid: `a -> b`, and why."""
    by_name = {crate.name: crate for crate in crates}
    out: dict[str, str] = {}
    for crate in crates:
        if crate.layer not in MAY_USE:
            out[f"{crate.name} -> ?"] = f"{crate.folder} is in no layer: add its folder to MAY_USE of tools/code/direction.py"
            continue
        for name in crate.uses:
            why = forbidden(crate, by_name[name])
            if why:
                out[f"{crate.name} -> {name}"] = why
        for name in crate.tests_use:
            if {crate.layer, by_name[name].layer} & RUNNING and {crate.layer, by_name[name].layer} & DECIDING:
                out[f"{crate.name} -> {name}"] = between_towers(crate, by_name[name], "its tests use")
    return out


def forbidden(crate: Crate, used: Crate) -> str:
    """Why `crate` may not be built with `used`; empty where it may."""
    pair = (crate.layer, used.layer)
    if pair[0] in RUNNING and pair[1] in DECIDING or pair[0] in DECIDING and pair[1] in RUNNING:
        return between_towers(crate, used, "it uses")
    if used.layer not in MAY_USE[crate.layer]:
        allowed = ", ".join(sorted(MAY_USE[crate.layer]))
        return f"{crate.layer}/ may be built with {allowed} only: move what is needed down, or turn the call around with a trait"
    if crate.layer == "kernel" and used.layer == "platform" and used.name != SEAM:
        return f"the kernel knows platforms through {SEAM} only"
    return ""


def between_towers(crate: Crate, used: Crate, verb: str) -> str:
    """The message for an arrow between the towers."""
    return (
        f"{crate.folder} decides what runs and {used.folder} runs it, or the other way round, and {verb} it: "
        "the two meet in proto/ only. Put the types that cross into proto/, and what both need of the host into host/"
    )
