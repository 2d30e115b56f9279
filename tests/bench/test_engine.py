"""Engine mode: every sample is kept, inputs and runs take turns, streams work at once, a failure is told."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import pytest

from edgex.bench.engine import EngineLane, bench_calls
from edgex.bench.samples import distribution
from edgex.bench.track import Course, Effort, Track, take_turns
from edgex.errors import ModelError, UsageError
from edgex.latency import PAUSE_S, WARM_UP
from tests.sleeping import MS, Sleeper, VirtualClock

SHORT = Effort(seconds=0.2, iterations=20, rounds=4, longest_warmup_s=1.0)


def lane_of(virtual: VirtualClock, call: Sleeper, *inputs: str, **options) -> EngineLane:
    return EngineLane([call], inputs or ("a",), clock=virtual.clock, **options)


def test_samples_are_what_the_calls_took_stalls_included() -> None:
    virtual = VirtualClock()
    track = Track()
    lane_of(virtual, Sleeper(virtual.sleep, 5, {3: 80})).measure(track, 0.0, 6)
    assert list(track.samples_ns) == [5 * MS, 5 * MS, 5 * MS, 80 * MS, 5 * MS, 5 * MS]
    assert [start - track.starts_ns[0] for start in track.starts_ns] == [0, 5 * MS, 10 * MS, 15 * MS, 95 * MS, 100 * MS]


def test_percentiles_of_a_known_distribution() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 10, dict.fromkeys(range(0, 200, 20), 100))  # one of twenty stalls
    track = Track()
    lane_of(virtual, call).measure(track, 0.0, 200)
    found = distribution([ns / 1e6 for ns in track.samples_ns])
    assert found is not None
    assert (found.count, found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms) == (200, 10, 10, 100, 100)
    assert found.p95_ms == pytest.approx(10 + 90 * 0.05)  # rank 189.05: between the 190th and the 191st
    assert found.mean_ms == pytest.approx(14.5)


def test_it_measures_as_long_and_as_often_as_is_asked() -> None:
    virtual = VirtualClock()
    track = Track()
    lane_of(virtual, Sleeper(virtual.sleep, 10)).measure(track, 0.5, 3)
    assert len(track.samples_ns) == 50
    lane_of(virtual, Sleeper(virtual.sleep, 400)).measure(track := Track(), 0.5, 3)
    assert len(track.samples_ns) == 3


def test_inputs_are_taken_in_turn_over_all_turns() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 1)
    lane = lane_of(virtual, call, "a", "b", "c")
    for _ in range(2):
        lane.measure(Track(), 0.0, 4)
    assert call.inputs == ["a", "b", "c", "a", "b", "c", "a", "b"]


def test_pictures_per_second_count_the_batch() -> None:
    virtual = VirtualClock()
    track = Track()
    lane_of(virtual, Sleeper(virtual.sleep, 20), batch=8).measure(track, 0.0, 10)
    assert track.per_second == pytest.approx(8 / 0.020)


def test_runs_take_turns_and_know_where_each_begins() -> None:
    virtual = VirtualClock()
    log: list[str] = []

    def noted(name: str):
        def call(image: object) -> None:
            log.append(name)
            virtual.sleep(0.010)

        return call

    courses = [Course(name, EngineLane([noted(name)], ["x"], clock=virtual.clock)) for name in "ab"]
    take_turns(courses, Effort(0.2, 8, rounds=4), lambda: False, lambda *told: None)
    turns = [(name, len(list(calls))) for name, calls in itertools.groupby(log)]
    assert turns == [("a", WARM_UP + 5), ("b", WARM_UP + 5)] * 4
    assert [course.track.rounds for course in courses] == [[0, 5, 10, 15]] * 2
    assert [len(course.track.samples_ns) for course in courses] == [20, 20]
    assert virtual.slept.count(round(PAUSE_S * 1e9)) == 8
    starts = [list(course.track.starts_ns) for course in courses]
    assert starts[0] == sorted(starts[0])
    assert starts[0][4] < starts[1][0] < starts[0][5]


def test_one_alone_is_not_interrupted_by_warming_up_again() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 10)
    course = Course("a", lane_of(virtual, call))
    take_turns([course], Effort(0.2, 8, rounds=4), lambda: False, lambda *told: None)
    assert len(call.inputs) == len(course.track.samples_ns) == 20


def test_a_call_that_fails_mid_run_keeps_its_figures_and_the_others_theirs() -> None:
    virtual = VirtualClock()
    calls = {"good": Sleeper(virtual.sleep, 10), "bad": Sleeper(virtual.sleep, 10, fails_at=150)}
    found = bench_calls(calls, ["x"], Effort(1.0, 100, rounds=4), clock=virtual.clock)
    assert found["good"].error is None
    assert len(found["good"].track.samples_ns) == 100
    assert found["bad"].error == "unexpected RuntimeError: the device was lost"
    assert 0 < len(found["bad"].track.samples_ns) < 100
    assert set(found["bad"].track.samples_ns) == {10 * MS}
    assert found["bad"].track.rounds[0] == 0


def test_an_error_of_edgex_is_told_in_its_own_words() -> None:
    def refuse(image: object) -> None:
        raise ModelError("expected memory on the GPU, got none; close other programs")

    (course,) = bench_calls({"one": refuse}, ["x"], SHORT).values()
    assert course.error == "expected memory on the GPU, got none; close other programs"
    assert (len(course.track.samples_ns), course.first_ms, course.warmup.iterations) == (0, None, 0)


def test_the_first_inference_is_kept_apart() -> None:
    virtual = VirtualClock()
    (course,) = bench_calls({"a": Sleeper(virtual.sleep, 10, {0: 700})}, ["x"], SHORT, clock=virtual.clock).values()
    assert course.first_ms == 700.0
    assert course.warmup.stable
    assert max(course.track.samples_ns) == 10 * MS


def test_a_stop_ends_it_after_the_call_at_hand() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 10)
    begun = virtual.now_ns
    stopped = lambda: virtual.now_ns - begun >= 3_000 * MS  # noqa: E731
    found = bench_calls({"a": call}, ["x"], Effort(100.0, 200), stopped=stopped, clock=virtual.clock)
    assert 0 < len(found["a"].track.samples_ns) < 300
    assert virtual.now_ns - begun == 3_000 * MS


def test_streams_work_at_once_on_an_engine_each() -> None:
    together = threading.Barrier(3)
    seen: dict[int, list[str]] = {0: [], 1: [], 2: []}

    def stream(place: int):
        def call(image: str) -> None:
            together.wait(timeout=30)  # passes only when all three are at work
            seen[place].append(image)

        return call

    track = Track()
    EngineLane([stream(place) for place in range(3)], ["a", "b", "c"], batch=2).measure(track, 0.0, 12)
    assert len(track.samples_ns) == 12
    assert track.pictures == 24
    assert list(track.starts_ns) == sorted(track.starts_ns)
    assert [images[0] for images in seen.values()] == ["a", "b", "c"]
    assert track.per_second == pytest.approx(24e9 / track.took_ns)


def test_a_stream_that_fails_ends_the_others() -> None:
    def fails(image: str) -> None:
        raise ModelError("expected a GPU, got none")

    track = Track()
    with pytest.raises(ModelError, match="expected a GPU"):
        EngineLane([lambda image: time.sleep(0.001), fails], ["a"]).measure(track, 60.0, 1)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a call and an input"):
        bench_calls({"a": print}, [])


def test_a_call_that_does_nothing_shows_what_the_loop_costs() -> None:
    """The figure itself is benchmarks/'s: here every sample is there, in order, and none overlaps the next."""
    (course,) = bench_calls({"null": lambda image: None}, [None], Effort(0.05, 1000, 5, 1.0)).values()
    samples, starts = course.track.samples_ns, course.track.starts_ns
    assert course.error is None
    assert len(samples) == len(starts) >= 1000
    ends = [start + ns for start, ns in zip(starts, samples, strict=True)]
    assert all(
        end <= start
        for end, start in itertools.pairwise(each for pair in zip(starts, ends, strict=True) for each in pair)
    )
    assert course.track.per_second <= 1e9 * len(samples) / sum(samples)


