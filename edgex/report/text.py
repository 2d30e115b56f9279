"""A report as text: rows for the terminal's table, CSV for spreadsheets, Markdown for pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from edgex.report import BenchReport, Run
from edgex.report.compare import Comparison
from edgex.report.compare_text import RULES, comparison_table, comparison_warnings
from edgex.report.machine import machine_facts
from edgex.report.shown import printable, shown
from edgex.report.words import RATIO, achieved_text, all_warnings, how_measured, machine_line, notes, run_lines

_FORMULAS = "=+-@\t\r"  # a spreadsheet takes a cell that begins so for a formula
Figure = tuple[str, str, Callable[[Run], float | None]]  # heading, unit, figure


def _of_latency(name: str) -> Callable[[Run], float | None]:
    return lambda run: None if run.latency is None else getattr(run.latency, name)


def _of_paced(name: str) -> Callable[[Run], Any]:
    return lambda run: None if run.paced is None else getattr(run.paced, name)


def _of_slo(name: str) -> Callable[[Run], Any]:
    return lambda run: None if run.paced is None or run.paced.slo is None else getattr(run.paced.slo, name)


PICTURE = "picture"
FIGURES: tuple[Figure, ...] = (
    ("p50", "ms", _of_latency("p50_ms")),
    ("p90", "ms", _of_latency("p90_ms")),
    ("p95", "ms", _of_latency("p95_ms")),
    ("p99", "ms", _of_latency("p99_ms")),
    ("max", "ms", _of_latency("max_ms")),
    (PICTURE, "ms", lambda run: None if run.latency is None else run.latency.p50_ms / run.batch),
    ("CV", "%", lambda run: None if run.latency is None else run.latency.cv * 100),
    ("per s", "", lambda run: run.per_second),
    ("first", "ms", lambda run: run.first_ms),
    ("load", "ms", lambda run: run.load_ms),
    ("memory", "MB", lambda run: run.peak_memory_mb),
    ("samples", "", lambda run: len(run.samples_ms)),
)
_FACTS = (
    *("name", "mode", "model", "backend", "backend_version", "device", "precision", "batch", "threads", "streams"),
    "load_order",
)
_PACED: tuple[tuple[str, Callable[[Run], Any]], ...] = (
    *((name, _of_paced(name)) for name in ("fps", "policy", "due", "done", "dropped", "late", "deadline_ms")),
    *((f"slo_{name}", _of_slo(name)) for name in ("limit_ms", "outcome", "highest_fps")),
)


def figures_of(report: BenchReport) -> tuple[Figure, ...]:
    """Return the figures that say something of these runs: the time a picture only where there is a batch."""
    batches = any(run.batch > 1 for run in report.runs)
    return tuple(each for each in FIGURES if batches or each[0] != PICTURE)


def table(report: BenchReport) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and one row for each run, as text."""
    figures = figures_of(report)[:-1]
    headings = ("run", *(f"{name} {unit}".strip() for name, unit, _ in figures))
    return headings, [(run.name, *(shown(figure(run)) for _, _, figure in figures)) for run in report.runs]


def to_csv(report: BenchReport) -> str:
    """Return one row for each run with all of its figures, headings first; times in ms, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    units = {"ms": "_ms", "%": "_pct", "MB": "_mb", "": ""}
    headings = [name.replace(" ", "_").lower() + units[unit] for name, unit, _ in FIGURES]
    ends = ("stable_warmup", "rounds", "memory_scope", "engine_sha256", "created", "error", "partial", "warnings")
    writer.writerow([*_FACTS, "achieved", *headings, *(name for name, _ in _PACED), *ends])
    for run in report.runs:
        figures = [figure(run) for _, _, figure in (*FIGURES, *((name, "", of) for name, of in _PACED))]
        told = [run.warmup.stable, len(run.rounds), run.memory_scope, run.engine_sha256, report.created, run.error]
        told += [report.partial, "; ".join((*report.warnings, *run.warnings))]
        row = [*(getattr(run, fact) for fact in _FACTS), achieved_text(run), *figures, *told]
        writer.writerow([_cell(value) for value in row])
    return printable(text.getvalue())


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULAS and value else value


def to_markdown(report: BenchReport, comparisons: Sequence[Comparison] = (), differences: Sequence[str] = ()) -> str:
    """Return the figures, the machine, the ratios, the warnings and how it was measured, as Markdown.

    Parameters
    ----------
    report : what was measured
    comparisons, differences : from the earlier report, where there is one
    """
    lines = [f"# edgex bench, {_plain(report.created)}", "", _plain(machine_line(report)), ""]
    if report.partial:
        lines += ["**Partial: it was interrupted.**", ""]
    lines += [*_markdown_table(*table(report)), "", *_list(notes(report))]
    lines += _list([f"{run.name}: {each}" for run in report.runs for each in run_lines(run)])
    if report.ratios:
        rows = [
            (each.of, each.to, shown(each.ratio), f"{shown(each.low)} to {shown(each.high)}") for each in report.ratios
        ]
        lines += [*_markdown_table(("time of", "over time of", "ratio", "95 % interval"), rows), "", RATIO, ""]
    if comparisons:
        lines += ["## Against the baseline", "", *_markdown_table(*comparison_table(comparisons)), "", *_list(RULES)]
    held = (*comparison_warnings(comparisons), *differences) if comparisons else differences
    told = [*all_warnings(report), *(f"baseline: {each}" for each in held)]
    lines += ["## Warnings", "", *_list(told)] if told else []
    machine = [f"{name}: {fact}" for name, fact in machine_facts(report)]
    lines += ["## Machine", "", *_list(machine)] if machine else []
    lines += ["## How it was measured", "", *_list([*how_measured(report), *_not_told(report)])]
    return printable("\n".join(lines[:-1]) + "\n")


def _not_told(report: BenchReport) -> list[str]:
    """Return what the machine did not tell while it was measured, once where that is the same for all runs."""
    said = {run.name: "; ".join(run.telemetry.not_available) for run in report.runs if run.telemetry is not None}
    if len(said) == len(report.runs) and len(set(said.values())) == 1:
        return [f"not told by this machine: {each}" for each in list(said.values())[:1] if each]
    return [f"{name}: not told by this machine: {each}" for name, each in said.items() if each]


def _list(sentences: Sequence[str]) -> list[str]:
    return [*(f"- {_plain(each)}" for each in sentences), ""] if sentences else []


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_plain, headings))} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    return [*lines, *(f"| {' | '.join(map(_plain, row))} |" for row in rows)]


def _plain(text: str) -> str:
    """Return text that a page shows as it is: no tag, no cell, no new line out of a file's name."""
    text = " ".join(str(text).split())
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}") if sign != "<" else text.replace("<", "&lt;")
    return text
