"""The plots beside those of samples: what the machine did, rates that a search tried, ratios with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgex.report import Ratio, Series, Slo, Telemetry
from edgex.report.shown import shown
from edgex.report.svg import Plot, Scale, spanning

_PANEL = 46
_PANELS = 8  # the first so many series that moved are drawn, the others told in words
_LEAST_RATIO = 1e-6  # a run that took no time at all has no place on a logarithmic axis
_FIRST = ("clock", "held back", "withheld", "throttling", "taken by", "power", "temperature", "busy", "memory")


def telemetry_panels(telemetry: Telemetry, end_s: float) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return panels (name, range in words, drawing) over the time axis of the timeline, and the rest in words.

    Series that were 0 all the time are told in words, and those beyond the first eight, in the order of what explains
    a slow sample best.
    """
    panels: list[tuple[str, str, str]] = []
    words: list[str] = []
    for series in sorted(telemetry.series, key=_priority):
        read = [value for value in series.values if value is not None]
        if not read:
            continue
        low, high = min(read), max(read)
        extent = shown(high, series.unit) if low == high else f"{shown(low)} to {shown(high, series.unit)}"
        if high == low == 0 or len(panels) >= _PANELS:
            words.append(f"{series.name}: {'0 throughout' if high == low == 0 else extent}")
        else:
            panels.append((series.name, extent, _panel(telemetry, series, end_s)))
    return panels, words


def _priority(series: Series) -> int:
    return next((place for place, word in enumerate(_FIRST) if word in series.name), len(_FIRST))


def _panel(telemetry: Telemetry, series: Series, end_s: float) -> str:
    read = [value for value in series.values if value is not None]
    scale = spanning(read, from_zero=series.unit not in ("°C", "MHz", "MB"))
    plot = Plot(f"{series.name}, {series.unit}", Scale(0.0, end_s), scale, _PANEL)
    ends = sorted({min(read), max(read)}) if scale.low else [0.0, max(read)]
    plot.axes("", x_ticks=[(0.0, "")], y_ticks=[(end, shown(end)) for end in ends])
    plot.curve(_with_gaps(telemetry, series), "thin")
    return plot.svg(foot=8)


def _with_gaps(telemetry: Telemetry, series: Series) -> Iterator[tuple[float, float | None]]:
    """Yield the points in seconds, with a break where the run was not watched because another had its turn."""
    before = 0.0
    for ms, value in zip(telemetry.times_ms, series.values, strict=True):
        if ms - before > 2.5 * telemetry.period_ms:
            yield before / 1e3, None
        yield ms / 1e3, value
        before = ms


def slo_trials(slo: Slo) -> str:
    """Return every rate that the search tried against its 99th percentile: filled where it held, else a ring."""
    if not slo.trials:
        return ""
    x = spanning([trial.fps for trial in slo.trials], from_zero=False)
    scale = spanning([*(trial.p99_ms for trial in slo.trials), slo.limit_ms], log=True)
    plot = Plot("Rates that were tried", x, scale, 190)
    plot.axes("frames per second, logarithmic upwards")
    plot.level(slo.limit_ms, f"limit {shown(slo.limit_ms)} ms", "rule limit")
    for number, trial in enumerate(slo.trials, 1):
        verdict = "held" if trial.sustained else "not held"
        tip = f"trial {number}: {shown(trial.fps)} fps, p99 {shown(trial.p99_ms)} ms, {verdict}"
        plot.dot(trial.fps, trial.p99_ms, "trial held" if trial.sustained else "trial", tip, 5)
    if slo.highest_fps is not None:
        plot.upright(slo.highest_fps, f"highest held: {shown(slo.highest_fps)} fps", "rule")
    return plot.svg()


def ratio_strips(ratios: Sequence[Ratio]) -> list[str]:
    """Return each ratio with its interval, all on one logarithmic axis, which stands below the last of them."""
    ends = [1.0, *(max(end, _LEAST_RATIO) for each in ratios for end in (each.low, each.high))]
    room = max((max(ends) / min(ends)) ** 0.12, 1.02)
    scale = Scale(min(ends) / room, max(ends) * room, log=True)
    return [_ratio_strip(each, scale, is_last=each is ratios[-1]) for each in ratios]


def _ratio_strip(ratio: Ratio, scale: Scale, is_last: bool) -> str:
    plot = Plot(f"{ratio.of} / {ratio.to}: {shown(ratio.ratio)}", scale, Scale(0.0, 1.0), 20)
    plot.axes("ratio, logarithmic" if is_last else "", None if is_last else [(1.0, "")], [(0.5, "")])
    plot.upright(1.0, "", "rule")
    tip = f"{shown(ratio.ratio)} ({shown(ratio.low)} to {shown(ratio.high)})"
    plot.bar(ratio.low, ratio.high, 0.4, 0.6, "fill", tip)
    plot.dot(ratio.ratio, 0.5, "dot", tip, 5)
    return plot.svg(foot=40 if is_last else 6)


def range_strip(middle: float, high: float, scale: Scale, color: str) -> str:
    """Return a bar to the median, with a thin line up to the 99th percentile, on a scale that all rows share."""
    plot = Plot(f"p50 {shown(middle)} ms, p99 {shown(high)} ms", scale, Scale(0.0, 1.0), 14)
    plot.bar(0.0, high, 0.42, 0.58, f"fill pale {color}")
    plot.bar(0.0, middle, 0.1, 0.9, f"fill {color}")
    return plot.svg(foot=0)
