"""Turns of several runs: interleaved, long enough for what is measured, and enough of them for an interval."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from edgex.bench import BenchOptions, bench, effort_of
from edgex.bench.samples import LEAST_ROUNDS
from tests.bench.test_bench import QUICK


def test_runs_take_turns(bundle: Path, pictures: str) -> None:
    report = bench(BenchOptions((bundle, bundle), backends=("onnxruntime",), source=pictures), effort=QUICK)
    first, second = report.runs
    assert second.name == f"{first.name} (2)"
    begins = [[run.starts_ms[place] for place in run.rounds] for run in report.runs]
    assert sorted(itertools.chain(*begins)) == [each for pair in zip(*begins, strict=True) for each in pair]


@pytest.mark.parametrize(
    ("mode", "models", "seconds", "effort"),
    [
        ("engine", 1, 3.0, (3.0, 10)),
        ("engine", 4, 30.0, (30.0, 30)),
        ("pipeline", 1, 3.0, (6.0, 6)),
        ("pipeline", 2, 3.0, (6.0, 6)),
        ("pipeline", 2, 60.0, (60.0, 10)),
        ("paced", 1, 3.0, (3.0, 6)),  # of which bench makes one
        ("paced", 2, 3.0, (6.0, 6)),
        ("paced", 2, 8.5, (8.5, 8)),
    ],
)
def test_turns_are_long_enough_and_many_enough(
    mode: Any, models: int, seconds: float, effort: tuple[float, int]
) -> None:
    found = effort_of(BenchOptions((Path("a.onnx"),) * models, mode, seconds=seconds))
    assert (found.seconds, found.rounds) == effort
    assert found.rounds >= LEAST_ROUNDS
    assert models == 1 or mode == "engine" or found.seconds / found.rounds >= 1.0


@pytest.mark.parametrize("mode", ["pipeline", "paced"])
def test_several_on_the_whole_path_take_enough_turns_for_a_ratio(bundle: Path, pictures: str, mode: Any) -> None:
    fps = 100.0 if mode == "paced" else None
    report = bench(BenchOptions((bundle, bundle), mode, ("onnxruntime",), source=pictures, fps=fps), effort=QUICK)
    assert [len(run.rounds) for run in report.runs] == [LEAST_ROUNDS] * 2
    assert [run.error for run in report.runs] == [None] * 2
    (ratio,) = report.ratios
    assert ratio.low <= ratio.ratio <= ratio.high


def test_too_few_turns_for_an_interval_give_no_ratio_and_are_told(bundle: Path, pictures: str) -> None:
    options = BenchOptions((bundle, bundle), backends=("onnxruntime",), source=pictures)
    report = bench(options, effort=dataclasses.replace(QUICK, rounds=5))
    assert report.ratios == ()
    assert [each for each in report.warnings if each.startswith("no ratio of")] == [
        "no ratio of tiny.onnx · onnxruntime · batch 1 (2) to tiny.onnx · onnxruntime · batch 1: they took 5 turns "
        "both, and an interval needs 6; measure longer"
    ]
