"""The plots of samples: histogram, percentile curve, timeline. However many samples there are, none of the extremes is
lost: a timeline shows the lowest and highest of each stretch, a histogram counts what lies beyond its right end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgex.report import Run
from edgex.report.shown import shown
from edgex.report.svg import Plot, Scale, spanning
from edgex.report.words import SAMPLE

_HEIGHT = 190
_BINS = 48
_COLUMNS = 600  # stretches of a timeline, each drawn from its lowest to its highest sample
_DOTS = 900  # up to so many samples, each is drawn as a dot
_TAIL = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
_STALL = 5.0  # a largest sample beyond so many medians asks for a logarithmic axis


def histogram(run: Run) -> str:
    """Return how often each latency occurred; those far beyond the rest are one pale bar that says how many."""
    latency = run.latency
    if latency is None:
        return ""
    samples = np.array(run.samples_ms)
    low = latency.min_ms
    high = _histogram_end(samples)
    bins = int(min(_BINS, max(8, round(len(samples) ** 0.5))))
    edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(samples[samples <= high], edges)[0]
    beyond = int((samples > high).sum())
    room = (high - low) * (0.1 if beyond else 0.03)
    plot = Plot(
        "Histogram of latency", Scale(low - (high - low) * 0.03, high + room), spanning([*counts, beyond]), _HEIGHT
    )
    plot.axes(f"{SAMPLE[run.mode]}, ms", y_ticks=_whole(plot.y))
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            gap = (right - left) * 0.06
            plot.bar(left + gap, right - gap, 0, count, "fill", f"{shown(left)} to {shown(right)} ms: {count}")
    if beyond:
        tip = f"{beyond} beyond {shown(high)} ms, up to {shown(latency.max_ms)} ms"
        plot.bar(high + room * 0.35, high + room * 0.85, 0, beyond, "fill beyond", tip)
        above = max(beyond, *counts[-bins // 4 :].tolist())
        plot.note(high + room * 0.95, above, f"{beyond} up to {shown(latency.max_ms)}", "end", 0, -7)
    plot.upright(latency.p50_ms, f"p50 {shown(latency.p50_ms)}", "rule")
    if latency.p99_ms <= high:
        plot.upright(latency.p99_ms, f"p99 {shown(latency.p99_ms)}", "rule", row=1)
    return plot.svg()


def _histogram_end(samples: Any) -> float:
    """Return where the bars of equal width end, so that stalls do not squeeze the rest into a few of them."""
    low, middle, upper, most, largest = (float(each) for each in np.percentile(samples, (0, 50, 75, 95, 100)))
    high = max(middle + 8 * (upper - middle), most + (most - low) * 0.1)
    high = largest if largest <= high * 1.1 else high
    return high if high > low else low + max(abs(low) * 0.05, 1e-6)


def _whole(scale: Scale) -> list[tuple[float, str]]:
    return [(tick, f"{tick:,.0f}".replace(",", "\u2009")) for tick in scale.ticks() if tick == int(tick)]


def percentile_curve(runs: Sequence[tuple[Run, str]], limit_ms: float | None = None) -> str:
    """Return latency against percentile, each nine of the tail as wide as the one before.

    Parameters
    ----------
    runs : with the class that gives each its colour; those without samples are left out
    limit_ms : drawn as a line, where there is one
    """
    runs = [(run, color) for run, color in runs if run.samples_ms]
    if not runs:
        return ""
    nines = max(_nines(1 - 1 / max(len(run.samples_ms), 2)) for run, _ in runs)
    curves = {run.name: _tail_points(run.samples_ms) for run, _ in runs}
    values = [ms for points in curves.values() for _, ms in points]
    largest = [*values, limit_ms] if limit_ms is not None else values
    plot = Plot("Latency by percentile", Scale(0.0, nines), _latency_scale(largest), _HEIGHT)
    ticks = [(_nines(share), f"{share * 100:.5g}") for share in _TAIL if _nines(share) <= nines]
    plot.axes("percentile" + _log_note(plot.y), [(at, text) for at, text in ticks])
    for run, color in runs:
        plot.curve(curves[run.name], color)
        at, ms = curves[run.name][-1]
        plot.dot(at, ms, f"dot {color}", f"{run.name}: max {shown(ms)} ms of {len(run.samples_ms)}")
    if len(runs) == 1:
        plot.note(*curves[runs[0][0].name][-1], f"max {shown(values[-1])}", "end", -8, -6)
    if limit_ms is not None:
        plot.level(limit_ms, f"deadline {shown(limit_ms)} ms", "rule limit")
    return plot.svg()


def _nines(share: float) -> float:
    return float(-np.log10(1 - share))


def _tail_points(samples_ms: Sequence[float]) -> list[tuple[float, float]]:
    """Return (nines, ms) in steps of equal width, the largest sample last."""
    ordered = np.sort(np.array(samples_ms))
    end = _nines(1 - 1 / max(len(ordered), 2))
    places = np.linspace(0, end, 160)
    shares = np.clip(1 - 10.0**-places, 0, 1)
    ms = np.quantile(ordered, shares)
    return [*zip(places[:-1].tolist(), ms[:-1].tolist(), strict=True), (end, float(ordered[-1]))]


def _latency_scale(values: Sequence[float]) -> Scale:
    low, middle, high = min(values), float(np.median(values)), max(values)
    if low > 0 and high > _STALL * middle:
        return spanning(values, log=True)
    # from 0 where that costs no more than half of the height: a small change must not look like a large one
    return spanning(values) if low < 0.5 * high else spanning(values, from_zero=False)


def _log_note(scale: Scale) -> str:
    return ", logarithmic upwards" if scale.log else "" if scale.low <= 0 else ", not from 0 upwards"


def timeline(run: Run, end_s: float) -> str:
    """Return every sample by when it began; rounds are parted by shade.

    Parameters
    ----------
    run : with samples
    end_s : right end of the time axis, in seconds
    """
    if run.latency is None:
        return ""
    starts_s, samples = np.array(run.starts_ms) / 1e3, np.array(run.samples_ms)
    scale = _latency_scale([run.latency.min_ms, run.latency.p50_ms, run.latency.max_ms])
    plot = Plot("Latency over time", Scale(0.0, end_s), scale, _HEIGHT)
    edges = [*run.rounds, len(samples)]
    if 2 < len(edges) <= 60:
        for begin, end in zip(edges[:-1:2], edges[1::2], strict=False):
            plot.band(starts_s[begin], float(starts_s[end - 1] + samples[end - 1] / 1e3), "round")
    plot.axes("seconds since the run began" + _log_note(scale))
    if len(samples) <= _DOTS:
        plot.strokes(((x, y, y) for x, y in zip(starts_s.tolist(), samples.tolist(), strict=True)), "dots")
    else:
        spans = _stretches(starts_s, samples, end_s)
        plot.strokes(((x, low, high) for x, low, _, high in spans), "span")
        plot.strokes(((x, middle, middle) for x, _, middle, _ in spans), "dots small")
    worst = int(samples.argmax())
    plot.dot(float(starts_s[worst]), run.latency.max_ms, "ring", f"longest: {shown(run.latency.max_ms)} ms", 4.5)
    near_end = starts_s[worst] > 0.6 * end_s
    plot.note(
        float(starts_s[worst]),
        run.latency.max_ms,
        f"longest {shown(run.latency.max_ms)} ms",
        "end" if near_end else "start",
        -9 if near_end else 9,
        4,
    )
    return plot.svg()


def _stretches(starts_s: Any, samples: Any, end_s: float) -> list[tuple[float, float, float, float]]:
    """Return (time, lowest, median, highest) of each column that has samples, in order of time."""
    columns = np.clip((starts_s / end_s * _COLUMNS).astype(int), 0, _COLUMNS - 1)
    order = np.argsort(columns, kind="stable")
    found, first = np.unique(columns[order], return_index=True)
    groups = np.split(samples[order], first[1:])
    return [
        ((column + 0.5) / _COLUMNS * end_s, float(group.min()), float(np.median(group)), float(group.max()))
        for column, group in zip(found.tolist(), groups, strict=True)
    ]


def end_of(run: Run) -> float:
    """Return when the last sample or reading of a run ended, in seconds, for the right end of its timelines."""
    ends = [start + ms for start, ms in zip(run.starts_ms, run.samples_ms, strict=True)]
    if run.telemetry is not None:
        ends += run.telemetry.times_ms
    return max([*ends, 1.0]) / 1e3


def stage_bars(stages: Mapping[str, Any]) -> str:
    """Return the median of each stage as a bar, with a thin line up to its 99th percentile."""
    if not stages:
        return ""
    x = Scale(0.0, max(each.p99_ms for each in stages.values()) * 1.45 or 1.0)  # room for the numbers behind
    rows = len(stages)
    plot = Plot("Time of each stage", x, Scale(0.0, rows), 30 * rows)
    names = [(rows - place - 0.5, name) for place, name in enumerate(stages)]
    plot.axes("ms: bar to the median, line to the 99th percentile", y_ticks=names)
    for (middle, name), each in zip(names, stages.values(), strict=True):
        tip = f"{name}: p50 {shown(each.p50_ms)} ms, p99 {shown(each.p99_ms)} ms, max {shown(each.max_ms)} ms"
        plot.bar(0.0, each.p99_ms, middle - 0.05, middle + 0.05, "fill pale", tip)
        plot.bar(0.0, each.p50_ms, middle - 0.3, middle + 0.3, "fill", tip)
        plot.note(each.p99_ms, middle, f"{shown(each.p50_ms)} / {shown(each.p99_ms)}", "start", 6, 4)
    return plot.svg()
