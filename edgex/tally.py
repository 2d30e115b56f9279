"""What a run did: counted frame by frame, summed up at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgex.timing import Spread, Times
from edgex.types import Shot


@dataclass(frozen=True, slots=True)
class Faith:
    """What the faithfulness monitor found, on average.

    Attributes
    ----------
    frames : how many frames it looked at
    kept : share of the class's score that the mask alone keeps, mean
    lost : share of the class's score that is lost without the mask, mean
    """

    frames: int
    kept: float
    lost: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    Attributes
    ----------
    frames : frames explained
    skipped : pictures that could not be read
    seconds : from the first frame's reading to the last product's closing
    frames_per_second : frames / seconds
    stages : stage to its times; stages overlap, so their sum is not the time of a frame
    classes : label to the number of frames in which it was shown, most frequent first
    live : whether frames came at their own pace
    age : time from a frame's arrival to its output, or None without a frame
    deadline_ms : age beyond which a frame is late, or None where there is no deadline
    late : frames later than that
    dropped : pictures of a live source that a newer one replaced
    reconnects : how often a stream was opened again
    flicker : mean |difference of masks| between consecutive frames where nothing moved, or None where all moved
    faith : what the faithfulness monitor found, or None where it looked at no frame
    warnings : one sentence each
    interrupted : whether the run was stopped before the source ended
    """

    frames: int
    skipped: int
    seconds: float
    frames_per_second: float
    stages: Mapping[str, Spread]
    classes: Mapping[str, int]
    live: bool = False
    age: Spread | None = None
    deadline_ms: float | None = None
    late: int = 0
    dropped: int = 0
    reconnects: int = 0
    flicker: float | None = None
    faith: Faith | None = None
    warnings: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(slots=True)
class Tally:
    """Counts finished frames; grows with the number of classes and stages, never with that of frames."""

    frames: int = 0
    late: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    _stages: dict[str, Times] = field(default_factory=dict)
    _ages: Times = field(default_factory=Times)
    _flicker: _Mean = field(default_factory=_Mean)
    _kept: _Mean = field(default_factory=_Mean)
    _lost: _Mean = field(default_factory=_Mean)

    def add(self, shot: Shot, ms: Mapping[str, float], age_ms: float, late: bool) -> None:
        """Count one finished frame: its times by stage, its age at output, and what its record says."""
        record: Mapping[str, Any] = shot.record
        self.frames += 1
        self.late += late
        for shown in shot.shown:
            self.classes[shown.label] = self.classes.get(shown.label, 0) + 1
        for name, value in ms.items():
            self._stages.setdefault(name, Times()).add(value)
        self._ages.add(age_ms)
        if record["flicker"] is not None:
            self._flicker.add(record["flicker"])
        if record["monitor"] is not None:
            self._kept.add(record["monitor"]["kept"])
            self._lost.add(record["monitor"]["lost"])

    def stages(self) -> dict[str, Spread]:
        """Return the times of each stage, in the order in which the stages first ran."""
        return {name: times.spread() for name, times in self._stages.items()}

    def age(self) -> Spread | None:
        """Return the ages at output, or None without a frame."""
        return self._ages.spread() if self.frames else None

    def flicker(self) -> float | None:
        """Return the mean flicker, or None where nothing stood still."""
        return round(self._flicker.value, 6) if self._flicker.count else None

    def faith(self) -> Faith | None:
        """Return what the monitor found, or None where it looked at no frame."""
        if not self._kept.count:
            return None
        return Faith(self._kept.count, round(self._kept.value, 4), round(self._lost.value, 4))
