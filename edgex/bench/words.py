"""What a bench says in words: what lies inside a measured interval, what went in, and what speaks against a figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from edgex.bench.options import LEAST_S, BenchOptions
from edgex.bench.paced import PacedLane
from edgex.bench.pictures import Pictures
from edgex.bench.pipeline import DRAWN
from edgex.bench.samples import CV_LIMIT, LEAST_ROUNDS, drift, percentile, round_medians
from edgex.bench.slo import HIGHEST_FPS, TOLERANCE, is_growing
from edgex.bench.subject import Subject
from edgex.bench.track import Course
from edgex.bench.way import stages_on_gpu, stays_on_gpu
from edgex.engines.choose import TENSORRT
from edgex.report import Mode, Run
from edgex.report.noise import missed_share
from edgex.report.parts import Distribution, Paced, Slo, Telemetry
from edgex.telemetry.warnings import telemetry_warnings

LEAST_SAMPLES = 200
_LATE_WAKE_MS = 1.0
_MISSES = 0.01
_ON_GPU = "copy into pinned memory, upload, inference, download and copy out of pinned memory"
_ON_CPU = "inference from host memory into new arrays of host memory, with no transfer to another device"


def transfers_of(mode: Mode, subject: Subject) -> str:
    """Return what lies inside the measured interval, in one sentence."""
    engine = _ON_GPU if subject.networks[0].backend in TENSORRT else _ON_CPU
    call = "one call of the engine on a prepared input" + (f" of {subject.batch} pictures" if subject.batch > 1 else "")
    if mode == "engine":
        return f"{call}: {engine}"
    if subject.explainer is not None:
        smoothing = "smoothing, for a video" if mode == "pipeline" else "smoothing"
        at = ", with frame and masks brought to the GPU and the picture back" * (
            subject.explainer.compositor.name == "cuda"
        )
        stages = f"preprocessing; {engine}; {smoothing}; drawing {DRAWN} classes with their legend{at}"
        if stays_on_gpu(subject.explainer):
            stages = stages_on_gpu(DRAWN, smoothing)
        if mode == "paced":
            return f"from when a frame was due until the sink had it, waits included: {stages}"
        return (
            f"all stages of a frame, summed up: reading; {stages}; a sink that keeps nothing. Stages of several frames "
            "overlap, waits between them do not count, nor do frames that fill the path at the begin of a turn or "
            "empty it at its end"
        )
    return f"from when a frame was due until {call} ended, waits included: {engine}"


def pictures_of(options: BenchOptions, subject: Subject, pictures: Pictures) -> str:
    """Return what went in, in one sentence."""
    if options.mode == "pipeline" and options.source is not None:
        return f"all pictures of {options.source_name}, over and over, read and decoded while it is measured"
    if subject.explainer is None:
        spec = subject.image.spec
        return (
            f"{pictures.about}, prepared as {subject.image.dtype} of {spec.width} x {spec.height} before it is measured"
        )
    return f"{pictures.about}, from memory"


def memory_scope_of(runs: int) -> str:
    """Return what the largest resident memory of a run holds, in one sentence; all engines stay open to the end."""
    engines = "its engine" if runs == 1 else f"the engines of all {runs} runs"
    return f"host memory of the whole program while this run was measured, {engines} and the pictures included"


def no_ratio(runs: Sequence[Run]) -> Iterator[str]:
    """Give a sentence for each run whose ratio to the first one has too few rounds."""
    for run in runs[1:]:
        rounds = min(len(run.rounds), len(runs[0].rounds))
        if 0 < rounds < LEAST_ROUNDS:
            yield (
                f"no ratio of {run.name} to {runs[0].name}: they took {rounds} turns both, and an interval needs "
                f"{LEAST_ROUNDS}; measure longer"
            )


def course_warnings(
    course: Course, latency: Distribution | None, paced: Paced | None, telemetry: Telemetry | None
) -> tuple[str, ...]:
    """Return what speaks against the figures of a run, one sentence each."""
    if latency is None:
        return ()
    found = [*_of_times(course, latency, paced), *(_of_pace(course, paced) if paced else ())]
    return (*found, *(telemetry_warnings(telemetry) if telemetry else ()))


def _of_times(course: Course, latency: Distribution, paced: Paced | None) -> Iterator[str]:
    warmup = course.warmup
    if not warmup.stable:
        yield (
            f"the times had not settled after {warmup.iterations} iterations of warm-up in {warmup.seconds:.1f} s; "
            "leave the machine alone and measure again"
        )
    if paced is None and latency.cv > CV_LIMIT:
        yield (
            f"the coefficient of variation is {latency.cv:.1%}, above {CV_LIMIT:.1%}: "
            "end other programs, fix the clocks, or measure longer"
        )
    track = course.track
    drifted = None if paced else drift(round_medians([ns / 1e6 for ns in track.samples_ns], track.rounds))
    if drifted is not None:
        more = "longer" if drifted > 0 else "less long"
        yield (
            f"the times drifted: the last third of the turns took {abs(drifted):.1%} {more} than the first; let the "
            "machine come to rest, and measure again"
        )
    if latency.count < LEAST_SAMPLES:
        yield f"{latency.count} samples, below the {LEAST_SAMPLES} that percentiles need; measure longer"
    if track.took_ns < 0.99 * LEAST_S * 1e9:
        yield f"measured for {track.took_ns / 1e9:.2f} s, below {LEAST_S:g} s, which may all be slow; measure longer"


def _of_pace(course: Course, paced: Paced) -> Iterator[str]:
    lane = course.lane
    assert isinstance(lane, PacedLane)
    given_up = paced.due - paced.done - paced.dropped
    fps = f"{paced.fps:g} frames per second"
    if lane.passed.behind:
        yield (
            f"{fps} cannot be met: {given_up} of {paced.due} frames were not done when it was given up, and are in no "
            f"percentile; {course.track.per_second:.3g} a second were done"
        )
    elif paced.policy == "queue" and _grew(course, paced.fps):
        yield f"{fps} cannot be met for long: frames came faster than they left, and the queue grew"
    if paced.dropped > _MISSES * paced.due:
        yield f"{fps} cannot be met: {paced.dropped} of {paced.due} frames were dropped for newer ones"
    missed = missed_share(paced) > _MISSES
    if missed:
        yield _missed_line(paced)
    if lane.passed.wakes_ns and (wake_ms := percentile(lane.passed.wakes_ns, 99) / 1e6) > _LATE_WAKE_MS:
        yield (
            f"whoever waited for a frame woke up {wake_ms:.1f} ms late (99th percentile), which counts as latency; "
            "end other programs"
        )
    if paced.slo is not None:
        yield from _of_search(paced.slo)
        yield from _contradiction(paced, paced.slo, missed or lane.passed.behind or _grew(course, paced.fps))


def _missed_line(paced: Paced) -> str:
    """Return how many of the frames due were missed, and how, none of the kinds that there were not."""
    kinds = (
        (paced.late, f"done later than {paced.deadline_ms:g} ms after they were due"),
        (paced.dropped, "dropped"),
        (paced.due - paced.done - paced.dropped, "given up"),
    )
    told = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    missed = paced.due - paced.done + paced.late
    return f"{missed} of {paced.due} frames due ({missed_share(paced):.1%}) were missed: {told}"


def _grew(course: Course, fps: float) -> bool:
    """Tell whether the queue grew in more than half of the turns, each of which begins with an empty one."""
    track = course.track
    turns = itertools.pairwise([*track.rounds, len(track.samples_ns)])
    grown = [is_growing([ns / 1e6 for ns in track.samples_ns[begin:end]], fps) for begin, end in turns]
    return 2 * sum(grown) > len(grown)


def _of_search(slo: Slo) -> Iterator[str]:
    within = f"{slo.limit_ms:g} ms"
    rates = [trial.fps for trial in slo.trials]
    if slo.outcome == "none":
        lowest = f"the lowest that was tried is {min(rates):.3g} a second"
        yield f"no rate held the 99th percentile within {within} twice; {lowest}"
    elif slo.outcome == "not ended" and not rates:
        yield f"the search for the highest rate within {within} did not end: no rate was tried to its end"
    elif slo.outcome == "not ended":
        held = max((trial.fps for trial in slo.trials if trial.sustained), default=None)
        once = "none held" if held is None else f"the highest that held, at least once, is {held:.3g}"
        yield (
            f"the search for the highest rate within {within} did not end: of {len(rates)} trials, down to "
            f"{min(rates):.3g} a second, {once}"
        )
    elif all(trial.sustained for trial in slo.trials) and 2 * max(rates) > HIGHEST_FPS:
        yield f"every rate that was tried held: the highest may lie above {max(rates):.5g} a second"


def _contradiction(paced: Paced, slo: Slo, missed: bool) -> Iterator[str]:
    """Say where the run and the search disagree: a trial of the search is short, and slow seconds hit one of them."""
    if slo.outcome == "not ended":
        return
    highest = slo.highest_fps or 0.0
    found = f"the search found that {highest:.3g} a second hold" if highest else "the search found that no rate holds"
    again = "one of them met a slow or a lucky moment of the machine; leave it alone and measure again"
    if missed and highest >= paced.fps:
        yield f"{found}, but this run did not hold at {paced.fps:g}: {again}"
    if not missed and highest * (1 + TOLERANCE) < paced.fps:
        yield f"{found}, but this run held at {paced.fps:g}: {again}"
