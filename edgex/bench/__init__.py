"""Bench: models measured side by side, as a report that says how each figure came about."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import edgex
from edgex.bench.beat import Beat
from edgex.bench.engine import EngineLane
from edgex.bench.options import FPS, LEAST_S, BenchOptions, without_folders
from edgex.bench.paced import EngineServer, PacedLane
from edgex.bench.paced_path import PathServer
from edgex.bench.pictures import Pictures, prepared, read_pictures
from edgex.bench.pipeline import PipelineLane, from_memory, from_source, rate_at_will
from edgex.bench.samples import LEAST_ROUNDS, distribution, ratio, round_medians
from edgex.bench.slo import search, try_rate
from edgex.bench.subject import Subject, count_subjects, open_subjects
from edgex.bench.track import Course, Effort, Lane, Stopped, Track, take_turns, warm_up
from edgex.bench.way import launches_of, stays_on_gpu
from edgex.bench.words import course_warnings, memory_scope_of, no_ratio, pictures_of, transfers_of
from edgex.explain import shipped_clip
from edgex.latency import PAUSE_S, WARM_UP
from edgex.machine import describe_machine
from edgex.report import BenchReport, Ratio, Run
from edgex.report.parts import Paced, Slo, Trial
from edgex.telemetry import Recorder
from edgex.types import Observe

__all__ = ["BenchOptions", "Effort", "bench"]
_ROUNDS = 10  # or more: a turn of engine mode lasts a second at most, unless its samples take longer
_LEAST_TURN_S = 1.0  # of a path, which has to fill first, and of a queue, which has to build up


def bench(
    options: BenchOptions,
    observe: Observe = lambda stage, done, total: None,
    stopped: Stopped = lambda: False,
    effort: Effort | None = None,
) -> BenchReport:
    """Measure models.

    Each is opened, warmed up for a second and until its times have settled, and measured for at least 3 s and 200
    samples; several take turns. One that fails meanwhile keeps what it has, is told in its run's `error`, and the
    others go on.

    Parameters
    ----------
    options : what is measured, and how
    observe : is told of progress
    stopped : asked many times a second; True ends it with what there is, and the report is marked partial
    effort : how much is measured; what is less than the above is told as a warning of the run

    Raises
    ------
    EdgexError
        If a model, a backend or the pictures cannot be opened; nothing was measured then.
    """
    effort = effort or effort_of(options)
    with contextlib.ExitStack() as stack:
        fps = rate_at_will(options.source or str(shipped_clip())) if options.mode == "pipeline" else None
        pictures = read_pictures(options.source)
        subjects = []
        for subject in open_subjects(stack, options):
            subjects.append(subject)
            observe("opening", len(subjects), count_subjects(options))
            if stopped():
                break
        beat = Beat(observe)
        courses = [Course(subject.name, _lane(subject, options, pictures, fps, stopped, beat)) for subject in subjects]
        if options.mode == "paced" and len(courses) == 1:
            effort = dataclasses.replace(effort, rounds=1)  # one queue, so that all of its growth is seen
        warm_up(courses, effort, stopped, observe)
        origin_ns = time.perf_counter_ns()
        origins_ns = [course.lane.clock.now_ns() for course in courses]
        recorders = [Recorder(origin_ns=origin_ns) for _ in courses]
        for course, recorder in zip(courses, recorders, strict=True):
            course.recorder = recorder
        take_turns(courses, effort, stopped, beat.turns)
        searched = [_slo(course, options, stopped, observe) for course in courses]
        partial = stopped()
        runs = tuple(
            _run(options, *each, pictures, (order, len(subjects)))
            for order, each in enumerate(zip(subjects, courses, recorders, origins_ns, searched, strict=True))
        )
    named = _paths(options)
    return BenchReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgex_version=edgex.__version__,
        partial=partial,
        machine=describe_machine(packages=("onnxruntime", "openvino", "tensorrt")),
        options=options.to_json(),
        runs=runs,
        ratios=tuple(_ratios(runs)),
        warnings=(*(without_folders(each, named) for each in pictures.warnings), *no_ratio(runs)),
    )


def effort_of(options: BenchOptions) -> Effort:
    """Return how much is measured where nobody says it; turns of the path, and of a queue, last a second at least."""
    seconds = max(LEAST_S, options.seconds)
    if options.mode == "engine":
        return Effort(seconds=seconds, rounds=max(_ROUNDS, math.ceil(seconds)))
    rounds = min(_ROUNDS, max(LEAST_ROUNDS, math.floor(seconds / _LEAST_TURN_S)))
    several = options.mode == "pipeline" or count_subjects(options) > 1
    return Effort(seconds=max(seconds, rounds * _LEAST_TURN_S) if several else seconds, rounds=rounds)


def _lane(
    subject: Subject, options: BenchOptions, pictures: Pictures, fps: float | None, stopped: Stopped, beat: Beat
) -> Lane:
    """Return what measures a subject."""
    if options.mode == "engine":
        inputs = prepared(pictures, subject.image, subject.batch)
        return EngineLane(subject.calls, inputs, subject.batch, stopped)
    server: EngineServer | PathServer
    if subject.explainer is None:
        inputs = prepared(pictures, subject.image, subject.batch)
        server = EngineServer(subject.networks[0].run, inputs, stopped=stopped)
    else:
        decoded = options.mode == "pipeline" and options.source is not None
        frames = from_source(str(options.source)) if decoded else from_memory(pictures.images, fps)
        path = PipelineLane(subject.explainer, frames, pictures.about, stopped, fps)
        if options.mode == "pipeline":
            return path
        server = PathServer(path, pictures.images)
    return PacedLane(server, options.fps or FPS, options.policy or "queue", stopped=stopped, tell=beat.frames)


def _slo(course: Course, options: BenchOptions, stopped: Stopped, observe: Observe) -> Slo | None:
    """Look for the highest rate that holds, where it is asked for."""
    lane, limit_ms = course.lane, options.slo_ms
    if limit_ms is None or not isinstance(lane, PacedLane):
        return None
    trials: list[Trial] = []
    found: Slo | None = None

    def attempt(fps: float) -> Trial | None:
        observe(f"searching the highest rate, {fps:.3g} a second", len(trials) + 1, 0)
        trial = try_rate(lane, fps, limit_ms, stopped)
        trials.extend([] if trial is None else [trial])
        return trial

    def step() -> None:
        nonlocal found
        lane.clock.sleep(PAUSE_S)
        lane.warm(Track(), 0.0, WARM_UP)  # another one was at work until now
        found = search(attempt, limit_ms, lane.fps, stopped)

    if not stopped():
        course.attempt(step)
    return found or Slo(limit_ms, None, tuple(trials), "not ended")


def _run(
    options: BenchOptions,
    subject: Subject,
    course: Course,
    recorder: Recorder,
    origin_ns: int,
    slo: Slo | None,
    pictures: Pictures,
    place: tuple[int, int],
) -> Run:
    """Say of one run what was measured; `place` is its own in the order of opening, and the number of engines."""
    track, lane = course.track, course.lane
    samples_ms = tuple(ns / 1e6 for ns in track.samples_ns)
    latency = distribution(samples_ms)
    telemetry = recorder.telemetry() if samples_ms else None
    paced: Paced | None = None
    if isinstance(lane, PacedLane):
        paced = dataclasses.replace(lane.paced(options.slo_ms or 1000 / lane.fps), slo=slo)
    stage_samples = {name: tuple(round(ms, 4) for ms in values) for name, values in track.stages.items()}
    stages = {name: found for name, values in stage_samples.items() if (found := distribution(values)) is not None}
    about = subject.about()
    path = lane.unpaced if isinstance(lane, PacedLane) else lane
    if isinstance(path, PipelineLane) and stays_on_gpu(path.explainer):
        about["sync"], about["cuda_graph"] = launches_of(path.begun)
    return Run(
        **about,
        name=subject.name,
        mode=options.mode,
        transfers=transfers_of(options.mode, subject),
        pictures=pictures_of(options, subject, pictures),
        first_ms=course.first_ms,
        warmup=course.warmup,
        samples_ms=samples_ms,
        starts_ms=tuple((ns - origin_ns) / 1e6 for ns in track.starts_ns),
        rounds=tuple(track.rounds),
        latency=latency,
        per_second=track.per_second,
        stages=stages,
        stage_samples_ms=stage_samples,
        paced=paced,
        peak_memory_mb=recorder.peak_memory_mb if samples_ms else None,
        memory_scope=memory_scope_of(place[1]),
        load_order=place[0],
        telemetry=telemetry,
        warnings=(*subject.told(), *course_warnings(course, latency, paced, telemetry)),
        error=None if course.error is None else without_folders(course.error, _paths(options)),
    )


def _ratios(runs: Sequence[Run]) -> Iterator[Ratio]:
    """Give the ratio of every run to the first one, by their interleaved rounds; of engines the time of one picture."""
    for run in runs[1:]:
        found = ratio(run.name, _medians(run), runs[0].name, _medians(runs[0]))
        if found is not None:
            yield found


def _medians(run: Run) -> list[float]:
    pictures = run.batch if run.mode == "engine" else 1  # else a sample is a frame's
    return [median / pictures for median in round_medians(run.samples_ms, run.rounds)]


def _paths(options: BenchOptions) -> list[Path]:
    """Return the files that a message may name."""
    source = options.source
    return [*options.models, *([] if source is None or "://" in source else [Path(source)])]
