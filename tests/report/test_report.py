"""The report: what it holds comes back from its JSON as it was, and what is none is refused by the field at fault."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.report import SCHEMA, BenchReport, Ratio, ReportError, Run, Slo, Trial, read_report
from scripts import bench_schema
from tests.reports import make_paced, make_pipeline, make_report, make_run, make_telemetry, spread

TEXT = st.text(max_size=20)
NUMBER = st.floats(0, 1e9, allow_nan=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROOT = Path(__file__).resolve().parents[2]


@st.composite
def runs(draw: st.DrawFn, name: str) -> Run:
    """Draw a run that holds together: samples, their distribution, their rounds."""
    samples = tuple(draw(st.lists(NUMBER, max_size=30)))
    begins = {0, *draw(st.lists(st.integers(0, max(len(samples) - 1, 0)), max_size=4))} if samples else set()
    stage = tuple(draw(st.lists(NUMBER, min_size=1, max_size=5)))
    distribution = spread(stage)
    assert distribution is not None
    return make_run(
        name,
        count=len(samples),
        stalls=0,
        samples_ms=samples,
        latency=spread(samples),
        starts_ms=tuple(draw(st.lists(NUMBER, min_size=len(samples), max_size=len(samples)))),
        rounds=tuple(sorted(begins)),
        achieved=draw(st.dictionaries(TEXT, st.dictionaries(TEXT, st.integers(0, 999), max_size=2), max_size=2)),
        stages={"infer": distribution},
        stage_samples_ms={"infer": stage},
        cuda_graph=draw(st.none() | st.booleans()),
        warnings=tuple(draw(st.lists(TEXT, max_size=2))),
        error=draw(st.none() | TEXT),
        backend=draw(TEXT),
        per_second=draw(NUMBER),
    )


@st.composite
def reports(draw: st.DrawFn) -> BenchReport:
    names = draw(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=3, unique=True))
    drawn = tuple(draw(runs(name)) for name in names)
    low, middle, high = sorted(draw(st.tuples(NUMBER, NUMBER, NUMBER)))
    machine = draw(st.dictionaries(TEXT, PLAIN, max_size=4))
    ratios = (Ratio(names[1], names[0], middle, low, high),)
    return make_report(*drawn, machine=machine, options=draw(st.dictionaries(TEXT, PLAIN, max_size=3)), ratios=ratios)


@settings(max_examples=40, deadline=None)
@given(reports())
def test_a_report_comes_back_from_its_json_as_it_was(report: BenchReport) -> None:
    assert BenchReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("mode", ["engine", "pipeline", "paced"])
def test_a_report_of_each_mode_comes_back_from_its_file(mode: str, tmp_path: Path) -> None:
    run = {"engine": make_run, "pipeline": make_pipeline, "paced": make_paced}[mode]()
    report = make_report(run)
    path = tmp_path / "report.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert read_report(path) == report


def test_a_name_that_is_no_utf_8_still_makes_a_file(tmp_path: Path) -> None:
    report = make_report(make_run(model="caf\udce9.onnx"))
    path = tmp_path / "report.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert read_report(path) == report


def changed(**fields: Any) -> str:
    """Return the JSON of a report whose first run, or whose top, has other fields; "..." takes one away."""
    tree = json.loads(make_report().to_json())
    for path, value in fields.items():
        *way, last = path.split("__")
        place = tree
        for step in way:
            place = place[int(step) if step.isdecimal() else step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["JSON of a report"]),
        ("[1, 2", ["JSON of a report"]),
        ("[" * 100_000, ["report"]),
        ("[]", [SCHEMA, "no such field"]),
        ('{"schema": 1, "product_sha256": "x"}', [SCHEMA, "1"]),
        (changed(schema="edgex.bench/2"), [SCHEMA, "edgex.bench/2"]),
        (changed(runs__0__latency__p99_ms=...), ["runs[0].latency.p99_ms", "none"]),
        (changed(runs__0__latency__p99_ms="fast"), ["runs[0].latency.p99_ms", "number", "fast"]),
        (changed(runs__0__latency__p99_ms=True), ["runs[0].latency.p99_ms", "number"]),
        (changed(runs__0__latency__p99_ms=0.1), ["rising"]),
        (changed(runs__0__latency__count=7), ["latency.count", "1200", "openvino"]),
        (changed(runs__0__samples_ms=[1.0, float("nan")]), ["runs[0].samples_ms[1]", "finite"]),
        (changed(runs__0__samples_ms=[1.0, 10**400]), ["runs[0].samples_ms[1]", "finite"]),
        (changed(runs__0__rounds=[0, 5, 5]), ["rounds", "rising"]),
        (changed(runs__0__starts_ms=[]), ["starts_ms", "1200"]),
        (changed(runs__0__mode="fast"), ["runs[0].mode", "engine or pipeline or paced"]),
        (changed(runs__0__batch=0), ["batch", "positive"]),
        (changed(runs__0__batch=1.5), ["runs[0].batch", "whole"]),
        (changed(runs__0__model="../other/secret.onnx"), ["file name"]),
        (changed(runs__0__achieved={"Conv": 3}), ["runs[0].achieved.Conv", "object"]),
        (changed(runs__0__color="red"), ["runs[0].color", "absent"]),
        (changed(runs__1__name="shipped.onnx · openvino · batch 1"), ["different"]),
        (changed(runs__0__telemetry__series__0__values=[1.0]), ["clock of the fastest core", "values"]),
        (changed(ratios__0__to="another"), ["ratios", "another"]),
        (changed(ratios__0__low=2.0), ["between low and high"]),
        (changed(created="yesterday"), ["created", "UTC"]),
        (changed(created="2026-03-04T10:12:13+02:00"), ["created", "UTC"]),
        (changed(runs={"a": 1}), ["runs", "list"]),
        (changed(machine=[]), ["machine", "object"]),
    ],
)
def test_what_is_no_report_is_refused_in_one_sentence_that_names_the_field(text: str, words: list[str]) -> None:
    with pytest.raises(ReportError) as caught:
        BenchReport.from_json(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"outcome": "found"}, "only then"),
        ({"highest_fps": 30.0}, "only then"),
        ({"outcome": "given up"}, "none or not ended"),
    ],
)
def test_an_outcome_of_a_search_that_contradicts_its_rate_is_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ReportError, match=word):
        Slo(**{"limit_ms": 20.0, "highest_fps": None, "trials": (), **fields})


@pytest.mark.parametrize(("done", "due"), [(1, 200), (200, 199), (0, 200)])
def test_a_trial_counts_the_ages_it_gives(done: int, due: int) -> None:
    ages = spread((8.0,) * 200)
    assert Trial(30.0, 8.0, True, ages, 200, 200).ages == ages
    with pytest.raises(ReportError, match=r"Trial\.done"):
        Trial(30.0, 8.0, True, ages, done, due)


def test_deep_nesting_within_a_report_is_refused() -> None:
    deep = '{"a": ' * 3000 + "1" + "}" * 3000
    with pytest.raises(ReportError):
        BenchReport.from_json(make_report().to_json().replace('"options": {', f'"options": {{"deep": {deep}, ', 1))


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"none\.json"):
        read_report(tmp_path / "none.json")
    (tmp_path / "other.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportError, match=r"other\.json"):
        read_report(tmp_path / "other.json")


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, float("nan"), {"a": {"b": {3}}}])
def test_what_would_not_come_back_from_json_is_refused_when_a_report_is_made(value: object) -> None:
    with pytest.raises(ReportError, match=r"BenchReport\.options"):
        make_report(options={"given": value})


def test_the_schema_for_machines_and_the_page_for_readers_are_those_of_the_dataclasses() -> None:
    docs = ROOT / "docs"
    mend = "run: python -m scripts.bench_schema"
    assert json.loads((docs / "bench-schema.json").read_text(encoding="utf-8")) == bench_schema.json_schema(), mend
    assert (docs / "bench-schema.md").read_text(encoding="utf-8") == bench_schema.page(), mend
    for kind in bench_schema.KINDS:
        assert {f"`{field.name}`" for field in dataclasses.fields(kind)} <= set(bench_schema.page().split()), kind


def test_reports_hold_to_the_schema_for_machines_and_broken_ones_do_not() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, of the dev extra")
    validator = jsonschema.Draft202012Validator(bench_schema.json_schema())
    validator.check_schema(validator.schema)
    telemetry = dataclasses.replace(make_telemetry(500.0), not_available=())
    failed = make_run("failed", count=0, stalls=0, error="it failed", telemetry=telemetry)
    report = make_report(make_run(), make_pipeline(), make_paced(), failed, partial=True)
    validator.validate(json.loads(report.to_json()))
    for broken in (changed(schema="edgex.bench/2"), changed(runs__0__mode="x"), changed(runs__0__load_ms=...)):
        assert not validator.is_valid(json.loads(broken))
