"""`edgex bench`: parse, see that the reports can be written, measure, print, write."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edgex.cli_build import Color, Layout, Mean, Size, Std
from edgex.cli_shared import Debug, Trust, complain, plain, print_table, progress
from edgex.errors import EdgexError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgex.bench.options import BenchOptions
    from edgex.report import BenchReport
    from edgex.report.compare import Comparison
    from edgex.report.parts import Policy

_INTERRUPTED, _REGRESSION = 130, 4
_PACED, _REPORTS = "Paced mode", "Reports"
_SOURCE = "Pictures to measure with: whatever edgex run takes; the shipped clip when left out."


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Model files; the shipped bundle when left out.", show_default=False)
    ] = None,
    mode: Annotated[
        str, typer.Option(help="engine (alone), pipeline (picture to sink), or paced (frames due at a rate).")
    ] = "engine",
    backend: Annotated[str, typer.Option(help="Backends, with commas between, or auto.")] = "auto",
    batch: Annotated[
        str | None, typer.Option(help="Pictures of one inference, with commas between.", metavar="N,...")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each engine.", min=1)] = None,
    streams: Annotated[int, typer.Option(help="So many engines at once, for throughput.", min=1)] = 1,
    source: Annotated[str | None, typer.Option(help=_SOURCE, metavar="URI")] = None,
    seconds: Annotated[float, typer.Option(help="Measure each so long; at least 3 s, 6 s over the whole path.")] = 3.0,
    fps: Annotated[
        float | None, typer.Option(help="Rate at which frames are due; 30.", show_default=False, rich_help_panel=_PACED)
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="queue: each frame, in order. newest: as live.", rich_help_panel=_PACED)
    ] = None,
    slo_ms: Annotated[
        float | None,
        typer.Option(help="Look for the highest rate with the 99th percentile within it.", rich_help_panel=_PACED),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all figures and samples.", rich_help_panel=_REPORTS)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="File for a row a run.", rich_help_panel=_REPORTS)] = None,
    markdown: Annotated[Path | None, typer.Option(help="File for a page.", rich_help_panel=_REPORTS)] = None,
    html: Annotated[Path | None, typer.Option(help="File for a page with plots.", rich_help_panel=_REPORTS)] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Earlier --json to hold it against.", rich_help_panel=_REPORTS)
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(help="Percent slower than the baseline that is a regression; 5.", min=0, rich_help_panel=_REPORTS),
    ] = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = None,
    color: Color = None,
    trust: Trust = False,
    debug: Debug = False,
) -> int:
    """Measure models side by side: latency, throughput, and the rate that holds; the report says how."""
    from edgex.bench import bench as run
    from edgex.bench.options import BenchOptions
    from edgex.input_options import parse_options
    from edgex.report import Mode, read_report
    from edgex.report.compare import FAIL_ABOVE_PERCENT, compare, is_judged
    from edgex.report.compare_text import comparison_warnings
    from edgex.report.differences import differences
    from edgex.signals import stop_signals

    if fail_above is not None and baseline is None:
        raise UsageError("expected --baseline OLD.json with --fail-above, got none; name the earlier report")
    options = BenchOptions(
        models=tuple(models or ()),
        mode=cast("Mode", mode),
        backends=tuple(word.strip() for word in backend.split(",") if word.strip()),
        batches=_numbers(batch),
        threads=threads,
        streams=streams,
        source=source,
        fps=fps,
        policy=cast("Policy | None", policy),
        slo_ms=slo_ms,
        seconds=seconds,
        input=parse_options(mean, std, size, layout, None, color),
        trust=trust,
    )
    asked = {"--json": json_file, "--csv": csv, "--markdown": markdown, "--html": html}
    files = {option: path for option, path in asked.items() if path is not None}
    _require_writable(files, options, baseline)
    old = None if baseline is None else read_report(baseline)
    with stop_signals() as late:  # noted while what was measured is held, written and printed: that loses nothing
        with stop_signals() as received, progress() as show:
            report = run(options, lambda stage, done, total: show(stage, done, total or None), lambda: bool(received))
        held = [] if old is None else compare(old, report, FAIL_ABOVE_PERCENT if fail_above is None else fail_above)
        unlike = () if old is None else differences(old, report)
        # before anything is printed, as who reads that may have gone
        written = _write(files, _texts(report, held, unlike), debug)
        _print(report, held)
        for path in written:
            print(f"wrote {path}")
        _complain(report, () if old is None else (*comparison_warnings(held), *unlike))
        if report.partial:
            complain("interrupted: these are the figures up to then, marked partial")
        elif received or late:
            complain("interrupted when all was measured: these are the whole figures, not marked partial")
    if report.partial or received or late:
        return _INTERRUPTED
    if any(figure.verdict == "worse" for figure in held):
        return _REGRESSION
    failed = any(each.error is not None for each in report.runs) or len(written) < len(files)
    return int(failed or (old is not None and not is_judged(held)))


def _numbers(text: str | None) -> tuple[int, ...]:
    words = [] if text is None else text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"expected whole numbers with commas between for --batch, got {text!r}; such as 1,8")
    return tuple(int(word) for word in words)


def _require_writable(files: Mapping[str, Path], options: BenchOptions, baseline: Path | None) -> None:
    """Refuse a report that cannot be written now, before minutes of measuring."""
    from edgex.build_target import require_other
    from edgex.product import require_writable

    read = (*options.models, baseline, None if options.source is None else Path(options.source))
    real = [path.resolve() for path in files.values()]
    if len(set(real)) != len(real):
        raise UsageError(
            f"expected a file of its own for each of {', '.join(files)}, got one twice; choose other names"
        )
    for path in files.values():
        for each in read:
            require_other(path, each)
        require_writable(path)


def _texts(report: BenchReport, held: Sequence[Comparison], unlike: Sequence[str]) -> Mapping[str, Callable[[], str]]:
    from edgex.report.html import to_html
    from edgex.report.text import to_csv, to_markdown

    return {
        "--json": report.to_json,
        "--csv": lambda: to_csv(report),
        "--markdown": lambda: to_markdown(report, held, unlike),
        "--html": lambda: to_html(report, held, unlike),
    }


def _write(files: Mapping[str, Path], texts: Mapping[str, Callable[[], str]], debug: bool) -> list[Path]:
    """Write all that can be written and complain of the rest: minutes of measuring hang on none of them."""
    from edgex.product import write_text

    written = []
    for option, path in files.items():
        try:
            write_text(path, texts[option]())
        except Exception as error:
            if debug:
                traceback.print_exc()
            known = isinstance(error, EdgexError)
            complain(f"{option}: {error}" if known else f"{option}: unexpected {type(error).__name__}: {error}")
        else:
            written.append(path)
    return written


def _complain(report: BenchReport, of_baseline: Sequence[str]) -> None:
    """Say on the error stream what speaks against the figures."""
    for warning in report.warnings:
        complain(f"warning: {warning}")
    for each in report.runs:
        for warning in each.warnings:
            complain(f"warning: {each.name}: {warning}")
        if each.error is not None:
            complain(f"{each.name} ended early: {each.error}")
    for warning in of_baseline:
        complain(f"warning: baseline: {warning}")


def _print(report: BenchReport, held: Sequence[Comparison]) -> None:
    from edgex.report.compare_text import comparison_table
    from edgex.report.shown import shown
    from edgex.report.text import figures_of
    from edgex.report.words import notes, ran_in_short, run_lines

    figures = figures_of(report)[:-1]
    every = dict.fromkeys((*(run.name for run in report.runs), *(each.run for each in held)))
    numbers = {name: str(number) for number, name in enumerate(every, 1)}  # the names are too long for a column
    short = {run.name: f" ({ran_in_short(run)})" for run in report.runs}
    for name, number in numbers.items():
        print(plain(f"{number}: {name}{short.get(name, '')}"))
    rows = [(numbers[run.name], *(shown(figure(run)) for _, _, figure in figures)) for run in report.runs]
    names, units = (name for name, _, _ in figures), (unit for _, unit, _ in figures)
    _print_rows(("run", *names), ("", *units), *rows)
    for sentence in notes(report):
        print(plain(sentence))
    for run in report.runs:
        for sentence in run_lines(run):
            print(plain(f"{run.name}: {sentence}"))
    batches = any(run.batch > 1 for run in report.runs)
    for ratio in report.ratios:
        spread = f"{shown(ratio.low)} to {shown(ratio.high)}"
        of = "a picture of " if batches else ""
        print(plain(f"{of}{ratio.of} takes {shown(ratio.ratio)} times as long as {ratio.to} (95 %: {spread})"))
    if held:
        print("against the baseline:")
        headings, rows = comparison_table(held, numbers)
        _print_rows(headings, *rows)


def _print_rows(*rows: tuple[str, ...]) -> None:
    print_table([tuple(plain(cell) for cell in row) for row in rows])
