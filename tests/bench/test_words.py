"""What a bench says against its own figures: drift, deadlines that were missed, a search and a run that disagree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgex.bench import BenchOptions, _slo
from edgex.bench.engine import EngineLane
from edgex.bench.options import without_folders
from edgex.bench.paced import EngineServer, PacedLane
from edgex.bench.samples import distribution
from edgex.bench.slo import search, try_rate
from edgex.bench.track import Course, Effort, take_turns
from edgex.bench.words import course_warnings
from edgex.report.noise import missed_share
from edgex.report.parts import Outcome, Paced, Policy, Slo, Trial, Warmup
from tests.sleeping import Sleeper, VirtualClock

LIMIT_MS = 25.0


def course_of(lane: EngineLane | PacedLane, seconds: float = 3.0, rounds: int = 1) -> Course:
    course = Course("run", lane, warmup=Warmup(100, 1.0, True))
    take_turns([course], Effort(seconds, 200, rounds), lambda: False, lambda *told: None)
    return course


def warnings_of(course: Course, slo: Slo | None = None) -> tuple[str, ...]:
    lane = course.lane
    paced = dataclasses.replace(lane.paced(LIMIT_MS), slo=slo) if isinstance(lane, PacedLane) else None
    return course_warnings(course, distribution([ns / 1e6 for ns in course.track.samples_ns]), paced, None)


def paced_course(service_ms: float, fps: float, stalls: Mapping[int, float] | None = None, policy: Policy = "queue"):
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, service_ms, stalls)
    return course_of(PacedLane(EngineServer(call, ["x"], virtual.clock), fps, policy, virtual.clock))


def slo_of(highest_fps: float | None, trials: Sequence[tuple[float, bool]] = (), outcome: Outcome = "found") -> Slo:
    tried = trials or ([] if highest_fps is None else [(highest_fps, True)] * 2)
    return Slo(LIMIT_MS, highest_fps, tuple(Trial(fps, 5.0, held) for fps, held in tried), outcome)


def engine_course(service_ms: Sequence[float]) -> Course:
    """Return a run of six turns, of which each has calls of its own length."""
    virtual = VirtualClock()
    lane = EngineLane([lambda image: None], ["x"], clock=virtual.clock)
    course = Course("run", lane, warmup=Warmup(100, 1.0, True))
    for ms in service_ms:
        turn = course_of(EngineLane([Sleeper(virtual.sleep, ms)], ["x"], clock=virtual.clock), 0.5).track
        course.track.append(turn)
    return course


def test_times_that_drift_are_told() -> None:
    (drifted,) = [each for each in warnings_of(engine_course([10, 10, 10.4, 10.6, 11, 11])) if "drifted" in each]
    assert "the last third of the turns took 10.0% longer than the first" in drifted
    (fell,) = [each for each in warnings_of(engine_course([10, 10, 9.6, 9.4, 9, 9])) if "drifted" in each]
    assert "10.0% less long" in fell
    assert warnings_of(engine_course([10, 10.1, 9.9, 10, 10.2, 10])) == ()


def test_a_run_in_time_is_not_warned_of() -> None:
    assert warnings_of(paced_course(8, 50)) == ()
    assert warnings_of(paced_course(8, 50), slo_of(120.0)) == ()


def test_deadlines_that_were_missed_are_told() -> None:
    """One of fifty takes 30 ms, and 2 % are late: no frame waits, so no queue grows, and none is dropped."""
    stalls = dict.fromkeys(range(0, 400, 50), 30)
    assert warnings_of(paced_course(8, 20, stalls)) == (
        "4 of 200 frames due (2.0%) were missed: 4 done later than 25 ms after they were due",
    )
    assert warnings_of(paced_course(8, 20, {7: 30})) == ()


def test_the_share_missed_counts_frames_dropped_and_given_up_as_the_gate_does() -> None:
    """Of 300 frames at 100 a second, 30 ms each, two of three are dropped, and each one done is late."""
    course = paced_course(30, 100, policy="newest")
    lane = course.lane
    assert isinstance(lane, PacedLane)
    paced = lane.paced(LIMIT_MS)
    assert paced.late == paced.done < paced.dropped
    assert missed_share(paced) == 1.0
    (told,) = [each for each in warnings_of(course) if "missed" in each]
    assert told == (
        f"300 of 300 frames due (100.0%) were missed: {paced.late} done later than 25 ms after they were due, "
        f"{paced.dropped} dropped"
    )
    behind = warnings_of(paced_course(100, 100))
    assert any("were missed" in each and each.endswith(" given up") for each in behind)


def test_frames_late_and_dropped_that_are_too_many_only_together_are_told() -> None:
    course = paced_course(8, 20)
    paced = Paced(20.0, "newest", 1000, 993, 7, 6, LIMIT_MS, None, None)
    latency = distribution([ns / 1e6 for ns in course.track.samples_ns])
    assert course_warnings(course, latency, paced, None) == (
        "13 of 1000 frames due (1.3%) were missed: 6 done later than 25 ms after they were due, 7 dropped",
    )


def test_a_run_that_misses_where_the_search_says_that_the_rate_holds_is_told() -> None:
    stalls = dict.fromkeys(range(0, 400, 50), 30)
    for highest in (20.0, 90.0):
        told = warnings_of(paced_course(8, 20, stalls), slo_of(highest))
        assert f"the search found that {highest:g} a second hold, but this run did not hold at 20:" in told[-1]
    assert len(warnings_of(paced_course(8, 20, stalls), slo_of(19.0))) == 1
    dropping = warnings_of(paced_course(12, 100, policy="newest"), slo_of(120.0))
    assert "frames were dropped for newer ones" in dropping[0]
    assert "the search found that 120 a second hold, but this run did not hold at 100:" in dropping[-1]


def test_a_run_that_holds_where_the_search_says_that_the_rate_does_not_is_told() -> None:
    found = warnings_of(paced_course(8, 50), slo_of(40.0, [(50, False), (40, True), (40, True)]))
    assert [each.partition(":")[0] for each in found] == [
        "the search found that 40 a second hold, but this run held at 50"
    ]
    none = warnings_of(paced_course(8, 50), slo_of(None, [(50, False), (1, False)], "none"))
    assert "the lowest that was tried is 1 a second" in none[0]
    assert "the search found that no rate holds, but this run held at 50" in none[1]
    assert warnings_of(paced_course(8, 50), slo_of(49.5)) == ()  # within what the search resolves


def test_a_search_without_an_answer_is_told_as_that() -> None:
    (nothing,) = warnings_of(paced_course(8, 50), slo_of(None, [], "not ended"))
    assert nothing == "the search for the highest rate within 25 ms did not end: no rate was tried to its end"
    (some,) = warnings_of(paced_course(8, 50), slo_of(None, [(50, True), (100, False)], "not ended"))
    assert some.endswith("did not end: of 2 trials, down to 50 a second, the highest that held, at least once, is 50")
    (open_end,) = warnings_of(paced_course(8, 50), slo_of(12_800.0, [(6_400, True), (12_800, True), (12_800, True)]))
    assert open_end == "every rate that was tried held: the highest may lie above 12800 a second"


def test_the_run_and_its_search_agree_where_the_engine_is_steady() -> None:
    for fps in (50.0, 90.0, 120.0):
        virtual = VirtualClock()
        lane = PacedLane(EngineServer(Sleeper(virtual.sleep, 10), ["x"], virtual.clock), fps, "queue", virtual.clock)
        course = course_of(lane)
        slo = search(lambda rate, lane=lane: try_rate(lane, rate, LIMIT_MS), LIMIT_MS, fps)
        assert not any(each.startswith("the search found") for each in warnings_of(course, slo))


def test_an_engine_that_fails_in_the_search_keeps_its_trials_and_its_figures() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 10, fails_at=430)
    course = course_of(PacedLane(EngineServer(call, ["x"], virtual.clock), 30, "queue", virtual.clock))
    slo = _slo(course, BenchOptions(mode="paced", slo_ms=LIMIT_MS), lambda: False, lambda *told: None)
    assert course.error == "unexpected RuntimeError: the device was lost"
    assert slo is not None
    assert (slo.highest_fps, slo.outcome) == (None, "not ended")
    assert [(trial.fps, trial.sustained) for trial in slo.trials] == [(30, True), (60, True)]
    assert len(course.track.samples_ns) == 200


def test_a_search_that_is_interrupted_keeps_its_trials() -> None:
    virtual = VirtualClock()
    call = Sleeper(virtual.sleep, 10)
    stopped = lambda: len(call.inputs) >= 430  # noqa: E731
    lane = PacedLane(EngineServer(call, ["x"], virtual.clock, stopped), 30, "queue", virtual.clock, stopped)
    slo = _slo(course_of(lane), BenchOptions(mode="paced", slo_ms=LIMIT_MS), stopped, lambda *told: None)
    assert slo is not None
    assert (slo.highest_fps, slo.outcome) == (None, "not ended")
    assert [(trial.fps, trial.sustained) for trial in slo.trials] == [(30, True), (60, True)]


def test_a_queue_that_grows_is_seen_in_every_turn_of_several() -> None:
    """Each turn begins with an empty queue: over all of them the ages of the last third are those of the first."""
    virtual = VirtualClock()
    lane = PacedLane(EngineServer(Sleeper(virtual.sleep, 12), ["x"], virtual.clock), 100, "queue", virtual.clock)
    told = warnings_of(course_of(lane, 6.0, 6))
    assert "100 frames per second cannot be met for long: frames came faster than they left, and the queue grew" in told


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("expected ONNX Runtime to infer {}/my models/a.onnx, got: x", "expected ONNX Runtime to infer a.onnx, got: x"),
        ("weights {}/my models/weights.bin", "weights weights.bin"),
        ("{}/pictures/0.png is broken", "0.png is broken"),
        ("file://{}/clip.mp4", "clip.mp4"),
        ("filesrc location={}/clip.mp4 ! decodebin", "filesrc location=clip.mp4 ! decodebin"),
        ("/onnxruntime_src/core/session.cc:25 x", "session.cc:25 x"),
        ("and/or 1/s, 5 / 3, models/a.onnx, ../b.onnx", "and/or 1/s, 5 / 3, models/a.onnx, ../b.onnx"),
        ("rtsp://camera/live/1 of /dev/video0, no /proc/stat", "rtsp://camera/live/1 of /dev/video0, no /proc/stat"),
    ],
)
def test_a_message_names_files_and_no_folders(tmp_path: Path, told: str, shown: str) -> None:
    model = tmp_path / "my models" / "a.onnx"
    assert without_folders(told.format(tmp_path), [model]) == shown
