"""Times: what is counted, not how long anything takes."""

from __future__ import annotations

import numpy as np
import pytest

from edgex import timing
from edgex.timing import Times, stage


def test_a_stage_that_runs_twice_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = iter((0, 2_000_000, 5_000_000, 6_500_000))
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: next(clock_ns))
    ms: dict[str, float] = {}
    for _ in range(2):
        with stage(ms, "read"):
            pass
    assert ms == {"read": 3.5}


def test_a_stage_that_fails_is_not_counted() -> None:
    ms: dict[str, float] = {}
    with pytest.raises(ValueError, match="broken"), stage(ms, "read"):
        raise ValueError("broken")
    assert ms == {}


def test_percentiles_are_those_of_the_newest_times() -> None:
    times = Times()
    newest = [1.0 + i % 101 for i in range(10_000)]
    for ms in [1e6] * 5 + newest:
        times.add(ms)
    spread = times.spread()
    assert (spread.p50_ms, spread.p95_ms, spread.p99_ms) == tuple(np.percentile(newest, (50, 95, 99)).round(3))
    assert spread.max_ms == 101


def test_no_times_have_no_spread() -> None:
    with pytest.raises(ValueError, match="at least one time"):
        Times().spread()
