"""The stopwatch: what it counts, not how long anything takes."""

from __future__ import annotations

import pytest

from edgex import timing
from edgex.timing import Stopwatch


def test_stages_are_counted_in_the_order_in_which_they_ran() -> None:
    watch = Stopwatch()
    for _ in range(3):
        for name in ("read", "infer"):
            with watch.stage(name):
                pass
    summary = watch.summary()
    assert list(summary) == ["read", "infer"]
    assert all(0 <= times.p50_ms <= times.p95_ms for times in summary.values())


def test_a_lap_adds_up_and_begins_again() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("read"):
            pass
    assert list(watch.lap()) == ["read"]
    assert watch.lap() == {}


def test_percentiles_are_those_of_the_newest_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = 0
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: clock_ns)
    watch = Stopwatch()
    for ms in [1_000_000] * 5 + [1 + i % 101 for i in range(10_100)]:
        with watch.stage("infer"):
            clock_ns += ms * 1_000_000
    times = watch.summary()["infer"]
    assert times.p50_ms == pytest.approx(51, abs=1)
    assert times.p95_ms == pytest.approx(96, abs=1)


def test_a_stage_that_fails_is_not_counted() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="broken"), watch.stage("read"):
        raise ValueError("broken")
    assert watch.summary() == {}
