"""The fuzzer of the loaders: what reads a model holds its promise here, and what breaks it is found."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fuzz_cases, fuzz_loaders
from benchmarks.fuzz_bundles import changed_bytes, changed_json
from edgex.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    fuzz_cases.prepare(made)
    return made


@pytest.mark.parametrize(
    ("cases", "subjects"),
    [
        (500, ["inspect", "sidecar", "calibration", "onnxruntime"]),
        (15, fuzz_cases.here()),
    ],
)
def test_no_broken_bundle_gets_through(cases: int, subjects: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = fuzz_loaders.supervise(7, 120.0, range(cases), subjects)
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert f"seed 7, {cases * len(subjects)} calls, 0 failed" in printed


@pytest.mark.parametrize("name", fuzz_cases.here())
def test_every_call_succeeds_with_a_sound_bundle(name: str, folder: Path, tmp_path: Path) -> None:
    if name == "fp16":
        pytest.skip("not every CPU computes in half precision, and a build for one that does not is refused")
    shutil.copytree(folder / "frames", tmp_path / "frames")
    case = tmp_path / "case"
    case.mkdir()
    shutil.copy(folder / "seeds" / "a.onnx", case / "model.onnx")
    shutil.copy(folder / "calibration", case / "model.calib.json")
    (tmp_path / "said").touch()
    said = fuzz_loaders.outcome(fuzz_cases.SUBJECTS[name], case / "model.onnx", tmp_path / "said")
    assert said == "answered"


def _raises(error: Exception) -> Callable[[Path], Any]:
    def call(path: Path) -> Any:
        raise error

    return call


def _leaves(path: Path) -> None:
    (path.parent / "half.onnx").touch()
    raise ModelError("expected this, got that; mend it")


def _writes(path: Path) -> None:
    path.write_bytes(b"other")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (_raises(ValueError("odd")), r"expected EdgexError, got ValueError at test_fuzz_loaders.py:\d+: odd"),
        (_raises(ModelError("cannot; sorry")), "explains little"),
        (_raises(ModelError("expected all well")), "explains little"),
        (_leaves, "refused, but left"),
        (_writes, "changed"),
        (lambda path: (path.parent.parent / "said").write_text("warning"), "printed"),
    ],
)
def test_what_breaks_the_promise_fails(call: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "said").touch()
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "model.onnx").write_bytes(b"model")
    with pytest.raises(AssertionError, match=said):
        fuzz_loaders.outcome(call, tmp_path / "case" / "model.onnx", tmp_path / "said")


def test_a_number_always_draws_the_same_case(folder: Path, tmp_path: Path) -> None:
    for number in range(30):
        drawn = []
        for name in ("one", "two"):
            case = tmp_path / f"{name}{number}"
            kinds, model = fuzz_cases.draw_case(np.random.default_rng([3, number]), folder, case)
            files = {path.name: path.read_bytes() for path in case.iterdir()}
            drawn.append((kinds, model.name, files))
        assert drawn[0] == drawn[1]


def test_bytes_and_json_are_changed() -> None:
    random, content, text = np.random.default_rng(0), bytes(range(200)), '{"a": [1, 2, {"b": "c"}], "d": null}'
    assert sum(changed_bytes(random, content) != content for _ in range(200)) > 180
    assert sum(changed_json(random, text) != text for _ in range(200)) > 180


@pytest.mark.parametrize(
    ("code", "fate"),
    [
        ("import os; os.abort()", "died of SIGABRT"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "did not come back within 1 s"),
        ("print('well')", ""),
    ],
)
def test_how_a_process_ends_is_told(code: str, fate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    os.chmod(program, 0o755)
    (tmp_path / "log").touch()
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(fuzz_loaders, "START_S", 1.0)
    assert re.sub(r"within \d+", "within 1", fuzz_loaders.fate_of(tmp_path, 0, range(1), ["inspect"], 1e18)) == fate
