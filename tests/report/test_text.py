"""A report as text: the terminal's rows, CSV that a spreadsheet reads without running it, Markdown that stays text."""

from __future__ import annotations

import csv
import io

import pytest

from edgex.report.compare import compare
from edgex.report.text import (
    achieved_text,
    all_warnings,
    comparison_table,
    how_measured,
    machine_line,
    shown,
    table,
    to_csv,
    to_markdown,
)
from tests.reports import make_paced, make_report, make_run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.8765, "4.88"),
        (0.01234, "0.0123"),
        (0.3, "0.300"),
        (12.34, "12.3"),
        (123456.7, "123\u2009457"),
        (0.0, "0"),
        (7, "7"),
        (1200, "1\u2009200"),
        (0.0000012, "1.2e-06"),
        (None, "–"),
    ],
)
def test_numbers_read_with_three_digits_that_count(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_the_table_has_a_row_for_each_run_under_as_many_headings() -> None:
    report = make_report(make_run(), make_run("failed", count=0, error="no"))
    headings, rows = table(report)
    assert {len(row) for row in rows} == {len(headings)}
    assert [row[0] for row in rows] == [run.name for run in report.runs]
    assert rows[0][headings.index("p50 ms")] == shown(report.runs[0].latency.p50_ms)  # type: ignore[union-attr]
    assert rows[1][headings.index("p99 ms")] == "–"


def test_the_csv_holds_the_figures_unrounded() -> None:
    report = make_report(make_run(), make_paced())
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row["name"] for row in rows] == [run.name for run in report.runs]
    for row, run in zip(rows, report.runs, strict=True):
        assert run.latency is not None
        assert float(row["p99_ms"]) == run.latency.p99_ms
        assert float(row["cv_pct"]) == run.latency.cv * 100
        assert int(row["samples"]) == len(run.samples_ms)
        assert row["achieved"] == "f32 53"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_the_csv_is_a_formula(sign: str) -> None:
    report = make_report(make_run(f'{sign}cmd|"/c calc"!A1', model=f"{sign}x.onnx"))
    (row,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert row["name"].startswith(f"'{sign}")
    assert row["model"].startswith(f"'{sign}")


def test_the_markdown_holds_figures_ratios_warnings_and_how_it_was_measured() -> None:
    old, new = make_report(make_run(median_ms=4.0)), make_report(make_run(warnings=("the clock fell",)), make_run("b"))
    text = to_markdown(new, compare(old, new))
    for word in ("| run |", "4.8", "slower", "missing", "the clock fell", "Hyndman", "warm-up of 84", "48 frames"):
        assert word in text, word
    assert "| time of |" in to_markdown(make_report())
    assert "Partial" in to_markdown(make_report(make_run(), partial=True))


def test_what_comes_from_files_stays_text_in_markdown() -> None:
    report = make_report(make_run("a|b\nc", error="<script>x</script> [link](http://x) `y`"))
    text = to_markdown(report)
    assert "<script>" not in text
    assert "[link](" not in text
    assert "a\\|b c" in text
    assert len({line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_bytes_that_are_no_utf_8_do_not_stop_a_text() -> None:
    report = make_report(make_run("caf\udce9"))
    assert "caf?" in to_csv(report).encode().decode()
    assert "caf?" in to_markdown(report).encode().decode()


def test_warnings_name_their_run_and_an_error_comes_first() -> None:
    report = make_report(make_run("a", warnings=("w",), error="e"), warnings=("top",))
    assert all_warnings(report) == ["top", "a: e", "a: w"]


def test_the_rest_of_the_words() -> None:
    report = make_report()
    assert "Intel(R) Core(TM) i7-1365U, 12 usable cores, 16.5 GB" in machine_line(report)
    assert machine_line(make_report(make_run(), machine={})) == "edgex 0.1.0"
    assert achieved_text(make_run(achieved={"Conv": {"i8": 3}, "Gemm": {"i8": 1, "f32": 2}})) == "i8 4, f32 2"
    assert achieved_text(make_run(achieved={})) == "not told"
    assert sum("no outlier" in each for each in how_measured(report)) == 1
    headings, rows = comparison_table(compare(report, report))
    assert {len(row) for row in rows} == {len(headings)}
