"""The aims of benchmarks/peers.py, judged from its report alone: times as fast, and how close to the bare backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GRAD_CAM, PAPER = 20.0, 60.0  # times as fast as Grad-CAM, as the paper's model in torch eager
ENGINE = 1.05  # times the bare session's time
THROUGHPUT = 1.0  # of benchmark_app's
OVERHEAD = 10.0  # microseconds a sample

FASTER = (
    ("pytorch-grad-cam", GRAD_CAM),
    ("pytorch-grad-cam, thrifty", GRAD_CAM),
    ("paper's model, torch eager", PAPER),
    ("paper's model, torch eager, channels_last", PAPER),
)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is held to: `reached` at least, or at most, `bound`; with the quartiles of what was reached."""

    what: str
    bound: float
    reached: float
    lower: float
    upper: float
    at_least: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; `met` judges the median."""
        met = self.reached >= self.bound if self.at_least else self.reached <= self.bound
        kind = "at least" if self.at_least else "at most"
        figures = {"reached": self.reached, "lower": self.lower, "upper": self.upper}
        return {"what": self.what, "kind": kind, "bound": self.bound, **figures, "met": met}


def judged(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every aim that the report has figures for."""
    return [aim.to_dict() for aim in _aims(report["sections"])]


def _aims(sections: dict[str, Any]) -> Iterator[Aim]:
    frame: dict[str, Any] = sections.get("frame", {"contenders": {}})
    for ours, ratios, how in (("pipeline", "over_pipeline", "the rate of"), ("base", "over_base", "as fast as")):
        for name, bound in FASTER:
            if name in frame["contenders"]:
                over = frame["contenders"][name][ratios]
                yield Aim(f"{frame[ours]}: times {how} {name}", bound, over["median"], over["lower"], over["upper"])
    for row in sections.get("engines", ()):
        over = row["contenders"]["edgex"]["over_base"]
        what = f"{row['engine']}, batch {row['batch']}: time over the bare session's"
        yield Aim(what, ENGINE, over["median"], over["lower"], over["upper"], at_least=False)
    for row in sections.get("throughput", ()):
        over = row["ratio"]
        what = f"{row['engine']}: pictures per second over benchmark_app's"
        yield Aim(what, THROUGHPUT, over["median"], over["lower"], over["upper"])
    if "overhead" in sections:
        us = sections["overhead"]["us_a_sample"]
        yield Aim("bench's own time, µs a sample", OVERHEAD, us["median"], us["lower"], us["upper"], at_least=False)
