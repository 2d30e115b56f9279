"""A stop that comes when all is measured: everything is written and printed, whole, and the exit code is 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgex.report import read_report
from tests.bundles import patched_picture
from tests.clips import write_picture
from tests.commands import ROOT

PROGRAM = """
import functools, importlib, os, sys
from edgex.bench import Effort
place, name, number, *words = sys.argv[1:]
importlib.import_module("edgex.bench").effort_of = lambda options: Effort(0.1, 24, 6, 0.3)
module = importlib.import_module(place)
real = getattr(module, name)

@functools.wraps(real)
def signalled(*given, **named):
    os.kill(os.getpid(), int(number))
    return real(*given, **named)

setattr(module, name, signalled)
sys.argv[1:] = words
from edgex.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself signals")
@pytest.mark.parametrize(
    ("place", "number"),
    [
        (("edgex.bench", "describe_machine"), signal.SIGINT),  # the last thing that measuring does
        (("edgex.report.compare", "compare"), signal.SIGTERM),
        (("edgex.report.text", "to_csv"), signal.SIGINT),
        (("edgex.cli_bench", "_print"), signal.SIGTERM),
        (("edgex.cli_bench", "_complain"), signal.SIGINT),
    ],
)
def test_a_stop_after_the_last_sample_loses_nothing(
    tmp_path: Path, bundle: Path, place: tuple[str, str], number: signal.Signals
) -> None:
    picture = write_picture(tmp_path / "red.png", patched_picture())
    files = {option: tmp_path / f"report{option}" for option in ("--json", "--csv", "--markdown", "--html")}
    words = ["bench", bundle, "--backend", "onnxruntime", "--threads", "1", "--source", picture]
    words += [word for pair in files.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *place, str(int(number)), *map(str, words), *_baseline(tmp_path, place)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    told = "edgex: interrupted when all was measured: these are the whole figures, not marked partial"
    assert done.stderr.splitlines()[-1] == told
    assert [line for line in done.stdout.splitlines() if line.startswith("wrote")] == [
        f"wrote {each}" for each in files.values()
    ]
    assert "1: tiny.onnx · onnxruntime · batch 1 (" in done.stdout
    report = read_report(files["--json"])
    assert not report.partial
    assert len(report.runs[0].rounds) == 6
    assert "partial" not in files["--markdown"].read_text(encoding="utf-8").lower()


def _baseline(folder: Path, place: tuple[str, str]) -> list[str]:
    from tests.reports import make_report

    if place[1] != "compare":
        return []
    (folder / "old.json").write_text(make_report().to_json(), encoding="utf-8")
    return ["--baseline", str(folder / "old.json")]
