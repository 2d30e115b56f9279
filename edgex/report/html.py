"""A report as one HTML file that needs nothing else: no script, no picture, no font from elsewhere.

Everything that comes out of a report is escaped, as a report may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from edgex.report import BenchReport, Run
from edgex.report.compare import Comparison
from edgex.report.compare_text import comparison_warnings
from edgex.report.html_baseline import baseline_section
from edgex.report.html_run import figure, run_section, wide_if
from edgex.report.machine import machine_facts
from edgex.report.plots import percentile_curve
from edgex.report.plots_more import range_strip, ratio_strips
from edgex.report.shown import printable, shown
from edgex.report.svg import Scale, spanning
from edgex.report.text import Figure, figures_of
from edgex.report.words import RATIO, achieved_text, how_measured, notes, run_warnings

_COLORS = 8
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # even a report made to do harm loads and runs nothing


def to_html(report: BenchReport, comparisons: Sequence[Comparison] = (), differences: Sequence[str] = ()) -> str:
    """Return the page.

    Parameters
    ----------
    report : what was measured
    comparisons, differences : of `edgex.report.compare`, where there is a baseline
    """
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return printable(
        "\n".join(
            (
                '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>edgex bench: {escape(_title(report))}</title><style>\n{style}</style></head><body><main>",
                _header(report),
                _warnings(report, (*(comparison_warnings(comparisons) if comparisons else ()), *differences)),
                _summary(report),
                baseline_section(comparisons),
                _overview(report) if len(report.runs) > 1 else "",
                *(run_section(run, color_of(place)) for place, run in enumerate(report.runs)),
                _how(report),
                f"<footer>edgex {escape(report.edgex_version)}, schema {escape(report.schema)}. "
                "Every sample is in the report's JSON (--json).</footer>",
                "</main></body></html>\n",
            )
        )
    )


def color_of(place: int) -> str:
    """Return the class that gives a run its colour."""
    return f"c{place % _COLORS}"


def _header(report: BenchReport) -> str:
    partial = '<span class="badge">partial: interrupted</span>' if report.partial else ""
    modes = ", ".join(sorted({run.mode for run in report.runs}))
    count = f"{len(report.runs)} run{'s' * (len(report.runs) != 1)}"
    facts = "".join(
        f"<div{wide_if(name == 'packages')}><dt>{escape(name)}</dt><dd>{escape(fact)}</dd></div>"
        for name, fact in machine_facts(report)
    )
    return (
        f"<header><h1>{escape(_title(report))}{partial}</h1>"
        f'<p class="soft">edgex bench, {escape(_when(report))}; {count}, mode {escape(modes or "none")}</p></header>'
        f'<section><h2>Machine</h2><dl class="machine">{facts}</dl></section>'
    )


def _when(report: BenchReport) -> str:
    return datetime.fromisoformat(report.created.replace("Z", "+00:00")).strftime("%Y-%m-%d %H:%M UTC")


def _title(report: BenchReport) -> str:
    models, backends = (list(dict.fromkeys(getattr(run, name) for run in report.runs)) for name in ("model", "backend"))
    if not models:
        return "no run"
    return f"{', '.join(models)} on {', '.join(backends)}" if len(models) <= 3 else f"{len(models)} models"


def _warnings(report: BenchReport, differences: Sequence[str]) -> str:
    groups = [("", report.warnings), *((run.name, run_warnings(run)) for run in report.runs), ("baseline", differences)]
    lists = "".join(_list(told, name) for name, told in groups if told)
    if not lists:
        return '<section class="good">No warnings.</section>'
    return f'<section class="warn"><h2>Warnings</h2>{lists}</section>'


def _list(sentences: Sequence[str], title: str = "", classes: str = "told") -> str:
    rows = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return (f"<h3>{escape(title)}</h3>" if title else "") + f'<ul class="{classes}">{rows}</ul>'


def _summary(report: BenchReport) -> str:
    heads = "".join(f"<th>{escape(name)}<small>{escape(unit)}</small></th>" for name, unit, _ in figures_of(report))
    ends = [each for run in report.runs if (at := run.latency) for each in (at.p50_ms, at.p99_ms)]
    scale = spanning(ends) if ends else Scale(0.0, 1.0)
    figures = figures_of(report)
    told = _list(notes(report), classes="told caption")
    rows = "".join(_row(run, figures, color_of(place), scale) for place, run in enumerate(report.runs))
    return (
        '<section><h2>Summary</h2><table><thead><tr><th>run</th><th class="text">p50, line to p99</th>'
        f"{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        '<p class="caption">Times in milliseconds; CV is the standard deviation over the mean; per s are pictures per '
        "second; first is the first inference, load the opening of the engine. "
        f"The bars share one scale, from 0 to {shown(scale.high, 'ms')}.</p>{told}</section>"
    )


def _row(run: Run, figures: Sequence[Figure], color: str, scale: Scale) -> str:
    strip = ""
    if run.latency is not None:
        strip = range_strip(run.latency.p50_ms, run.latency.p99_ms, scale, color)
    failed = f'<small class="worse">{escape(run.error)}</small>' if run.error else ""
    about = f"{run.precision}; layers: {achieved_text(run)}"
    cells = "".join(
        f'<td data-name="{escape(f"{name} {unit}".strip())}"{_main(name)}>{escape(shown(figure(run)))}</td>'
        for name, unit, figure in figures
    )
    return (
        f'<tr class="{color}"><td><span class="swatch"></span><b>{escape(run.name)}</b><small>{escape(about)}</small>'
        f'{failed}</td><td class="strip">{strip}</td>{cells}</tr>'
    )


def _main(name: str) -> str:
    return ' class="main"' if name in ("p50", "p99") else ""


def _overview(report: BenchReport) -> str:
    colored = [(run, color_of(place)) for place, run in enumerate(report.runs)]
    keys = "".join(
        f'<li class="{color}"><span class="swatch"></span>{escape(run.name)}</li>'
        for run, color in colored
        if run.latency
    )
    return (
        '<section><h2>Runs side by side</h2><div class="charts">'
        + figure("Latency by percentile, ms", percentile_curve(colored), key=f'<ul class="key">{keys}</ul>', wide=True)
        + (_ratios(report) if report.ratios else "")
        + "</div></section>"
    )


def _ratios(report: BenchReport) -> str:
    rows = "".join(
        f'<div class="ratio"><span>{escape(each.of)} / {escape(each.to)}</span> '
        f"<b>{shown(each.ratio)}</b> ({shown(each.low)} to {shown(each.high)}){drawing}</div>"
        for each, drawing in zip(report.ratios, ratio_strips(report.ratios), strict=True)
    )
    caption = f"{RATIO} Above 1 is slower."
    return f'<figure class="wide c0"><h3>Ratios of times</h3><p class="caption">{caption}</p>{rows}</figure>'


def _how(report: BenchReport) -> str:
    return f"<section><h2>How it was measured</h2>{_list(list(_sentences(report)))}</section>"


def _sentences(report: BenchReport) -> Iterator[str]:
    yield from how_measured(report)
    asked = {name: value for name, value in report.options.items() if value not in (None, [], {})}
    if asked:
        yield "asked for: " + ", ".join(f"{name} {_listed(value)}" for name, value in asked.items())


def _listed(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)
