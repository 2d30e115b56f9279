"""What was not alike when two reports were measured is told, one sentence each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgex.report.differences import differences
from tests.reports import MACHINE, make_paced, make_report, make_run

NAME = "shipped.onnx · openvino · batch 1"


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("backend_version", "2026.3.0", "2026.4.1"),
        ("precision", "fp32", "int8"),
        ("batch", 1, 8),
        ("threads", None, 2),
        ("streams", 1, 2),
        ("device", "one CPU", "another CPU"),
        ("engine_sha256", "0" * 64, "1" * 64),
        ("pictures", "the shipped clip", "a folder"),
    ],
)
def test_a_run_that_was_measured_otherwise_is_told(name: str, then: object, now: object) -> None:
    old, new = (make_report(make_run(count=20, **{name: value})) for value in (then, now))
    (told,) = differences(old, new)
    assert NAME in told
    assert name in told
    assert ("not known" if then is None else str(then)) in told
    assert str(now) in told


@pytest.mark.parametrize(
    ("name", "then", "now"), [("fps", 60.0, 30.0), ("policy", "queue", "newest"), ("deadline_ms", 16.7, 50.0)]
)
def test_frames_that_were_due_otherwise_are_told(name: str, then: object, now: object) -> None:
    run = make_paced()
    assert run.paced is not None
    other = replace(run, paced=replace(run.paced, **{name: now}))  # type: ignore[arg-type]
    assert differences(make_report(run), make_report(other)) == (
        f"{run.name} differs in {name}: {then} then, {now} now",
    )


def test_another_limit_of_the_search_is_told() -> None:
    run = make_paced()
    assert run.paced is not None
    other = replace(run, paced=replace(run.paced, slo=None))
    assert differences(make_report(run), make_report(other)) == (
        f"{run.name} differs in slo_ms: 20.0 then, not known now",
    )


def test_a_run_of_the_same_name_in_another_mode_is_told() -> None:
    old, new = make_report(make_run("x", mode="pipeline")), make_report(make_run("x"))
    assert differences(old, new) == ("x was measured in mode pipeline then, in mode engine now",)


def test_another_machine_and_a_partial_report_are_told() -> None:
    machine = {**MACHINE, "cpu": "Cortex-A78AE", "governor": "schedutil"}
    old = make_report(make_run(count=20), machine=machine, partial=True)
    told = differences(old, make_report(make_run(count=20)))
    assert len(told) == 3
    assert "the earlier report is partial" in told[0]
    assert "Cortex-A78AE" in told[1]
    assert "governor" in told[2]
    assert differences(old, old)[2:] == ()


def test_other_versions_settings_and_lengths_are_told() -> None:
    packages = {**MACHINE["packages"], "numpy": "1.26.4", "onnx": "1.23.2"}
    machine = {**MACHINE, "packages": packages, "environment": {"OMP_NUM_THREADS": "1"}}
    old = make_report(make_run(), machine=machine, edgex_version="0.0.9", options={"seconds": 3.0})
    told = differences(old, make_report(make_run()))
    assert told == (
        "edgex was 0.0.9 then, is 0.1.0 now",
        "the version of numpy differs: 1.26.4 then, 2.4.6 now",
        "the version of onnx differs: 1.23.2 then, none now",
        "the variable OMP_NUM_THREADS differs: 1 then, none now",
        "what was asked for differs in seconds: 3.0 then, 5.0 now",
    )


def test_a_machine_described_otherwise_does_no_harm() -> None:
    odd = make_report(make_run(), machine={"packages": 3, "environment": None})
    assert differences(odd, odd) == ()
    assert differences(odd, make_report(make_run()))
