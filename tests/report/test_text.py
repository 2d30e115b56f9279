"""A report as text: the terminal's rows, CSV that a spreadsheet reads without running it, Markdown that stays text."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pytest

from edgex.report import Slo, Trial
from edgex.report.compare import compare
from edgex.report.compare_text import comparison_table
from edgex.report.differences import differences
from edgex.report.html import to_html
from edgex.report.shown import shown
from edgex.report.text import table, to_csv, to_markdown
from edgex.report.words import (
    achieved_text,
    all_warnings,
    how_measured,
    machine_line,
    notes,
    ran_in_short,
    run_lines,
    slo_outcome,
)
from tests.reports import make_paced, make_pipeline, make_report, make_run, make_telemetry


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
        assert row["memory_scope"] == run.memory_scope
        assert row["load_order"] == "0"
    assert rows[0]["slo_outcome"] == rows[0]["fps"] == ""
    searched = ("fps", "policy", "due", "done", "dropped", "late", "slo_limit_ms", "slo_outcome", "slo_highest_fps")
    assert [rows[1][name] for name in searched] == ["60.0", "queue", "900", "900", "0", "9", "20.0", "found", "195.0"]


def test_the_csv_says_what_speaks_against_a_row() -> None:
    runs = (make_run("a", warnings=("the clock fell", "12 samples")), make_run("b"))
    rows = list(csv.DictReader(io.StringIO(to_csv(make_report(*runs, partial=True, warnings=("no ratio of b",))))))
    assert [row["partial"] for row in rows] == ["True", "True"]
    assert [row["warnings"] for row in rows] == ["no ratio of b; the clock fell; 12 samples", "no ratio of b"]
    (row,) = csv.DictReader(io.StringIO(to_csv(make_report(make_run()))))
    assert (row["partial"], row["warnings"]) == ("False", "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "openvino 2026.4.1 on Intel(R) Core(TM) i7-1365U; fp32 (achieved: f32 53 layers); 2 threads; 1 stream"),
        ({"threads": 1, "streams": 2}, "; 1 thread; 2 streams"),
        ({"threads": None, "achieved": {}}, "; fp32 (achieved: not told); threads as the backend chose; 1 stream"),
        ({"cuda_graph": True}, "; 1 stream; CUDA graph"),
        ({"cuda_graph": False}, "; 1 stream; no CUDA graph"),
    ],
)
def test_every_form_says_what_ran(fields: dict[str, Any], words: str) -> None:
    run = make_run("a", **fields)
    (told,) = [each for each in how_measured(make_report(run)) if each.startswith("a: openvino")]
    assert told.endswith(f"{words}; sha256 0123456789ab")
    assert "sha256 0123456789ab" in to_markdown(make_report(run))
    assert words in to_html(make_report(run))
    assert "2026.4.1, fp32, " in ran_in_short(run)


def test_the_markdown_names_packages_and_what_the_machine_does_not_tell() -> None:
    text = to_markdown(make_report())
    assert "- packages: edgex 0.1.0, numpy 2.4.6, onnxruntime 1.32.0, openvino 2026.4.1" in text
    assert text.count("not told by this machine: GPU clock, power") == 1  # the same for both runs
    assert "not told" not in to_markdown(make_report(make_run("a", telemetry=None)))
    assert "## Machine" not in to_markdown(make_report(make_run("a"), machine={}))
    told = dataclasses.replace(make_telemetry(500.0), not_available=("no turbostat",))
    differing = to_markdown(make_report(make_run("a"), make_run("b", telemetry=told)))
    assert "- a: not told by this machine: GPU clock" in differing
    assert "- b: not told by this machine: no turbostat" in differing


def test_the_time_of_a_picture_stands_in_the_table_where_there_is_a_batch_and_always_in_the_csv() -> None:
    whole = make_run("whole", 40.0, batch=8)
    headings, rows = table(make_report(make_run(), whole))
    assert whole.latency is not None
    assert rows[1][headings.index("picture ms")] == shown(whole.latency.p50_ms / 8)
    assert "picture ms" not in table(make_report())[0]
    (row,) = csv.DictReader(io.StringIO(to_csv(make_report(whole))))
    assert float(row["picture_ms"]) == whole.latency.p50_ms / 8


def test_notes_say_what_the_figures_hold_and_nothing_that_does_not_apply() -> None:
    told = notes(
        make_report(make_run("a", batch=8), make_run("b", streams=2, load_order=1), make_pipeline(), make_paced())
    )
    starts = ("a sample is one call of a whole batch (of 8)", "a sample is one call of one of the streams")
    starts += ("a sample of a pipeline is the work on one frame", "a sample of paced frames is their age")
    starts += ("memory: host memory of the whole program", "load and first depend on what was opened before")
    assert [each.startswith(start) for each, start in zip(told, starts, strict=True)] == [True] * 6
    assert len(notes(make_report())) == 2
    assert "this one alone" in notes(make_report(make_run()))[-1]
    assert "memory: the largest of the whole program" in notes(make_report(make_run(memory_scope="")))[0]


@pytest.mark.parametrize(
    ("slo", "words"),
    [
        (Slo(20.0, 195.0, (Trial(195.0, 19.0, True),), "found"), "195 a second"),
        (
            Slo(20.0, None, (Trial(2.0, 30.0, False), Trial(1.0, 30.0, False)), "none"),
            "none held, down to 1.00 a second",
        ),
        (Slo(20.0, None, (Trial(2.0, 3.0, True),)), "not known, the search did not end"),
    ],
)
def test_every_form_says_how_a_search_came_out(slo: Slo, words: str) -> None:
    run = make_paced()
    assert run.paced is not None
    run = dataclasses.replace(run, paced=dataclasses.replace(run.paced, slo=slo))
    assert slo_outcome(slo) == words
    assert f"highest rate within 20.0 ms: {words}; tried: " in run_lines(run)[-1]
    assert f"20.0 ms: {words}" in to_markdown(make_report(run))
    assert f"20.0 ms: {words}" in to_html(make_report(run))
    (row,) = csv.DictReader(io.StringIO(to_csv(make_report(run))))
    assert row["slo_outcome"] == slo.outcome


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_the_csv_is_a_formula(sign: str) -> None:
    report = make_report(make_run(f'{sign}cmd|"/c calc"!A1', model=f"{sign}x.onnx"))
    (row,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert row["name"].startswith(f"'{sign}")
    assert row["model"].startswith(f"'{sign}")


def test_the_markdown_holds_figures_ratios_warnings_and_how_it_was_measured() -> None:
    old, new = make_report(make_run(median_ms=4.0)), make_report(make_run(warnings=("the clock fell",)), make_run("b"))
    text = to_markdown(new, compare(old, new), differences(old, make_report(make_run(threads=7))))
    words = ("| run |", "4.8", "worse", "per second", "only this report has b", "differs in threads: 2 then, 7 now")
    words += ("the clock fell", "Hyndman", "warm-up of 84", "48 frames", "memory: host memory")
    for word in words:
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
    assert all_warnings(report) == ["top", "a: ended early: e", "a: w"]


def test_the_rest_of_the_words() -> None:
    report = make_report()
    assert "Intel(R) Core(TM) i7-1365U, 12 usable cores, 16.5 GB" in machine_line(report)
    assert machine_line(make_report(make_run(), machine={})) == "edgex 0.1.0"
    assert achieved_text(make_run(achieved={"Conv": {"i8": 3}, "Gemm": {"i8": 1, "f32": 2}})) == "i8 4, f32 2"
    assert achieved_text(make_run(achieved={})) == "not told"
    assert sum("no outlier" in each for each in how_measured(report)) == 1
    headings, rows = comparison_table(compare(report, report))
    assert {len(row) for row in rows} == {len(headings)}
