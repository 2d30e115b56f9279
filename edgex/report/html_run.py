"""The part of the page that tells one run: its figures, what ran, its plots, what the machine did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from edgex.report import Mode, Run
from edgex.report.plots import end_of, histogram, percentile_curve, stage_bars, timeline
from edgex.report.plots_more import slo_trials, telemetry_panels
from edgex.report.shown import shown
from edgex.report.words import SAMPLE, achieved_text, frames_line, slo_line

_OF_STAGES: Mapping[Mode, str] = {
    "pipeline": "Stages of several frames overlap: their sum is the work on a frame, not the time between frames.",
    "paced": "Stages of several frames overlap; waits between stages are in the age, not here.",
}


def run_section(run: Run, color: str) -> str:
    """Return the section of one run; `color` is the class that gives it its colour."""
    failed = f'<p class="error">It ended early: {escape(run.error)}</p>' if run.error else ""
    facts = "".join(
        f"<div{wide_if(wide)}><dt>{escape(name)}</dt><dd>{escape(fact)}</dd></div>" for name, fact, wide in _facts(run)
    )
    return (
        f'<section class="{color}"><h2><span class="swatch"></span>{escape(run.name)}</h2>{failed}'
        f'<div class="tiles">{"".join(_tiles(run))}</div><dl>{facts}</dl>'
        f'<div class="charts">{"".join(_charts(run, color))}</div></section>'
    )


def figure(
    title: str, drawing: str, caption: str = "", key: str = "", wide: bool = False, area: str = "area", after: str = ""
) -> str:
    """Return a plot with its title and caption, or "" without one."""
    if not drawing:
        return ""
    told = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return (
        f'<figure{wide_if(wide)}><h3>{escape(title)}</h3>{told}{key}<div class="{area}">{drawing}</div>{after}</figure>'
    )


def wide_if(wide: bool) -> str:
    """Return the attribute of what takes the whole width, or ""."""
    return ' class="wide"' if wide else ""


def _tiles(run: Run) -> Iterator[str]:
    latency = run.latency
    age = "age, " if run.mode == "paced" else ""
    tiles = [("per second", shown(run.per_second), "")]
    if latency is not None:
        tiles = [
            (f"{age}median (p50)", shown(latency.p50_ms), "ms"),
            (f"{age}p99", shown(latency.p99_ms), "ms"),
            ("longest", shown(latency.max_ms), "ms"),
            *tiles,
            ("coefficient of variation", shown(latency.cv * 100), "%"),
        ]
    if run.batch > 1 and latency is not None:
        tiles.append(("median a picture", shown(latency.p50_ms / run.batch), "ms"))
    if run.paced is not None and (slo := run.paced.slo) is not None:
        rate = (shown(slo.highest_fps), "fps") if slo.highest_fps is not None else (slo.outcome, "")
        tiles.append((f"highest rate within {shown(slo.limit_ms, 'ms')}", *rate))
    for name, value, unit in tiles:
        yield f'<div class="tile"><b>{value}<small> {unit}</small></b><span>{escape(name)}</span></div>'


def _facts(run: Run) -> Iterator[tuple[str, str, bool]]:
    yield "what runs it", f"{run.backend} {run.backend_version}, {run.device}", True
    yield "model", f"{run.model}, sha256 {run.engine_sha256[:12]}", False
    yield "precision", f"{run.precision}; layers: {achieved_text(run)}", False
    threads = "the backend's choice" if run.threads is None else str(run.threads)
    yield "batch, threads, streams", f"{run.batch}, {threads}, {run.streams}", False
    opened = f"opened after {run.load_order} other{'s' * (run.load_order > 1)}" if run.load_order else "opened first"
    yield "load, first inference", f"{shown(run.load_ms, 'ms')} ({opened}), {shown(run.first_ms, 'ms')}", False
    state = "stable" if run.warmup.stable else "not yet stable"
    warm = f"{run.warmup.iterations} iterations, {shown(run.warmup.seconds, 's')}, {state}"
    yield "warm-up", warm, False
    yield "samples, rounds", f"{shown(len(run.samples_ms))}, {len(run.rounds)}", False
    yield "largest resident memory", shown(run.peak_memory_mb, "MB"), False
    graph = {None: "", True: ", CUDA graph", False: ", no CUDA graph"}[run.cuda_graph]
    yield "end of an inference", run.sync + graph, True
    yield "inside the measured interval", run.transfers, True
    yield "what went in", run.pictures, True
    if run.paced is not None:
        yield "frames", frames_line(run.paced), True
        if run.paced.slo is not None:
            yield "highest rate with the 99th percentile within", slo_line(run.paced.slo), True


def _charts(run: Run, color: str) -> Iterator[str]:
    paced = run.paced
    called = SAMPLE[run.mode].capitalize()
    since = "from the time at which each frame was due" if run.mode == "paced" else ""
    limit = None if paced is None else paced.deadline_ms
    yield figure(f"{called}, histogram", histogram(run), since)
    yield figure(f"{called} by percentile, ms", percentile_curve([(run, color)], limit), since)
    searched = paced is not None and paced.slo is not None
    stages = stage_bars(run.stages)
    yield figure("Time of each stage", stages, _OF_STAGES.get(run.mode, ""), wide=not searched, area="area bars")
    if paced is not None and paced.slo is not None:
        caption = f"Highest with the p99 of the age within {slo_line(paced.slo)}. Filled: held; ring: not."
        yield figure(
            "Rates that were tried: 99th percentile of the age, ms", slo_trials(paced.slo), caption, wide=not run.stages
        )
    end_s = end_of(run)
    caption = "Every sample by when it began; where they are many, a line from the lowest to the highest of a stretch."
    if len(run.rounds) > 1:
        caption += " Shade parts the rounds."
    yield figure(f"{called} over time, ms", timeline(run, end_s), caption, wide=True, after=_telemetry(run, end_s))


def _telemetry(run: Run, end_s: float) -> str:
    telemetry = run.telemetry
    if telemetry is None:
        return '<p class="caption">The machine was not watched meanwhile.</p>'
    panels, words = telemetry_panels(telemetry, end_s)
    drawn = "".join(
        f'<div class="panel"><b>{escape(name)}</b> <span>{escape(extent)}</span><div class="area">{drawing}</div></div>'
        for name, extent, drawing in panels
    )
    counted = [f"{each.name}: {shown(each.value, each.unit)}" for each in telemetry.counters if each.value]
    lines = (("Counted", counted), ("Besides", words), ("Not told by this machine", list(telemetry.not_available)))
    told = "".join(f'<p class="caption"><b>{name}:</b> {escape("; ".join(each))}.</p>' for name, each in lines if each)
    return f'<div class="telemetry">{drawn}</div>{told}'
