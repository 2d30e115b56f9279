"""The parts of a run's report: how samples are spread, a paced run, a ratio of two runs, what the machine did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from edgex.report.fields import check_fields, refuse

Policy = Literal["queue", "newest"]
Outcome = Literal["found", "none", "not ended"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """How samples are spread, none left out.

    Percentiles interpolate linearly between the closest ranks: NumPy's "linear", number 7 of Hyndman and Fan.

    Attributes
    ----------
    count : number of samples, at least 1
    mean_ms : arithmetic mean
    min_ms : smallest
    p50_ms : median
    p90_ms : 90th percentile
    p95_ms : 95th percentile
    p99_ms : 99th percentile
    max_ms : largest
    cv : coefficient of variation: standard deviation / mean
    """

    count: int
    mean_ms: float
    min_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cv: float

    def __post_init__(self) -> None:
        check_fields(self)
        if self.count < 1:
            raise refuse("Distribution.count", "at least 1", self.count)
        if self.cv < 0:
            raise refuse("Distribution.cv", "at least 0", self.cv)
        rising = (self.min_ms, self.p50_ms, self.p90_ms, self.p95_ms, self.p99_ms, self.max_ms)
        slack = 1e-9 * abs(self.max_ms)  # what rounding may do to a mean, or to an interpolation
        if any(low > high + slack for low, high in pairwise(rising)):
            raise refuse("Distribution", "rising from min_ms over the percentiles to max_ms", rising)
        if not self.min_ms - slack <= self.mean_ms <= self.max_ms + slack:
            raise refuse("Distribution.mean_ms", "between min_ms and max_ms", self.mean_ms)


@dataclass(frozen=True, slots=True)
class Warmup:
    """What was run before the first sample, untimed.

    Attributes
    ----------
    iterations : how many inferences, or frames
    seconds : how long
    stable : whether the times had settled when it ended
    """

    iterations: int
    seconds: float
    stable: bool

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate that the search tried.

    Attributes
    ----------
    fps : frames per second
    p99_ms : 99th percentile of the age at that rate, of the frames that came out
    sustained : whether the rate held
    ages : of the frames that came out in this trial, or None where none did; the samples themselves are not kept
    done : number of frames that came out
    due : number of frames that were due
    """

    fps: float
    p99_ms: float
    sustained: bool
    ages: Distribution | None = None
    done: int = 0
    due: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if (0 if self.ages is None else self.ages.count) != self.done or self.done > self.due:
            raise refuse("Trial.done", "the count of its ages, and at most due", (self.done, self.due))


@dataclass(frozen=True, slots=True)
class Slo:
    """The search for the highest rate whose 99th percentile of the age stays within `limit_ms`.

    Attributes
    ----------
    limit_ms : the limit asked for
    highest_fps : the highest rate sustained, or None where none was found
    trials : every rate that was tried, in order
    outcome : "found"; "none" where rates down to the lowest were tried and none held; "not ended" where the search was
        interrupted, failed, or ran out of attempts to confirm
    """

    limit_ms: float
    highest_fps: float | None
    trials: tuple[Trial, ...]
    outcome: Outcome = "not ended"

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.outcome == "found") != (self.highest_fps is not None):
            raise refuse("Slo.outcome", '"found" with a highest_fps, and only then', (self.outcome, self.highest_fps))


@dataclass(frozen=True, slots=True)
class Paced:
    """Frames due at a rate, latency counted from the time at which each was due.

    Attributes
    ----------
    fps : rate at which frames were due
    policy : "queue" takes every frame in order, "newest" drops those that a newer one replaced
    due : number of frames that were due
    done : number of frames that came out
    dropped : number of frames that did not
    late : frames done beyond `deadline_ms`, dropped ones not counted
    deadline_ms : age beyond which a frame is late
    age : time from when a frame was due until it was done, or None where none was done
    slo : the search for the highest rate, or None where none was asked for
    """

    fps: float
    policy: Policy
    due: int
    done: int
    dropped: int
    late: int
    deadline_ms: float
    age: Distribution | None
    slo: Slo | None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much longer one run takes than another; in engine mode for one picture, so that batches compare.

    Attributes
    ----------
    of : name of the run whose time is divided
    to : name of the run by whose time it is divided
    ratio : median over rounds of (median of `of` in the round) / (median of `to` in the round), in engine mode each
        divided by its batch
    low : lower end of the 95 % interval, by bootstrap over rounds
    high : upper end of the same
    """

    of: str
    to: str
    ratio: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.low <= self.ratio <= self.high:
            raise refuse(f"ratio of {self.of} to {self.to}", "between low and high", (self.low, self.ratio, self.high))


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over time, such as a clock.

    Attributes
    ----------
    name : what was read
    unit : its unit
    values : one for each of the telemetry's times, None where a reading failed
    """

    name: str
    unit: str
    values: tuple[float | None, ...]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Counter:
    """By how much something counted up while samples were taken, such as periods in which the CPU was withheld.

    Attributes
    ----------
    name : what was counted
    unit : its unit
    value : the increase
    """

    name: str
    unit: str
    value: float

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the machine did while samples were taken.

    Attributes
    ----------
    period_ms : between two readings
    times_ms : of the readings, since the run's begin, as `starts_ms`
    series : each as long as `times_ms`
    counters : what counted up
    not_available : what this machine does not tell, and why, one sentence each
    """

    period_ms: float
    times_ms: tuple[float, ...]
    series: tuple[Series, ...]
    counters: tuple[Counter, ...]
    not_available: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        for each in self.series:
            if len(each.values) != len(self.times_ms):
                raise refuse(f"series {each.name}", f"{len(self.times_ms)} values", len(each.values))
