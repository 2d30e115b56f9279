"""How fast the kernels of compositor and preprocessing are, beside their peers and a copy of the same bytes.

Everything that is compared is checked first, then runs in the same interleaved rounds with the same number of threads.
Limits are judged on `random` logits, the worst case. `benchmarks/kernels_plot.py` turns the JSON into tables and plots.

Usage: python -m benchmarks.kernels [--rounds 60] [--threads N] [--subject native] [--only SECTION] [--markdown]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import drawing_peers, kernels_plot, kernels_scaling
from benchmarks.rounds import Contender, describe_machine, interleave, load_average
from benchmarks.scenes import FULL_HD, NETWORK, LogitsKind, Subject, drawing, frame, mask_logits, open_subject
from edgex.compositors import open_compositor
from edgex.errors import EdgexError
from edgex.types import Style

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "benchmarks/results/kernels.json"
APART = 1e-4  # share of values more than a level apart that ties between classes and logits of 0 may leave
RESEMBLES = 12.0  # levels, mean: what the shortest form in 8 bits differs by from exact arithmetic
SECTIONS = ("cases", "sizes", "scaling", "instructions", "memory", "bounds")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a case is held to: `kind` "times" (median at most `value` times that of `of`), "faster" (at least `value`
    times faster than `of`) or "ms" (median at most `value`).
    """

    kind: str
    value: float
    of: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: a style and how many classes it shows, or "preprocess" or "masks"."""

    name: str
    work: str
    count: int
    limits: tuple[Limit, ...] = ()


CASES = (
    Case(
        *("overlay 1", "overlay", 1),
        (Limit("times", 7, "copy"), Limit("faster", 4, "opencv heat"), Limit("faster", 60, "torch")),
    ),
    Case(
        *("overlay 3", "overlay", 3),
        (Limit("times", 11, "copy"), Limit("faster", 60, "supervision"), Limit("faster", 60, "torchvision")),
    ),
    Case("overlay 20", "overlay", 20, (Limit("times", 50, "copy"), Limit("faster", 20, "torch"))),
    Case("heat 1", "heat", 1),
    Case("cutout 1", "cutout", 1),
    Case("outline 1", "outline", 1),
    Case("masks 3", "masks", 3),
    Case("preprocess", "preprocess", 0, (Limit("ms", 0.4), Limit("faster", 3, "opencv input"))),
)


def calls_of(case: Case, kind: LogitsKind, subject: Subject) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Return what runs side by side for one case at 1080p, the subject first, and which peers are missing."""
    image, logits = frame(*FULL_HD), mask_logits(kind)
    copied = np.empty_like(image)
    calls: dict[str, Callable[[], Any]] = {subject.name: work_of(case, subject, image, logits)}
    calls["copy"] = partial(np.copyto, copied, image)
    if subject.name != "opencv":
        calls["opencv"] = work_of(case, open_subject("opencv"), image, logits)
    makers: dict[str, Callable[[], Callable[[], Any]]] = {}
    if case.work == "preprocess":
        makers["opencv input"] = partial(drawing_peers.opencv_input, image, NETWORK)
    elif kind == "random" and case.work == "overlay":  # what peers take does not depend on the logits
        draw = drawing("overlay", case.count)
        makers["torch"] = partial(drawing_peers.torch_overlay, image, logits, draw)
        if case.count == 1:
            makers["opencv heat"] = partial(drawing_peers.opencv_heat, image, logits, draw)
        if case.count == 3:
            ready = open_compositor("opencv").masks(logits, draw.classes, *FULL_HD) >= 128
            makers["supervision"] = partial(drawing_peers.supervision_annotator, image, ready, draw)
            makers["torchvision"] = partial(drawing_peers.torchvision_drawing, image, ready, draw)
    found, missing = drawing_peers.prepared(makers)
    return {**calls, **found}, missing


def work_of(case: Case, subject: Subject, image: Any, logits: Any) -> Callable[[], Any]:
    """Return the call that does one case's work; it makes a new picture, as the peers do."""
    if case.work == "preprocess":
        tensor = np.empty((1, 3, NETWORK.height, NETWORK.width), np.float32)
        return partial(subject.preprocess, image, NETWORK, out=tensor)
    if case.work == "masks":
        return partial(subject.masks, logits, tuple(range(case.count)), *image.shape[:2])
    style: Style = case.work  # type: ignore[assignment]
    return partial(subject.compose, image, logits, drawing(style, case.count), out=None)


