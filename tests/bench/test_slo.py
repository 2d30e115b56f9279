"""The search for the highest rate that holds: an engine whose answer is known, a clock that only sleeping moves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from edgex.bench.paced import EngineServer, PacedLane
from edgex.bench.samples import distribution, percentile
from edgex.bench.slo import TOLERANCE, TRIAL_FRAMES, TRIAL_S, is_growing, search, try_rate
from edgex.report.parts import Policy, Slo, Trial
from tests.sleeping import MS, Sleeper, VirtualClock, queue_ages


def searched(
    service_ms: float,
    limit_ms: float,
    start_fps: float = 30,
    stalls: Mapping[int, float] | None = None,
    policy: Policy = "queue",
) -> Slo:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, service_ms, stalls)
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock), start_fps, policy, virtual.clock)
    return search(lambda fps: try_rate(lane, fps, limit_ms), limit_ms, start_fps)


class EveryHundredth(dict[int, float]):
    """Every 100th call stalls."""

    def __init__(self, stall_ms: float) -> None:
        self.stall_ms = stall_ms

    def __bool__(self) -> bool:
        return True

    def get(self, call: int, service_ms: float) -> float:  # type: ignore[override]
        return self.stall_ms if call % 100 == 50 else service_ms


@pytest.mark.parametrize("policy", ["queue", "newest"])
@pytest.mark.parametrize("start_fps", [1, 30, 101, 3000])
@pytest.mark.parametrize("service_ms", [10, 4])
def test_a_steady_engine_holds_its_own_rate(service_ms: float, start_fps: float, policy: Policy) -> None:
    slo = searched(service_ms, limit_ms=25, start_fps=start_fps, policy=policy)
    own = 1000 / service_ms
    assert slo.highest_fps is not None
    # a queue that grows by half a percent is not seen in 2 s, nor are drops below one in a hundred
    assert own * (1 - TOLERANCE) <= slo.highest_fps <= own * 1.0125
    assert slo.outcome == "found"
    assert (slo.trials[-1].fps, slo.trials[-1].sustained) == (slo.highest_fps, True)  # it held a second time
    assert sum(trial.fps == slo.highest_fps and trial.sustained for trial in slo.trials) == 2


def test_an_engine_that_takes_longer_than_the_limit_holds_no_rate() -> None:
    slo = searched(service_ms=30, limit_ms=25)
    assert (slo.highest_fps, slo.outcome) == (None, "none")
    assert [trial.sustained for trial in slo.trials] == [False] * len(slo.trials)
    assert [trial.fps for trial in slo.trials] == [30, 15, 7.5, 3.75, 1.875, 1]  # the lowest is tried, too
    assert {trial.p99_ms for trial in slo.trials[2:]} == {30}


def test_every_trial_of_an_engine_that_stalls_is_what_lindley_says() -> None:
    """Every 100th call takes 60 ms, the others 5: alone it does 180 a second, but frames wait behind each stall."""
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 5, EveryHundredth(60))
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock), 30, "queue", virtual.clock)
    begins: list[int] = []

    def attempt(fps: float) -> Trial | None:
        begins.append(len(call.inputs))
        return try_rate(lane, fps, 50)

    slo = search(attempt, 50, 30)
    for begin, trial in zip(begins, slo.trials, strict=True):
        count = max(TRIAL_FRAMES, math.ceil(TRIAL_S * trial.fps))
        due = [round(index * 1e9 / trial.fps) for index in range(count)]
        service = [(60 if number % 100 == 50 else 5) * MS for number in range(begin, begin + count)]
        ages = [ns / 1e6 for ns in queue_ages(due, service)]
        p99 = percentile(ages, 99)
        assert trial.sustained == (p99 <= 50 and not is_growing(ages, trial.fps))
        if trial.sustained:
            assert trial.p99_ms == pytest.approx(p99)
            assert (trial.done, trial.due) == (count, count)
        assert trial.ages == distribution(ages[: trial.done])  # of those that end early, the frames until then
    # one late frame a stall up to 66.7 a second, which is allowed; from 100 a second on three are
    assert slo.highest_fps is not None
    assert 66 <= slo.highest_fps <= 102
    easy = searched(service_ms=5, limit_ms=70, stalls=EveryHundredth(60))
    assert easy.highest_fps is not None
    assert easy.highest_fps > 150


def test_drops_are_misses() -> None:
    """The newest policy never waits long: without counting drops any rate would hold."""
    slo = searched(service_ms=10, limit_ms=1000, policy="newest")
    assert slo.highest_fps is not None
    assert slo.highest_fps <= 102
    dropping = [trial for trial in slo.trials if trial.fps > 110]
    assert dropping
    assert all(trial.p99_ms <= 20 and not trial.sustained for trial in dropping)


def test_a_trial_ends_as_soon_as_its_answer_is_sure() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 100)
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock), 1000, "queue", virtual.clock)
    trial = try_rate(lane, 1000, 50)
    assert trial is not None
    assert not trial.sustained
    assert len(call.inputs) == 21  # of 2000 frames, 20 may be late


def test_what_does_not_hold_again_is_lowered() -> None:
    asked: list[float] = []

    def attempt(fps: float) -> Trial:
        limit = 80 if fps in asked else 100
        asked.append(fps)
        return Trial(fps, 1.0, fps <= limit)

    slo = search(attempt, 10, 64)
    assert slo.highest_fps is not None
    assert 80 / 1.05 <= slo.highest_fps <= 80
    assert asked.count(slo.highest_fps) == 2
    assert [trial.fps for trial in slo.trials] == asked


def test_a_search_that_is_stopped_has_found_nothing_but_tells_what_it_tried() -> None:
    tried: list[float] = []

    def attempt(fps: float) -> Trial:
        tried.append(fps)
        return Trial(fps, 1.0, True)

    slo = search(attempt, 10, 16, lambda: len(tried) == 3)
    assert (slo.highest_fps, slo.outcome) == (None, "not ended")
    assert [trial.fps for trial in slo.trials] == [16, 32, 64]
    assert search(lambda fps: None, 10, 16, lambda: True) == Slo(10, None, (), "not ended")


@pytest.mark.parametrize("after", range(10))
def test_a_search_that_is_stopped_anywhere_never_says_that_no_rate_held(after: int) -> None:
    """The last trial is cut off and gives None, as one does that was stopped."""
    tried: list[float] = []

    def attempt(fps: float) -> Trial | None:
        tried.append(fps)
        return Trial(fps, 1.0, fps <= 40) if len(tried) <= after else None

    slo = search(attempt, 10, 16, lambda: len(tried) > after)
    assert (slo.highest_fps, slo.outcome) == (None, "not ended")
    assert len(slo.trials) == after
    whole = search(lambda fps: Trial(fps, 1.0, fps <= 40), 10, 16)
    assert whole.outcome == "found"
    assert len(whole.trials) == 10


def test_a_search_ends_without_an_answer_when_nothing_holds_again() -> None:
    """Every rate holds once and never twice: eight are given up, and that is not to say that no rate holds."""
    asked: list[float] = []

    def attempt(fps: float) -> Trial:
        asked.append(fps)
        return Trial(fps, 1.0, asked.count(fps) == 1 and fps <= 100)

    slo = search(attempt, 10, 64)
    assert (slo.highest_fps, slo.outcome) == (None, "not ended")
    assert len([fps for fps in asked if asked.count(fps) == 2]) == 2 * 8


def test_a_search_that_came_down_to_the_lowest_says_that_no_rate_held() -> None:
    asked: list[float] = []

    def attempt(fps: float) -> Trial:
        asked.append(fps)
        return Trial(fps, 1.0, asked.count(fps) == 1 and fps < 1.05)

    slo = search(attempt, 10, 2)
    assert (slo.highest_fps, slo.outcome) == (None, "none")
    assert min(asked) == 1.0
    assert search(lambda fps: Trial(fps, 1.0, False), 10, 0.25).trials == (Trial(0.25, 1.0, False),)


def test_a_search_ends_where_everything_holds() -> None:
    slo = search(lambda fps: Trial(fps, 0.001, True), 10, 100)
    assert (slo.highest_fps, slo.outcome) == (12_800, "found")


def test_a_queue_that_grows() -> None:
    assert is_growing([float(age) for age in range(0, 300)], fps=30)
    assert not is_growing([10.0] * 300, fps=30)
    assert not is_growing([10.0] * 150 + [400.0] + [10.0] * 149, fps=30)
    assert not is_growing([], fps=30)
