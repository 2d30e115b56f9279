"""The section on the live path of docs/gpu.md, and the aim, from what benchmarks/gpu/live.py found."""

from __future__ import annotations

from typing import Any

from benchmarks.page import table

AIM_MS = 1.0  # median of a 1080p frame, both transfers from and to pinned memory
HALF = 0.5  # of the time: a stage that takes so much bounds it


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the aim with what was reached."""
    made = []
    for case in found["frames"]:
        whole = case["figures"]["whole"]
        if case["size"] == "1080p" and "p50" in whole:
            runtime = " ".join(found["engine"][name] for name in ("runtime", "precision"))
            aim = f"a 1080p frame to a finished picture, median, both transfers, engine {runtime}"
            judged = {"bound": f"{AIM_MS:g} ms", "reached": whole["p50"], "met": whole["p50"] < AIM_MS}
            made.append({"aim": aim, **judged})
    return made


def page(found: dict[str, Any]) -> str:
    """Return the tables, and what bounds them."""
    engine, parts = found.get("engine", {}), []
    if engine:
        words = f"Engine: {engine.get('model', 'the shipped bundle')} in {engine['runtime']}, {engine['precision']}."
        standing = "" if engine["runtime"].startswith("tensorrt") else " It stands in for TensorRT."
        parts.append(words + standing)
    if found.get("walked"):
        parts.append("Walked on the CPU: every stage, each stage left out, and several streams; no time was kept.")
    for case in found.get("frames", []):
        rows = [
            (name, each["error"], "", "", "")
            if "error" in each
            else (name, *(f"{each[p]:.3f}" for p in ("p50", "p90", "p99")), _gain(each))
            for name, each in case["figures"].items()
        ]
        parts.append(f"One frame at a time at {case['size']}, from and to pinned memory; the engine's launches: "
                     f"{case['launches']}. {bound(case['figures'])}")  # fmt: skip
        parts.append(table(("frame", "p50, ms", "p90", "p99", "times as fast as whole"), rows))
    if cases := found.get("streams"):
        stages = list(cases[0]["figures"])
        rows = []
        for case in cases:
            whole = case["figures"]["whole"]
            left_out = [f"{case['figures'][stage]['per_second']:,.0f}" for stage in stages if stage != "whole"]
            times = [f"{whole[p]:.3f}" for p in ("p50", "p99")]
            rows.append((case["size"], case["streams"], f"{whole['per_second']:,.0f}", *times, *left_out))
        head = [f"without {stage}" for stage in stages if stage != "whole"]
        parts.append("Streams that share the engine, each with a thread, a path, a CUDA stream and an execution context"
                     " of its own; frames a second of all:")  # fmt: skip
        parts.append(table(("size", "streams", "frames a second", "p50, ms", "p99", *head), rows))
    parts += [f"Not measured: {name}: {' '.join(str(why).split())}." for name, why in found.get("missing", {}).items()]
    return "\n\n".join(parts)


def bound(figures: dict[str, Any]) -> str:
    """Return what the stages cost, and which of them bounds a frame."""
    whole = figures["whole"].get("p50")
    costs = {
        name.removeprefix("without "): whole - each["p50"]
        for name, each in figures.items()
        if name.startswith("without ") and whole is not None and "p50" in each
    }
    if not whole or not costs:
        return ""
    most = max(costs, key=lambda name: costs[name])
    told = ", ".join(f"{name} {max(0.0, cost):.3f} ms" for name, cost in costs.items())
    rest = whole - sum(max(0.0, cost) for cost in costs.values())
    if rest > HALF * whole:
        why = "most of the time is in none of them: the host's calls, waits and choice of classes bound it"
    elif costs[most] > HALF * whole:
        why = f"{most} bounds it"
    else:
        why = f"no stage takes half; {most} takes most"
    return f"Left out, a stage saves: {told}; {max(0.0, rest):.3f} ms are left beside them, so {why}."


def _gain(each: dict[str, Any]) -> str:
    gain = each.get("times_the_first")
    return f"{gain[1]:.2f} ({gain[0]:.2f} to {gain[2]:.2f})" if gain else ""