def check(case: Case, kind: LogitsKind, subject: Subject, calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Raise SystemExit unless what is compared agrees; return each contender's mean difference from the subject."""
    ours = np.array(calls[subject.name]())
    unit = 1.0 / (255.0 * max(NETWORK.std)) if case.work == "preprocess" else 1.0  # of a level
    differences = {}
    for name, call in calls.items():
        if name in (subject.name, "copy"):
            continue
        theirs = np.asarray(call())
        if name == "opencv heat":
            style = drawing("heat", 1)
            ours_here = np.asarray(subject.compose(frame(*FULL_HD), mask_logits(kind), style, out=None))
        else:
            ours_here = ours
        apart, mean = drawing_peers.shares_apart(ours_here / unit, theirs / unit)
        differences[name] = round(mean, 4)
        exact = name in ("opencv", "torch", "opencv input")
        fails = apart > APART if exact else name == "opencv heat" and mean > RESEMBLES
        if fails or theirs.shape != ours.shape:
            raise SystemExit(
                f"{case.name}, {kind}: {name} differs in {apart:.2%} of the values, by {mean:.2f} on average"
            )
    return differences


def judge(case: Case, times: dict[str, dict[str, float]], subject: str) -> list[dict[str, Any]]:
    """Return each limit with what was reached; `met` is None where the peer was not measured."""
    ours = times[subject]["median_ms"]
    judged = []
    for limit in case.limits:
        there = limit.kind == "ms" or limit.of in times
        reached = None
        if there:
            over = times[limit.of]["over_first"] if limit.of else 1.0 / ours  # ours is first
            reached = round(over if limit.kind == "faster" else 1.0 / over, 3)
        met = None if reached is None else reached >= limit.value if limit.kind == "faster" else reached <= limit.value
        judged.append({"kind": limit.kind, "of": limit.of, "limit": limit.value, "reached": reached, "met": met})
    return judged


def measure_cases(subject: Subject, rounds: int) -> list[dict[str, Any]]:
    """Check and time every case on both kinds of logits."""
    rows = []
    for case in CASES:
        for kind in ("random", "real") if case.count else ("random",):
            calls, missing = calls_of(case, kind, subject)
            differences = check(case, kind, subject, calls)
            times = interleave({name: Contender(call) for name, call in calls.items()}, rounds)
            rows.append(
                {
                    "case": case.name,
                    "logits": kind if case.work != "preprocess" else None,
                    "contenders": times,
                    "ratios": {name: each["over_first"] for name, each in times.items()},
                    "mean_difference_levels": differences,
                    "missing": missing,
                    "limits": judge(case, times, subject.name) if kind == "random" else [],
                }
            )
            print(f"{case.name:12} {kind:7}", {name: each["median_ms"] for name, each in times.items()}, flush=True)
    return rows


def measure(name: str, rounds: int, threads: int, sections: tuple[str, ...]) -> dict[str, Any]:
    """Measure the sections that are asked for."""
    subject = open_subject(name)
    drawing_peers.set_threads(threads)
    subject.set_threads(threads)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "load_before": load_average(),
        "subject": name,
        "threads": threads,
        "instruction_sets": list(subject.instruction_sets),
    }
    works = {case.name: partial(work_of, case, subject) for case in CASES}
    steps: dict[str, Callable[[], Any]] = {
        "cases": lambda: measure_cases(subject, rounds),
        "sizes": lambda: kernels_scaling.measure_sizes(works, subject.name, rounds),
        "scaling": lambda: kernels_scaling.measure_threads(works, subject, rounds, threads),
        "instructions": lambda: kernels_scaling.measure_instruction_sets(works, subject, rounds),
        "memory": lambda: kernels_scaling.measure_memory(name, threads),
        "bounds": lambda: kernels_scaling.measure_bounds(works, subject, rounds, threads),
    }
    for section in sections:
        print(f"measuring {section}", flush=True)
        report[section] = steps[section]()
    return {**report, "load_after": load_average()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--subject", choices=("native", "opencv"), default="native")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="may be given several times")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/kernels.md as well")
    options = parser.parse_args()
    try:
        report = measure(options.subject, options.rounds, options.threads, tuple(options.only or SECTIONS))
    except EdgexError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        print(*kernels_plot.tables(report).values(), sep="\n\n")
    missed = [
        f"{row['case']}: {limit['reached']} instead of {limit['limit']} ({limit['kind']} {limit['of']})"
        for row in report.get("cases", [])
        for limit in row["limits"]
        if limit["met"] is False
    ]
    print(*missed or ["every limit that was measured is met"], sep="\n")


if __name__ == "__main__":
    main()
