"""What a bench says in words: what lies inside a measured interval, what went in, and what speaks against a figure."""

from __future__ import annotations

from collections.abc import Iterator

from edgex.bench.options import BenchOptions
from edgex.bench.paced import PacedLane
from edgex.bench.pictures import Pictures
from edgex.bench.pipeline import DRAWN
from edgex.bench.samples import CV_LIMIT, percentile
from edgex.bench.slo import is_growing
from edgex.bench.subject import Subject
from edgex.bench.track import Course, Effort
from edgex.engines.choose import TENSORRT
from edgex.report import Mode
from edgex.report.parts import Distribution, Paced, Telemetry
from edgex.sources.address import masked
from edgex.telemetry.warnings import telemetry_warnings

LEAST_SAMPLES = 200
_LATE_WAKE_MS = 1.0
_MISSES = 0.01
_ON_GPU = "copy into pinned memory, upload, inference, download and copy out of pinned memory"
_ON_CPU = "inference from host memory into new arrays of host memory, with no transfer to another device"


def transfers_of(mode: Mode, subject: Subject) -> str:
    """Return what lies inside the measured interval, in one sentence."""
    engine = _ON_GPU if subject.networks[0].backend in TENSORRT else _ON_CPU
    if mode == "engine":
        return f"one call of the engine on a prepared input: {engine}"
    if mode == "pipeline":
        return (
            f"all stages of a frame, summed up: reading; preprocessing; {engine}; drawing {DRAWN} classes with their "
            "legend; a sink that keeps nothing. Stages of several frames overlap, waits between them do not count"
        )
    if subject.explainer is not None:
        return (
            f"from when a frame was due until the sink had it, waits included: preprocessing; {engine}; drawing "
            f"{DRAWN} classes with their legend"
        )
    return f"from when a frame was due until one call of the engine on a prepared input ended, waits included: {engine}"


def pictures_of(options: BenchOptions, subject: Subject, pictures: Pictures) -> str:
    """Return what went in, in one sentence."""
    if options.mode == "pipeline" and options.source is not None:
        return f"all pictures of {masked(options.source)}, over and over, read and decoded while it is measured"
    if subject.explainer is None:
        spec = subject.image.spec
        return (
            f"{pictures.about}, prepared as {subject.image.dtype} of {spec.width} x {spec.height} before it is measured"
        )
    return f"{pictures.about}, from memory"


def course_warnings(
    course: Course, latency: Distribution | None, paced: Paced | None, telemetry: Telemetry | None, effort: Effort
) -> tuple[str, ...]:
    """Return what speaks against the figures of a run, one sentence each."""
    if latency is None:
        return ()
    found = [*_of_times(course, latency, paced, effort), *(_of_pace(course, paced) if paced else ())]
    return (*found, *(telemetry_warnings(telemetry) if telemetry else ()))


def _of_times(course: Course, latency: Distribution, paced: Paced | None, effort: Effort) -> Iterator[str]:
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
    if latency.count < LEAST_SAMPLES:
        yield f"{latency.count} samples, below the {LEAST_SAMPLES} that percentiles need; measure longer"


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
    elif paced.policy == "queue" and is_growing([ns / 1e6 for ns in lane.passed.ages_ns], paced.fps):
        yield f"{fps} cannot be met for long: frames came faster than they left, and the queue grew"
    if paced.dropped > _MISSES * paced.due:
        yield f"{fps} cannot be met: {paced.dropped} of {paced.due} frames were dropped for newer ones"
    if lane.passed.wakes_ns and (wake_ms := percentile(lane.passed.wakes_ns, 99) / 1e6) > _LATE_WAKE_MS:
        yield (
            f"whoever waited for a frame woke up {wake_ms:.1f} ms late (99th percentile), which counts as latency; "
            "end other programs"
        )
    if paced.slo is not None and paced.slo.highest_fps is None:
        lowest = min((trial.fps for trial in paced.slo.trials), default=None)
        tried = "none was tried to its end" if lowest is None else f"the lowest that was tried is {lowest:.3g} a second"
        yield f"no rate held 99 of 100 frames within {paced.slo.limit_ms:g} ms twice; {tried}"
