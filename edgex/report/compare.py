"""A report held against an earlier one: a run is slower only beyond what was asked for and beyond the noise of both.

The noise is the bootstrap's: rounds of either report are drawn anew, and the ratio of the medians of their medians is
taken each time. It knows what varied within each report, and nothing of what changed on the machine in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from edgex.report import BenchReport, Run

Verdict = Literal["faster", "slower", "same", "missing"]
FAIL_ABOVE_PERCENT = 5.0  # a change below this is told as "same" where nothing else is asked for
_DRAWS = 4000
_BLOCKS = 10  # a run of fewer rounds is cut into so many stretches of time, as neighbouring samples are alike
_MACHINE = (
    "cpu",
    "usable_cores",
    "cpu_quota",
    "clock_mhz",
    "governor",
    "turbo",
    "memory_gb",
    "system",
    "kernel",
    "gpus",
)
_RUN = (
    *("mode", "model", "engine_sha256", "backend", "backend_version", "device", "precision", "achieved", "batch"),
    *("threads", "streams", "sync", "cuda_graph", "transfers", "pictures"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run in both reports.

    Attributes
    ----------
    run : its name
    old_ms, new_ms : medians of all samples, None where that report lacks the run or has no sample of it
    change_pct : (new / old - 1) in percent: above 0 is slower
    noise_pct : how far the 95 % interval of the change reaches from it, in percent
    verdict : "faster" or "slower" beyond both the limit and the noise, else "same"; or "missing"
    """

    run: str
    old_ms: float | None
    new_ms: float | None
    change_pct: float | None
    noise_pct: float | None
    verdict: Verdict


def compare(old: BenchReport, new: BenchReport, fail_above_pct: float = FAIL_ABOVE_PERCENT) -> list[Comparison]:
    """Hold every run of two reports against the one of the same name, in the order of the new report.

    Parameters
    ----------
    old, new : reports
    fail_above_pct : changes up to this, in percent, are "same"
    """
    before = {run.name: run for run in old.runs}
    after = {run.name: run for run in new.runs}
    names = [*after, *(name for name in before if name not in after)]
    return [_comparison(name, before.get(name), after.get(name), fail_above_pct) for name in names]


def differences(old: BenchReport, new: BenchReport) -> tuple[str, ...]:
    """Return one sentence for everything that was not alike when the two were measured, and may explain a change."""
    return tuple(_differences(old, new))


def _comparison(name: str, old: Run | None, new: Run | None, fail_above_pct: float) -> Comparison:
    old_ms = None if old is None or old.latency is None else old.latency.p50_ms
    new_ms = None if new is None or new.latency is None else new.latency.p50_ms
    if old is None or new is None or not old_ms or not new_ms:
        return Comparison(name, old_ms, new_ms, None, None, "missing")
    change = (new_ms / old_ms - 1) * 100
    noise = _noise(_block_medians(old), _block_medians(new)) * 100
    beyond = abs(change) > max(fail_above_pct, noise)
    verdict: Verdict = "same" if not beyond else "slower" if change > 0 else "faster"
    return Comparison(name, old_ms, new_ms, round(change, 2), round(noise, 2), verdict)


def _block_medians(run: Run) -> Any:
    """Return the median of each round, or of each stretch where there are few rounds: float64 [blocks]."""
    samples = np.array(run.samples_ms)
    edges = [*run.rounds, len(samples)]
    if len(run.rounds) < _BLOCKS:
        share = max(1, len(samples) // _BLOCKS)
        edges = sorted({*run.rounds, *range(0, len(samples) - share + 1, share), len(samples)})
    return np.array([np.median(samples[begin:end]) for begin, end in pairwise(edges)])


def _noise(old: Any, new: Any) -> float:
    """Return how far the bootstrap's 95 % interval of the ratio of medians reaches from their ratio."""
    draw = np.random.default_rng(0)  # so that the same two reports always give the same verdict
    drawn = [
        np.median(medians[draw.integers(len(medians), size=(_DRAWS, len(medians)))], axis=1) for medians in (old, new)
    ]
    low, high = np.percentile(drawn[1] / drawn[0], (2.5, 97.5))
    ratio = float(np.median(new) / np.median(old))
    return max(float(high) - ratio, ratio - float(low), 0.0)


def _differences(old: BenchReport, new: BenchReport) -> Iterator[str]:
    for report, called in ((old, "the earlier report"), (new, "this report")):
        if report.partial:
            yield f"{called} is partial: it was interrupted"
    yield from _unlike("the machine", old.machine, new.machine, _MACHINE)
    before = {run.name: run for run in old.runs}
    for run in new.runs:
        if (other := before.get(run.name)) is not None:
            was, now = ({name: getattr(each, name) for name in _RUN} for each in (other, run))
            yield from _unlike(run.name, was, now, _RUN)


def _unlike(called: str, old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        was, now = old.get(name), new.get(name)
        if was != now:
            yield f"{called} differs in {name}: {_short(was)} then, {_short(now)} now"


def _short(value: Any) -> str:
    text = "not known" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