def test_streams_that_share_one_worker_are_no_quicker_than_it() -> None:
    """Each stream waits for the others, and they end apart: their rates must not be summed up."""
    worker = threading.Semaphore()

    def call(image: object) -> None:
        with worker:
            time.sleep(0.01)
        time.sleep(0.001)  # lets another stream have it

    lane = EngineLane([call] * 4, [None], 1, lambda: False)
    track = Track()
    lane.measure(track, 0.2, 20)
    begin_ns = min(track.starts_ns)
    end_ns = max(start + ns for start, ns in zip(track.starts_ns, track.samples_ns, strict=True))
    assert (track.pictures, track.took_ns) == (len(track.samples_ns), end_ns - begin_ns)
    assert track.per_second <= 100


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sends itself a signal")
def test_a_forced_end_waits_for_the_calls_at_hand() -> None:
    """Thread.join, interrupted, takes a running thread for ended up to CPython 3.12: its network would be closed."""
    at_work = threading.Semaphore(0)
    running: list[int] = []

    def call(image: object) -> None:
        running.append(1)
        at_work.release()
        time.sleep(0.2)
        running.pop()

    def interrupt() -> None:
        for _ in range(4):
            at_work.acquire()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        EngineLane([call] * 2, [None]).measure(Track(), 60.0, 1)
    assert running == []
    time.sleep(0.3)
    assert running == []
