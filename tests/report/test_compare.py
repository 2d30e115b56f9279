"""A report against an earlier one: only a change beyond the limit and the noise counts, and what differs is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgex.report import Run
from edgex.report.compare import compare, differences
from tests.reports import MACHINE, make_report, make_run, spread

NAME = "shipped.onnx · openvino · batch 1"


def run_of(samples: Any, rounds: int = 10, name: str = NAME) -> Run:
    """Return a run with these samples in rounds of equal length."""
    samples_ms = tuple(float(each) for each in samples)
    begins = tuple(len(samples_ms) * each // rounds for each in range(rounds))
    starts = tuple(np.cumsum(samples_ms).tolist())
    return make_run(name, samples_ms=samples_ms, latency=spread(samples_ms), rounds=begins, starts_ms=starts)


def steady(median_ms: float, seed: int, drift: float = 0.0) -> Any:
    """Return 1000 samples: 0.5 % of noise, and rounds of 100 that wander by `drift`."""
    draw = np.random.default_rng(seed)
    wander = np.repeat(np.exp(draw.normal(0, drift, 10)), 100)
    return median_ms * wander * np.exp(draw.normal(0, 0.005, 1000))


@pytest.mark.parametrize(
    ("new_ms", "limit_pct", "verdict"),
    [(5.6, 5.0, "slower"), (5.6, 20.0, "same"), (5.1, 5.0, "same"), (5.1, 1.0, "slower"), (4.4, 5.0, "faster")],
)
def test_a_steady_run_is_judged_by_the_limit(new_ms: float, limit_pct: float, verdict: str) -> None:
    (found,) = compare(make_report(run_of(steady(5.0, 1))), make_report(run_of(steady(new_ms, 2))), limit_pct)
    assert found.verdict == verdict
    assert found.change_pct == pytest.approx((new_ms / 5 - 1) * 100, abs=0.3)
    assert found.noise_pct is not None
    assert found.noise_pct < 0.3


def test_a_change_within_the_noise_of_wandering_rounds_is_none() -> None:
    old, new = (make_report(run_of(steady(ms, seed, drift=0.15))) for ms, seed in ((5.0, 1), (5.4, 2)))
    (found,) = compare(old, new, fail_above_pct=1.0)
    assert found.noise_pct is not None
    assert found.noise_pct > 8
    assert found.verdict == "same"


def test_a_single_round_is_cut_into_stretches_so_that_its_wandering_shows_too() -> None:
    old, new = (make_report(run_of(steady(5.0, seed, drift=0.15), rounds=1)) for seed in (1, 2))
    (found,) = compare(old, new, fail_above_pct=0.1)
    assert found.noise_pct is not None
    assert found.noise_pct > 8


def test_unchanged_runs_are_rarely_called_slower() -> None:
    verdicts = []
    for seed in range(40):
        old, new = (make_report(run_of(steady(5.0, 2 * seed + each, drift=0.03))) for each in (0, 1))
        verdicts += [one.verdict for one in compare(old, new, fail_above_pct=0.0)]
    assert verdicts.count("slower") <= 4  # a twentieth is expected: both tails of a 95 % interval
    assert verdicts.count("same") >= 32


def test_equal_reports_give_the_same_verdict_and_no_change() -> None:
    report = make_report()
    found = compare(report, report, fail_above_pct=0.0)
    assert [(each.verdict, each.change_pct) for each in found] == [("same", 0.0), ("same", 0.0)]
    assert found == compare(report, report, fail_above_pct=0.0)


def test_runs_that_only_one_report_has_or_that_have_no_sample_are_missing() -> None:
    old = make_report(make_run("gone"), make_run("failed"))
    new = make_report(make_run("failed", count=0, error="no"), make_run("new"))
    found = {each.run: each for each in compare(old, new)}
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(("failed", "new", "gone"), "missing")
    assert found["gone"].new_ms is None
    assert found["new"].old_ms is None
    assert found["failed"].change_pct is None


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("backend_version", "2026.3.0", "2026.4.1"),
        ("precision", "fp32", "int8"),
        ("batch", 1, 8),
        ("threads", None, 2),
        ("streams", 1, 2),
        ("device", "one CPU", "another CPU"),
        ("engine_sha256", "0" * 64, "1" * 64),
        ("pictures", "the shipped clip", "a folder"),
    ],
)
def test_a_run_that_was_measured_otherwise_is_told(name: str, then: object, now: object) -> None:
    old, new = (make_report(make_run(count=20, **{name: value})) for value in (then, now))
    (told,) = differences(old, new)
    assert NAME in told
    assert name in told
    assert ("not known" if then is None else str(then)) in told
    assert str(now) in told


def test_another_machine_and_a_partial_report_are_told() -> None:
    old = make_report(
        make_run(count=20), machine={**MACHINE, "cpu": "Cortex-A78AE", "governor": "schedutil"}, partial=True
    )
    told = differences(old, make_report(make_run(count=20)))
    assert len(told) == 3
    assert "the earlier report is partial" in told[0]
    assert "Cortex-A78AE" in told[1]
    assert "governor" in told[2]
    assert differences(old, old)[2:] == ()
