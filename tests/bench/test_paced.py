"""Paced mode on a clock that moves only when one sleeps: every age is known to the nanosecond."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.bench.beat import Beat
from edgex.bench.paced import EngineServer, PacedLane, Passed
from edgex.bench.paced_path import PacedSource
from edgex.bench.samples import distribution, percentile
from edgex.bench.schedule import LEAD_NS, Pacer, Schedule
from edgex.bench.track import Clock, Course, Effort, Track, take_turns
from edgex.report.parts import Paced, Policy
from tests.sleeping import MS, Sleeper, VirtualClock, newest_ages, queue_ages


def served(
    fps: float,
    count: int,
    service_ms: float,
    stalls: Mapping[int, float] | None = None,
    policy: Policy = "queue",
    deadline_ms: float = 50.0,
) -> tuple[Track, Paced, Sleeper]:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, service_ms, stalls)
    lane = PacedLane(EngineServer(call, list(range(count)), virtual.clock), fps, policy, virtual.clock)
    track = Track()
    lane.measure(track, 0.0, count)
    return track, lane.paced(deadline_ms), call


def test_without_a_stall_an_age_is_what_the_call_takes() -> None:
    track, paced, _ = served(fps=50, count=40, service_ms=8)
    assert set(track.samples_ns) == {8 * MS}
    assert (paced.due, paced.done, paced.dropped, paced.late) == (40, 40, 0, 0)
    assert track.starts_ns[39] - track.starts_ns[0] == 39 * 20 * MS
    assert track.per_second == pytest.approx(50)


def test_a_stall_counts_against_every_frame_that_it_delays() -> None:
    """50 a second, 10 ms each, one stall of 100 ms: the queue shrinks by 10 ms a frame, so nine more frames are old."""
    track, paced, _ = served(fps=50, count=40, service_ms=10, stalls={10: 100})
    expected = [10] * 10 + [100, 90, 80, 70, 60, 50, 40, 30, 20] + [10] * 21
    assert [ns / MS for ns in track.samples_ns] == expected
    assert (paced.late, paced.done) == (5, 40)  # 100 to 60 ms; a frame of just 50 ms is in time


def test_whoever_counts_from_when_the_call_begins_omits_what_waited() -> None:
    """The same engine, measured both ways: the stall is one sample of 200 by the one, and 39 by the other."""
    stalls = {100: 400}
    track, _, _ = served(fps=50, count=200, service_ms=10, stalls=stalls)
    from_due = percentile([ns / MS for ns in track.samples_ns], 95)
    from_begin = percentile([stalls.get(call, 10) for call in range(200)], 95)
    assert from_begin == 10
    assert from_due == pytest.approx(300.5)  # ages of 400, 390, ..., 20 ms: the 11th oldest is 300, the 10th 310


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(1, 500))
def test_ages_in_a_queue_are_those_of_lindley(seed: int, fps: float) -> None:
    draw = random.Random(seed)
    stalls = {call: draw.choice((0, 1, 5, 20, 90)) for call in range(60)}
    track, paced, call = served(fps, 60, 3, stalls)
    if paced.done < 60:  # given up: see below
        return
    due = [round(index * 1e9 / fps) for index in range(60)]
    assert list(track.samples_ns) == queue_ages(due, [stalls[index] * MS for index in range(60)])
    assert call.inputs == list(range(60))  # every frame, in order
    assert paced.age == distribution([ns / 1e6 for ns in track.samples_ns])


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(1, 500))
def test_the_newest_policy_is_a_mailbox_of_one_place(seed: int, fps: float) -> None:
    draw = random.Random(seed)
    stalls = {call: draw.choice((0, 1, 5, 20, 90)) for call in range(60)}
    track, paced, call = served(fps, 60, 3, stalls, "newest")
    due = [round(index * 1e9 / fps) for index in range(60)]
    taken, ages, dropped = newest_ages(due, lambda number: stalls[number] * MS)
    assert call.inputs == taken
    assert list(track.samples_ns) == ages
    assert (paced.due, paced.done, paced.dropped) == (60, len(taken), dropped)


def test_drops_are_known() -> None:
    """100 a second, 25 ms each: of the frames due at 0, 10, 20, ... it takes those at 0, 20, 50, 70, 100, 120, ..."""
    track, paced, call = served(fps=100, count=100, service_ms=25, policy="newest")
    assert call.inputs[:7] == [0, 2, 5, 7, 10, 12, 15]
    assert call.inputs[-1] == 99  # the last one is nobody's victim
    assert paced.done + paced.dropped == paced.due == 100
    assert sorted(set(track.samples_ns)) == [25 * MS, 30 * MS, 35 * MS]
    assert track.samples_ns.count(35 * MS) == 1  # the last one, as no newer one came


def test_a_rate_that_cannot_be_met_is_given_up_and_told() -> None:
    """200 a second for a second, 100 ms each: 5 s more are granted, and a queue of the others is left."""
    track, paced, _ = served(fps=200, count=200, service_ms=100)
    assert (paced.due, paced.dropped) == (200, 0)
    assert paced.done == 61
    assert track.per_second == pytest.approx(10, rel=0.02)
    assert paced.late == paced.done


def test_waiting_ends_when_it_is_to_stop_and_counts_what_was_due_until_then() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 8)
    end_ns = virtual.now_ns + 1_020 * MS
    stopped = lambda: virtual.now_ns >= end_ns  # noqa: E731
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock, stopped), 10, "queue", virtual.clock, stopped)
    lane.measure(Track(), 60.0, 1)
    paced = lane.paced(50.0)
    assert (paced.done, paced.due) == (10, 11)  # the one due at the very stop is not begun
    assert virtual.now_ns <= end_ns + 50 * MS
    assert max(virtual.slept) <= 50 * MS  # so that a stop is soon seen


def test_a_call_that_fails_leaves_what_was_measured() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 8, fails_at=5)
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock), 10, "queue", virtual.clock)
    with pytest.raises(RuntimeError):
        lane.measure(track := Track(), 0.0, 20)
    paced = lane.paced(50.0)
    assert (paced.due, paced.done, len(track.samples_ns)) == (6, 5, 5)


def test_turns_are_added_up() -> None:
    virtual = VirtualClock()
    lane = PacedLane(EngineServer(Sleeper(virtual.sleep, 30), ["x"], virtual.clock), 50, "newest", virtual.clock)
    for _ in range(3):
        lane.measure(Track(), 0.0, 20)
    paced = lane.paced(20.0)
    assert paced.due == paced.done + paced.dropped == 60
    assert paced.late == paced.done


def test_due_times_do_not_drift() -> None:
    schedule = Schedule(5, 29.97, 10**6)
    assert schedule.due_ns(0) == 5
    assert schedule.due_ns(2997 * 300) == 5 + 30_000 * 10**9  # 300 times 100 s, to the nanosecond


@settings(deadline=None)
@given(st.floats(0.1, 10_000), st.integers(0, 10**11))
def test_the_newest_frame_due_is_found(fps: float, after_ns: int) -> None:
    schedule = Schedule(1_000, fps, 500)
    newest = schedule.newest(1_000 + after_ns)
    assert schedule.due_ns(newest) <= 1_000 + after_ns
    assert newest == 499 or schedule.due_ns(newest + 1) > 1_000 + after_ns
    assert schedule.newest(999) == -1


def test_waking_late_counts_as_latency_and_is_known() -> None:
    virtual = VirtualClock()
    oversleeping = Clock(virtual.clock.now_ns, lambda seconds: virtual.sleep(seconds + 0.002))
    pacer = Pacer(10, 5, "queue", oversleeping, lambda: False)
    woken = [virtual.now_ns - due_ns for _, due_ns in pacer]
    assert all(0 < each <= 4 * MS for each in woken)
    assert pacer.wakes_ns == woken


def test_the_source_of_the_path_dates_frames_by_their_due_time() -> None:
    virtual = VirtualClock()
    images = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    pacer = Pacer(100, 10, "newest", virtual.clock, lambda: False)
    source = PacedSource(pacer, images)
    assert source.live
    virtual.sleep(0.7)
    frames = []
    for frame in source:
        frames.append(frame)
        virtual.sleep(0.025)
    assert [frame.index for frame in frames] == [0, 2, 5, 7, 9]
    begin_ns = 10**9 + 700 * MS + LEAD_NS  # the model had to be opened first
    assert [frame.arrived_ns - begin_ns for frame in frames] == [0, 20 * MS, 50 * MS, 70 * MS, 90 * MS]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 2, 2, 1, 0]
    assert source.state.dropped == 5


def test_a_queue_s_source_is_no_live_one_and_ends_when_it_is_stopped() -> None:
    virtual = VirtualClock()
    pacer = Pacer(100, 10, "queue", virtual.clock, lambda: False)
    source = PacedSource(pacer, [np.zeros((2, 2, 3), np.uint8)])
    assert not source.live
    indices = []
    for frame in source:
        indices.append(frame.index)
        if frame.index == 3:
            source.stop()
    assert indices == [0, 1, 2, 3]


@pytest.mark.parametrize(("service_ms", "policy"), [(8, "queue"), (80, "queue"), (80, "newest")])
def test_frames_are_told_of_a_few_times_a_second_over_all_turns(service_ms: float, policy: Policy) -> None:
    virtual = VirtualClock()
    told: list[tuple[int, int, int]] = []
    beat = Beat(lambda stage, done, total: told.append((virtual.now_ns, done, total)), virtual.clock)
    server = EngineServer(Sleeper(virtual.sleep, service_ms), ["x"], virtual.clock)
    lane = PacedLane(server, 20, policy, virtual.clock, tell=beat.frames)
    take_turns([Course("a", lane)], Effort(20.0, 1, 2), lambda: False, beat.turns)
    assert {total for _, _, total in told[1:]} == {400}
    assert told[-1][1:] == (400, 400)
    done = [each / total for _, each, total in told]
    assert done == sorted(done)
    gaps = [b - a for (a, *_), (b, *_) in itertools.pairwise(told)]
    assert max(gaps) <= 400 * MS  # a period, and what a call and a wait take
    assert len(told) <= 4 * (told[-1][0] - told[0][0]) / 1e9 + 4


def test_a_search_tells_of_no_frames() -> None:
    virtual = VirtualClock()
    told: list[int] = []
    server = EngineServer(Sleeper(virtual.sleep, 8), ["x"], virtual.clock)
    lane = PacedLane(server, 20, "queue", virtual.clock, tell=lambda done, count: told.append(done))
    lane.serve(Passed(), Track(), 40, 100)
    assert told == []
