"""A report as text: rows for the terminal's table, CSV for spreadsheets, Markdown for pages; and how a number reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from edgex.bench.samples import FORMULA
from edgex.report import BenchReport, Run
from edgex.report.compare import Comparison

NO_OUTLIER = "every sample counts, no outlier was removed"
_FORMULAS = "=+-@\t\r"  # a spreadsheet takes a cell that begins so for a formula
_NONE = "–"


def shown(value: float | None, unit: str = "") -> str:
    """Return a number with three digits that count, "–" for None; thousands are parted by a thin space.

    >>> shown(4.8765), shown(0.01234), shown(123.4, "ms"), shown(None)
    ('4.88', '0.0123', '123 ms', '–')
    """
    if value is None:
        return _NONE
    size = abs(value)
    if size >= 100 or isinstance(value, int):
        text = f"{value:,.0f}".replace(",", "\u2009")
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 1:
        text = f"{value:.2f}"
    else:
        text = "0" if not value else f"{value:#.3g}" if size >= 1e-4 else f"{value:.1e}"
    return f"{text} {unit}" if unit else text


def achieved_text(run: Run) -> str:
    """Return what the layers run in, over all kinds, such as "int8 52, fp32 3", or "not told"."""
    counts: dict[str, int] = {}
    for precisions in run.achieved.values():
        for precision, number in precisions.items():
            counts[precision] = counts.get(precision, 0) + number
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{precision} {number}" for precision, number in ordered) or "not told"


def _of_latency(name: str) -> Callable[[Run], float | None]:
    return lambda run: None if run.latency is None else getattr(run.latency, name)


FIGURES: tuple[tuple[str, str, Callable[[Run], float | None]], ...] = (  # heading, unit, figure
    ("p50", "ms", _of_latency("p50_ms")),
    ("p90", "ms", _of_latency("p90_ms")),
    ("p95", "ms", _of_latency("p95_ms")),
    ("p99", "ms", _of_latency("p99_ms")),
    ("max", "ms", _of_latency("max_ms")),
    ("CV", "%", lambda run: None if run.latency is None else run.latency.cv * 100),
    ("per s", "1/s", lambda run: run.per_second),
    ("first", "ms", lambda run: run.first_ms),
    ("load", "ms", lambda run: run.load_ms),
    ("memory", "MB", lambda run: run.peak_memory_mb),
    ("samples", "", lambda run: len(run.samples_ms)),
)


def table(report: BenchReport) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and one row for each run, as text: the terminal's table."""
    headings = ("run", *(f"{name} {unit}".strip() for name, unit, _ in FIGURES[:-1]))
    rows = [(run.name, *(shown(figure(run)) for _, _, figure in FIGURES[:-1])) for run in report.runs]
    return headings, rows


