"""A report against an earlier one: only a change beyond limit and noise counts, and what is not judged is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edgex.report import BenchReport, Paced, Run, Slo, Trial
from edgex.report.compare import Comparison, compare, is_judged
from edgex.report.compare_text import comparison_warnings
from edgex.report.differences import differences
from edgex.report.html import to_html
from edgex.report.text import to_markdown
from tests.report.test_report import reports
from tests.reports import make_paced, make_report, make_run, spread

NAME = "shipped.onnx · openvino · batch 1"


def run_of(samples: Any, rounds: int = 10, name: str = NAME, **fields: Any) -> Run:
    """Return a run with these samples in rounds of equal length, one right after the other."""
    samples_ms = tuple(float(each) for each in samples)
    begins = tuple(len(samples_ms) * each // rounds for each in range(rounds))
    starts = (0.0, *np.cumsum(samples_ms)[:-1].tolist())
    rate = 1000 * len(samples_ms) / (sum(samples_ms) or 1)
    known = {"samples_ms": samples_ms, "latency": spread(samples_ms), "rounds": begins, "starts_ms": starts}
    return make_run(name, **{**known, "per_second": rate, **fields})


def steady(median_ms: float, seed: int, drift: float = 0.0) -> Any:
    """Return 1000 samples: 0.5 % of noise, and rounds of 100 that wander by `drift`."""
    draw = np.random.default_rng(seed)
    wander = np.repeat(np.exp(draw.normal(0, drift, 10)), 100)
    return median_ms * wander * np.exp(draw.normal(0, 0.005, 1000))


def figures(old: Run, new: Run, limit_pct: float = 5.0) -> dict[str, Comparison]:
    return {each.figure: each for each in compare(make_report(old), make_report(new), limit_pct)}


@pytest.mark.parametrize(
    ("new_ms", "limit_pct", "verdict"),
    [(5.6, 5.0, "worse"), (5.6, 20.0, "same"), (5.1, 5.0, "same"), (5.1, 1.0, "worse"), (4.4, 5.0, "better")],
)
def test_a_steady_run_is_judged_by_the_limit_in_every_figure(new_ms: float, limit_pct: float, verdict: str) -> None:
    found = figures(run_of(steady(5.0, 1)), run_of(steady(new_ms, 2)), limit_pct)
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(("p50", "p99", "per second"), verdict)
    assert found["p50"].change_pct == pytest.approx((new_ms / 5 - 1) * 100, abs=0.3)
    assert found["p99"].change_pct == pytest.approx((new_ms / 5 - 1) * 100, abs=0.5)
    assert found["per second"].change_pct == pytest.approx((1 - 5 / new_ms) * 100, abs=0.3)
    for each in found.values():
        assert each.noise_pct is not None
        assert each.noise_pct < 0.5


def test_a_change_within_the_noise_of_wandering_rounds_is_unclear_where_the_noise_exceeds_the_limit() -> None:
    old, new = (run_of(steady(ms, seed, drift=0.15)) for ms, seed in ((5.0, 1), (5.4, 2)))
    found = figures(old, new, 1.0)
    assert {each.verdict for each in found.values()} == {"unclear"}
    assert all(each.noise_pct is not None and each.noise_pct > 8 for each in found.values())
    (told,) = comparison_warnings(list(found.values()))
    assert "unclear p50 (noise" in told
    assert "limit 1)" in told
    assert "--seconds" in told
    assert is_judged(list(found.values()))


def test_a_single_round_is_cut_into_stretches_so_that_its_wandering_shows_too() -> None:
    old, new = (run_of(steady(5.0, seed, drift=0.15), rounds=1) for seed in (1, 2))
    found = figures(old, new, 0.1)
    assert all(each.noise_pct is not None and each.noise_pct > 8 for each in found.values())


def test_streams_are_cut_by_time_whatever_the_order_of_their_samples() -> None:
    wandering = run_of(steady(5.0, 1, drift=0.15), rounds=1)
    order = np.random.default_rng(0).permutation(1000)
    samples, starts = np.array(wandering.samples_ms)[order], np.array(wandering.starts_ms)[order]
    mixed = replace(wandering, samples_ms=tuple(samples.tolist()), starts_ms=tuple(starts.tolist()))
    assert figures(mixed, mixed)["p50"].noise_pct == figures(wandering, wandering)["p50"].noise_pct


def test_unchanged_runs_are_rarely_called_worse() -> None:
    verdicts = []
    for seed in range(40):
        old, new = (run_of(steady(5.0, 2 * seed + each, drift=0.03)) for each in (0, 1))
        verdicts += [each.verdict for each in figures(old, new, 0.0).values() if each.figure != "p99"]
    assert verdicts.count("worse") <= 8  # a twentieth is expected: both tails of a 95 % interval
    assert verdicts.count("unclear") >= 64
    assert verdicts.count("same") == 0  # there is noise, so nobody can tell that nothing at all changed


def test_equal_reports_give_the_same_verdict_and_no_change() -> None:
    report = make_report()
    found = compare(report, report)
    assert {(each.verdict, each.change_pct) for each in found} == {("same", 0.0)}
    assert [each.figure for each in found] == ["p50", "p99", "per second"] * 2
    assert found == compare(report, report)
    assert is_judged(found)
    assert comparison_warnings(found) == ()


def test_stalls_of_two_in_a_hundred_show_in_the_99th_percentile_though_the_median_is_as_before() -> None:
    stalled = steady(5.0, 2)
    stalled[::50] *= 3
    found = figures(run_of(steady(5.0, 1)), run_of(stalled))
    assert found["p50"].verdict == "same"
    assert found["p99"].verdict == "worse"
    assert "p99" not in figures(run_of(steady(5.0, 1)), run_of(steady(5.0, 2)[:900]))


def test_fewer_pictures_a_second_are_worse_though_each_call_takes_as_long() -> None:
    samples = steady(5.0, 1)
    apart = tuple((np.arange(1000) * 7.0).tolist())
    found = figures(run_of(samples), run_of(samples, starts_ms=apart, per_second=1000 / 7))
    assert found["p50"].verdict == found["p99"].verdict == "same"
    assert found["per second"].verdict == "worse"
    assert found["per second"].change_pct == pytest.approx((1 - 5 / 7) * 100, abs=0.3)


def paced(late: int = 0, dropped: int = 0, slo: Slo | None = None, **fields: Any) -> Run:
    """Return 900 frames due at 60 a second, so many of them late, and so many dropped in the middle."""
    made = make_paced()
    assert made.paced is not None
    done = 900 - dropped
    ages = np.full(done, 8.0)
    if late:
        ages[:: done // late] = 30.0
    due = np.concatenate((np.arange(450), np.arange(450 + dropped, 900))) / 60 * 1000
    samples = tuple(ages.tolist())
    age = spread(samples)
    known = {"fps": 60.0, "policy": "queue", "deadline_ms": 16.7, **fields}
    late = int((ages > 16.7).sum())
    counted = Paced(**known, due=900, done=done, dropped=dropped, late=late, age=age, slo=slo)
    starts = tuple(due.tolist())
    return replace(made, samples_ms=samples, starts_ms=starts, rounds=(0,), latency=age, paced=counted)


def test_frames_missed_are_held_against_each_other_in_points() -> None:
    assert figures(paced(), paced())["missed"].verdict == "same"
    worse = figures(paced(late=9), paced(late=90))["missed"]
    assert (worse.verdict, worse.unit) == ("worse", "%")
    assert worse.change_pct == pytest.approx(9, abs=0.3)
    assert worse.limit_pct == 1.0
    assert figures(paced(late=90), paced(late=9))["missed"].verdict == "better"
    burst = figures(paced(), paced(dropped=45))["missed"]
    assert burst.change_pct == pytest.approx(5)
    assert burst.verdict == "unclear"  # all in one stretch: it may have been that one moment
    assert figures(paced(), paced())["p50"].verdict == "same"
    assert "per second" not in figures(paced(), paced())


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        *((100.0, 97.0, "same"), (100.0, 90.0, "worse"), (100.0, 110.0, "better")),
        *((100.0, None, "worse"), (None, 100.0, "better"), (None, None, "same")),
    ],
)
def test_the_highest_rate_is_held_against_the_earlier_one(old: float | None, new: float | None, verdict: str) -> None:
    then, now = (paced(slo=slo_of(rate)) for rate in (old, new))
    assert figures(then, now)["highest rate"].verdict == verdict
    assert figures(then, now, 1.0)["highest rate"].limit_pct == 2.0


def slo_of(rate: float | None, limit_ms: float = 20.0) -> Slo:
    trials = (Trial(1.0 if rate is None else rate, 19.0, rate is not None),)
    return Slo(limit_ms, rate, trials, "none" if rate is None else "found")


@pytest.mark.parametrize(
    ("old", "new", "figure", "told"),
    [
        (paced(slo=slo_of(9.0)), paced(slo=Slo(20.0, None, ())), "highest rate", "search of this report did not end"),
        (paced(slo=Slo(20.0, None, ())), paced(slo=slo_of(9.0)), "highest rate", "the earlier report did not end"),
        (paced(slo=slo_of(9.0)), paced(slo=slo_of(9.0, 30.0)), "highest rate", "20 ms then, 30 ms now"),
        (paced(slo=slo_of(9.0)), paced(), "highest rate", "did not search for it"),
        (paced(), paced(deadline_ms=50.0), "missed", "16.7 ms then, 50 ms now"),
        (paced(), paced(fps=30.0), "all", "60 a second, queue then, at 30 a second, queue now"),
        (paced(), paced(policy="newest"), "all", "newest now"),
        (make_run(), make_run(count=0, error="it failed"), "all", "this report has no sample of it"),
        (make_run(count=0), make_run(), "all", "the earlier report has no sample of it"),
        (make_run("gone"), make_run("other"), "all", "this report has no such run"),
        (make_run("x", mode="pipeline"), make_run("x"), "all", "this report has no such run"),
    ],
)
def test_what_cannot_be_compared_is_told_and_is_no_pass(old: Run, new: Run, figure: str, told: str) -> None:
    found = compare(make_report(old), make_report(new))
    (lacking,) = [each for each in found if each.verdict == "not comparable"]
    assert lacking.figure == figure
    assert told in lacking.why
    assert not is_judged(found)
    assert any(told in each for each in comparison_warnings(found))


def test_what_only_this_report_has_is_told_and_does_no_harm() -> None:
    found = compare(make_report(make_run()), make_report(make_run(), make_run("new one")))
    assert is_judged(found)
    assert comparison_warnings(found) == ("only this report has new one (engine)",)
    searched = compare(make_report(paced()), make_report(paced(slo=slo_of(9.0))))
    assert is_judged(searched)


def test_a_baseline_that_nothing_was_held_against_is_no_pass() -> None:
    found = compare(replace(make_report(), runs=(), ratios=()), make_report())
    assert not is_judged(found)
    assert "nothing was held against it" in comparison_warnings(found)[-1]
    assert not is_judged(compare(make_report(make_run("a")), make_report(make_run("b"))))
    assert not is_judged([])


@settings(max_examples=15, deadline=None)
@given(reports(), reports())
def test_any_two_reports_can_be_held_against_each_other_and_shown(old: BenchReport, new: BenchReport) -> None:
    for before in (old, replace(old, runs=(*new.runs[:1], *old.runs[1:]), ratios=()) if is_mixable(old, new) else new):
        found, unlike = compare(before, new), differences(before, new)
        assert "not comparable" in {each.verdict for each in found} or is_judged(found)
        assert to_markdown(new, found, unlike)
        assert to_html(new, found, unlike)


def is_mixable(old: BenchReport, new: BenchReport) -> bool:
    return new.runs[0].name not in {run.name for run in old.runs[1:]}


@pytest.mark.parametrize("samples", [(0.0,) * 9, (0.0, 1e7, 1e-9) * 9, (3.0,), (0.0, 0.0, 5.0)])
def test_odd_samples_get_a_verdict_and_finite_figures(samples: tuple[float, ...]) -> None:
    odd = run_of(samples, rounds=1, per_second=0.0)
    for old, new in ((odd, make_run(NAME)), (make_run(NAME), odd), (odd, odd)):
        for each in figures(old, new).values():
            numbers = (each.old, each.new, each.change_pct, each.noise_pct)
            assert np.isfinite([number for number in numbers if number is not None]).all()
            assert each.verdict in ("better", "worse", "same", "unclear")
