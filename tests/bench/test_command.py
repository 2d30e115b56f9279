"""`edgex bench` as a command: reports that are written, regressions, what is refused first, and a stop from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgex.cli_bench import _write
from edgex.report import read_report
from tests.bench.test_bench import write_failing
from tests.bundles import patched_picture, write_bundle
from tests.clips import write_picture
from tests.commands import assert_refused, edgex, start

ON_ONE = ("--backend", "onnxruntime", "--threads", "1")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "red.png", patched_picture())


@pytest.mark.slow
def test_reports_are_written_and_held_against_an_earlier_one(tmp_path: Path, bundle: Path, picture: Path) -> None:
    files = {option: tmp_path / f"report{option}" for option in ("--json", "--csv", "--markdown", "--html")}
    words = [word for pair in files.items() for word in pair]
    done = edgex("bench", bundle, *ON_ONE, "--source", picture, *words)
    assert done.code == 0, done.err
    (named,) = [line for line in done.out.splitlines() if line.startswith("1: tiny.onnx · onnxruntime · batch 1 (")]
    assert ", fp32, 1 thread, 1 stream, sha256 " in named
    assert "memory: " in done.out
    assert "load and first depend on what was opened before (this one alone) and on the disk cache" in done.out
    assert [line for line in done.out.splitlines() if line.startswith("wrote")] == [
        f"wrote {each}" for each in files.values()
    ]
    assert "<svg" in files["--html"].read_text(encoding="utf-8")
    assert "tiny.onnx" in files["--csv"].read_text(encoding="utf-8")
    assert "tiny.onnx" in files["--markdown"].read_text(encoding="utf-8")
    report = read_report(files["--json"])
    (run,) = report.runs
    assert not report.partial
    assert len(run.samples_ms) >= 200
    assert sum(run.samples_ms) >= 2_700  # 3 s, all but the loop's own

    tree = json.loads(files["--json"].read_text(encoding="utf-8"))
    slow = tree["runs"][0]
    slow["samples_ms"] = [each / 1000 for each in slow["samples_ms"]]
    slow["latency"] = {name: each if name in ("count", "cv") else each / 1000 for name, each in slow["latency"].items()}
    (tmp_path / "old.json").write_text(json.dumps(tree), encoding="utf-8")
    against = ("--baseline", tmp_path / "old.json", "--fail-above", "50")
    regressed = edgex("bench", bundle, *ON_ONE, "--source", picture, *against)
    assert regressed.code == 4, regressed.err
    assert "worse" in regressed.out
    assert "against the baseline:" in regressed.out
    assert "per second" in regressed.out

    slow["name"] = "gone"
    (tmp_path / "old.json").write_text(json.dumps(tree), encoding="utf-8")
    lacking = edgex("bench", bundle, *ON_ONE, "--source", picture, *against, "--markdown", tmp_path / "held.md")
    assert lacking.code == 1, lacking.err
    told = "baseline: gone (engine) was not held against it: this report has no such run"
    assert f"edgex: warning: {told}" in lacking.err.splitlines()
    assert "only this report has tiny.onnx · onnxruntime · batch 1 (engine)" in lacking.err
    assert "gone (engine) was not held against it" in (tmp_path / "held.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_model_that_fails_is_told_and_the_others_are_reported(tmp_path: Path, bundle: Path) -> None:
    import numpy as np

    failing = write_failing(tmp_path / "failing.onnx")
    bright = write_picture(tmp_path / "bright.png", np.full((8, 8, 3), 255, np.uint8))
    done = edgex("bench", failing, bundle, *ON_ONE, "--source", bright, "--json", tmp_path / "r.json")
    assert done.code == 1
    (told,) = [line for line in done.err.splitlines() if "ended early" in line]
    assert told.startswith("edgex: failing.onnx · onnxruntime · batch 1 ended early: expected ONNX Runtime to infer")
    failed, other = read_report(tmp_path / "r.json").runs
    assert failed.error is not None
    assert len(other.samples_ms) >= 200


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads how long a program has computed from /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_prints_what_it_has_and_marks_it(
    tmp_path: Path, bundle: Path, picture: Path, number: signal.Signals
) -> None:
    words = (*ON_ONE, "--source", picture, "--seconds", "3600", "--json", tmp_path / "r.json")
    running = start("bench", bundle, *words)
    _await_measuring(running)
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert "1: tiny.onnx" in out
    assert err.splitlines()[-1] == "edgex: interrupted: these are the figures up to then, marked partial"
    assert "Traceback" not in err
    report = read_report(tmp_path / "r.json")
    assert report.partial
    assert report.runs[0].warmup.iterations > 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads how long a program has computed from /proc")
def test_neither_a_model_nor_a_folder_that_went_meanwhile_takes_the_figures_along(
    tmp_path: Path, bundle: Path, picture: Path
) -> None:
    (tmp_path / "folder").mkdir()
    reports = ("--html", tmp_path / "folder/r.html", "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    running = start("bench", bundle, *ON_ONE, "--source", picture, "--seconds", "3600", *reports)
    _await_measuring(running)
    bundle.unlink()
    (tmp_path / "folder").rmdir()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert [line for line in out.splitlines() if line.startswith("wrote")] == [
        f"wrote {tmp_path / name}" for name in ("r.json", "r.csv")
    ]
    assert [line for line in err.splitlines() if line.startswith("edgex: --html: expected")], err
    (run,) = read_report(tmp_path / "r.json").runs
    assert run.warmup.iterations > 0
    assert len(run.engine_sha256) == 64


def test_each_report_that_fails_is_told_and_the_others_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"--json": tmp_path / "no folder/r.json", "--csv": tmp_path / "r.csv", "--html": tmp_path / "r.html"}
    texts = {"--json": lambda: "{}", "--csv": lambda: str(1 // 0), "--html": lambda: "<p>"}
    assert _write(files, texts, debug=False) == [tmp_path / "r.html"]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("edgex: --json: expected")
    assert second.startswith("edgex: --csv: unexpected ZeroDivisionError")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def _await_measuring(running: subprocess.Popen[str]) -> None:
    while _cpu_seconds(running.pid) < 4:  # it imports for two, then warms up and measures
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    began_s = time.process_time()
    for option in ("--json", "--csv", "--markdown", "--html"):
        outcome = edgex("bench", tmp_path / "gone.onnx", option, tmp_path / "no folder" / "report")
        assert_refused(outcome, 1, "no folder")
    assert time.process_time() - began_s < 60
    assert list(tmp_path.iterdir()) == []


def test_no_report_replaces_what_is_read(tmp_path: Path, bundle: Path, picture: Path) -> None:
    before = bundle.read_bytes()
    assert_refused(edgex("bench", bundle, "--json", bundle), 2, "expected another file than", "tiny.onnx")
    assert_refused(edgex("bench", bundle, "--source", picture, "--html", picture), 2, "red.png")
    assert bundle.read_bytes() == before
    twice = edgex("bench", bundle, "--json", tmp_path / "r", "--csv", tmp_path / "r")
    assert_refused(twice, 2, "a file of its own", "--json, --csv")


def test_a_baseline_that_is_none_is_refused_first(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "old.json").write_text("{}", encoding="utf-8")
    assert_refused(edgex("bench", tmp_path / "gone.onnx", "--baseline", tmp_path / "old.json"), 1, "schema", "old.json")
    assert_refused(edgex("bench", bundle, "--fail-above", "3"), 2, "--baseline")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mode", "fast"), "engine, pipeline, paced"),
        (("--fps", "30"), "--mode paced"),
        (("--batch", "1,x"), "whole numbers"),
        (("--backend", "tpu"), "tpu"),
        (("--backend", ","), "got none"),
        (("--mode", "paced", "--policy", "oldest"), "queue or newest"),
    ],
)
def test_wrong_words_are_refused(bundle: Path, words: tuple[str, ...], told: str) -> None:
    assert_refused(edgex("bench", bundle, *words), 2, told)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert_refused(edgex("bench", tmp_path / "gone.onnx"), 1, "gone.onnx")
    foreign = write_bundle(tmp_path / "foreign.onnx", mask_head=False)
    assert_refused(edgex("bench", foreign, "--mode", "pipeline", *ON_ONE), 1, "mask_logits")