def comparison_table(comparisons: Sequence[Comparison]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and one row for each run that was held against the baseline."""
    headings = ("run", "before ms", "now ms", "change %", "noise ± %", "verdict")
    rows: list[tuple[str, ...]] = [
        (each.run, shown(each.old_ms), shown(each.new_ms), signed(each.change_pct), noise(each.noise_pct), each.verdict)
        for each in comparisons
    ]
    return headings, rows


def signed(value: float | None) -> str:
    """Return a change with its sign, "–" for None."""
    return _NONE if value is None else f"{value:+.1f}"


def noise(value: float | None) -> str:
    """Return the noise of a change with as many digits as the change has, "–" for None."""
    return _NONE if value is None else f"{value:.1f}"


def to_csv(report: BenchReport) -> str:
    """Return one row for each run with all of its figures, headings first; times in ms, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = (
        "name",
        "mode",
        "model",
        "backend",
        "backend_version",
        "device",
        "precision",
        "batch",
        "threads",
        "streams",
    )
    units = {"ms": "_ms", "%": "_pct", "1/s": "", "MB": "_mb", "": ""}
    headings = [name.replace(" ", "_").lower() + units[unit] for name, unit, _ in FIGURES]
    writer.writerow([*facts, "achieved", *headings, "stable_warmup", "rounds", "engine_sha256", "created", "error"])
    for run in report.runs:
        figures = [figure(run) for _, _, figure in FIGURES]
        ends = [run.warmup.stable, len(run.rounds), run.engine_sha256, report.created, run.error]
        row = [*(getattr(run, fact) for fact in facts), achieved_text(run), *figures, *ends]
        writer.writerow([_cell(value) for value in row])
    return printable(text.getvalue())


def printable(text: str) -> str:
    """Return text that every file can hold: what a file's name has of bytes that are no UTF-8 becomes "?"."""
    return text.encode("utf-8", "replace").decode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULAS and value else value


def to_markdown(report: BenchReport, comparisons: Sequence[Comparison] = ()) -> str:
    """Return the figures, the machine, the ratios, the warnings and how it was measured, as Markdown."""
    lines = [f"# edgex bench, {_plain(report.created)}", "", _plain(machine_line(report)), ""]
    if report.partial:
        lines += ["**Partial: it was interrupted.**", ""]
    lines += [*_markdown_table(*table(report)), ""]
    if report.ratios:
        rows = [
            (each.of, each.to, shown(each.ratio), f"{shown(each.low)} to {shown(each.high)}") for each in report.ratios
        ]
        lines += [*_markdown_table(("time of", "over time of", "ratio", "95 % interval"), rows), ""]
    if comparisons:
        lines += ["## Against the baseline", "", *_markdown_table(*comparison_table(comparisons)), ""]
    told = all_warnings(report)
    lines += ["## Warnings", "", *(f"- {_plain(each)}" for each in told), ""] if told else []
    lines += ["## How it was measured", "", *(f"- {_plain(each)}" for each in how_measured(report))]
    return printable("\n".join(lines) + "\n")


def machine_line(report: BenchReport) -> str:
    """Return the machine in one line: what of it is known."""
    known = report.machine
    cores = f"{known['usable_cores']} usable cores" if known.get("usable_cores") else ""
    memory = f"{known['memory_gb']} GB" if known.get("memory_gb") else ""
    gpus = known.get("gpus")
    parts = [known.get("cpu"), cores, memory, *(gpus if isinstance(gpus, list) else ()), known.get("system")]
    return ", ".join(str(part) for part in (*parts, known.get("kernel"), f"edgex {report.edgex_version}") if part)


def all_warnings(report: BenchReport) -> list[str]:
    """Return the report's warnings, then those of each run with its name before them, and what failed."""
    told = list(report.warnings)
    for run in report.runs:
        told += [f"{run.name}: {each}" for each in (*((run.error,) if run.error else ()), *run.warnings)]
    return told


def how_measured(report: BenchReport) -> list[str]:
    """Return sentences that answer "measured how?": one for all runs, or one for each run where they differ."""
    samples = f"{NO_OUTLIER}; the report's JSON holds them all"
    told = [f"percentiles by {FORMULA}", samples, "monotonic clock of nanoseconds"]
    for called, name in (("measured", "transfers"), ("what went in", "pictures"), ("end of an inference", "sync")):
        said = {run.name: getattr(run, name) for run in report.runs}
        alike = len(set(said.values())) == 1
        told += (
            [f"{called}: {next(iter(said.values()))}"] if alike else [f"{run}: {each}" for run, each in said.items()]
        )
    for run in report.runs:
        state = "stable" if run.warmup.stable else "not yet stable"
        warm = f"warm-up of {run.warmup.iterations} iterations in {shown(run.warmup.seconds, 's')}, then {state}"
        told.append(f"{run.name}: {warm}; {shown(len(run.samples_ms))} samples in {shown(len(run.rounds))} rounds")
    return told


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_plain, headings))} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    return [*lines, *(f"| {' | '.join(map(_plain, row))} |" for row in rows)]


def _plain(text: str) -> str:
    """Return text that a page shows as it is: no tag, no cell, no new line out of a file's name."""
    text = " ".join(str(text).split())
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}") if sign != "<" else text.replace("<", "&lt;")
    return text
