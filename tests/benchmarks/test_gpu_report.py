"""The report of a GPU: steps in processes of their own that break in every way, what is kept, and the dry run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_report
from benchmarks.gpu.child import read
from benchmarks.gpu.steps import Step
from benchmarks.gpu_report import Options, exit_code, make_page, measure
from edgex.nvidia import loads

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import ctypes, os, signal, time
from benchmarks.gpu.steps import Missing
def page(found):
    return "its page: " + found["kept"]
"""
STEPS = {
    "works": "def step(context):\n    context.say('here')\n    return {'kept': 'all of it', 'aims': [AIM]}\n"
    "AIM = {'aim': 'a | b', 'bound': 2.0, 'reached': 1.0, 'met': False}",
    "lacks": "def step(context):\n    context.save({'kept': 'a part'})\n    raise Missing('no such GPU')",
    "raises": "def step(context):\n    context.save({'kept': 'before'})\n    raise ValueError(f'see {__file__}')",
    "fails": "def step(context):\n    return {'kept': 'x', 'failures': ['the picture is another']}",
    "killed": "def step(context):\n    context.save({'kept': 'till then', 'failures': ['one']})\n"
    "    os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "def step(context):\n    context.save({'kept': 'till then'})\n    ctypes.string_at(8)",
    "hangs": "def step(context):\n    context.save({'kept': str(os.getpid())})\n    time.sleep(1000)",
    "cannot be loaded": "import a_package_that_nobody_has",
}


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Step]:
    """A module for each odd step, which children find too."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, text in STEPS.items():
        (folder / f"odd_{name.replace(' ', '_')}.py").write_text(HEAD + text + "\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return {name: Step(name, 10.0, f"odd_{name.replace(' ', '_')}") for name in STEPS}


def options(tmp_path: Path, seconds: float = 100.0) -> Options:
    return Options("odd", seconds, 1, False, tmp_path / "out")


def saved(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out/gpu-odd.json").read_text())
    return found


def test_what_breaks_costs_its_own_step_only(steps: dict[str, Step], tmp_path: Path) -> None:
    run = [step for name, step in steps.items() if name != "hangs"]
    report = measure(run, options(tmp_path), run)
    assert report == saved(tmp_path)
    ends = {name: (entry["state"], entry["found"].get("kept")) for name, entry in report["steps"].items()}
    assert ends == {
        "works": ("done", "all of it"),
        "lacks": ("missing", "a part"),
        "raises": ("error", "before"),
        "fails": ("done", "x"),
        "killed": ("cut", "till then"),
        "crashes": ("cut", "till then"),
        "cannot be loaded": ("error", None),
    }
    why = {name: entry.get("why", "") for name, entry in report["steps"].items()}
    assert why["lacks"] == "no such GPU"
    assert why["raises"].startswith("ValueError: see odd_raises.py (odd_raises.py, line ")
    assert "SIGKILL" in why["killed"]
    assert "SIGSEGV" in why["crashes"]
    assert "odd_crashes.py" in report["steps"]["crashes"]["stderr"]
    assert "a_package_that_nobody_has" in why["cannot be loaded"]
    assert report["failures"] == ["fails: the picture is another", "killed: one"]
    assert not report["complete"]
    assert str(tmp_path) not in json.dumps(report)
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/gpu-odd.json"]


@pytest.mark.parametrize(
    ("names", "code"), [(["works"], 0), (["works", "lacks"], 0), (["fails"], 1), (["raises"], 1), (["killed"], 1)]
)
def test_exit_codes(steps: dict[str, Step], tmp_path: Path, names: list[str], code: int) -> None:
    run = [steps[name] for name in names]
    assert exit_code(measure(run, options(tmp_path), run)) == code


def test_a_step_that_hangs_is_ended_and_says_where(steps: dict[str, Step], tmp_path: Path) -> None:
    report = measure([steps["hangs"]], options(tmp_path, gpu_report.PAGE_S + 5.5), [steps["hangs"]])
    entry = report["steps"]["hangs"]
    assert entry["state"] == "cut"
    assert "took longer" in entry["why"]
    assert "odd_hangs.py" in entry["stderr"]
    assert not Path(f"/proc/{entry['found']['kept']}").exists()


def test_what_no_longer_fits_is_told_and_can_be_caught_up(steps: dict[str, Step], tmp_path: Path) -> None:
    every = [steps["works"], steps["fails"]]
    report = measure(every, options(tmp_path, gpu_report.PAGE_S + 1.0), every)
    assert {entry["state"] for entry in report["steps"].values()} == {"not reached"}
    assert not report["complete"]
    measure(every[:1], options(tmp_path), every)
    report = measure(every[1:], options(tmp_path), every)
    assert [entry["state"] for entry in report["steps"].values()] == ["done", "done"]
    assert report["steps"]["works"]["found"]["kept"] == "all of it"
    assert report["complete"]
    assert report == saved(tmp_path)


def test_an_interrupted_run_leaves_what_it_found_and_nobody_behind(steps: dict[str, Step], tmp_path: Path) -> None:
    program = f"""
import signal
from pathlib import Path
from benchmarks import gpu_report
from benchmarks.gpu.steps import Step
signal.signal(signal.SIGTERM, gpu_report._interrupted)
steps = [Step("works", 10.0, "odd_works"), Step("hangs", 10.0, "odd_hangs")]
gpu_report.measure(steps, gpu_report.Options("odd", 500.0, 1, False, Path({str(tmp_path / "out")!r})), steps)
"""
    path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    command = [sys.executable, "-c", program]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60.0
        while not (pid := _kept(tmp_path, "hangs")) and time.monotonic() < until:
            time.sleep(0.1)
        assert pid, "expected the step to have saved something"
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) != 0
    finally:
        child.kill()
        child.wait()
    assert _kept(tmp_path, "works") == "all of it"
    assert _kept(tmp_path, "hangs") == pid
    assert not Path(f"/proc/{pid}").exists()


def _kept(tmp_path: Path, name: str) -> str:
    steps = read(tmp_path / "out/gpu-odd.json").get("steps", {})
    return str(steps.get(name, {}).get("found", {}).get("kept", ""))


def test_the_page_is_made_of_the_json_alone(steps: dict[str, Step], tmp_path: Path) -> None:
    found = {"kept": "left | right", "aims": [{"aim": "a | b", "bound": 2.0, "reached": 1.0, "met": False}]}
    entries: dict[str, Any] = {
        "machine": {"state": "done", "found": found, "seconds": 1.0},
        "live": {"state": "missing", "why": "no | GPU"},
    }
    entries = {name: {"found": {}, **entry} for name, entry in entries.items()}
    about = {"gpus": ["X"], "cpu": "Y", "architecture": "z", "usable_cores": 2, "system": "S", "date": "D"}
    report = {
        "machine": {**about, "python": "CPython 3", "packages": {}},
        "dry_run": True,
        "steps": entries,
        "failures": [],
    }
    shown = [Step("machine", 1.0, "odd_works"), Step("live", 1.0, "odd_works"), Step("engines", 1.0, "odd_works")]
    page = make_page(report, tmp_path, shown).read_text(encoding="utf-8")
    assert "its page: left | right" in page
    assert "Missing on this machine: no \\| GPU." in page
    assert "| machine | a \\| b | 2.0 | 1 | missed |" in page
    assert "This is a dry run" in page
    assert "Not asked for." in page


def test_a_page_that_cannot_be_made_says_so(steps: dict[str, Step], tmp_path: Path) -> None:
    report = measure([steps["works"]], options(tmp_path), [steps["works"]])
    report["steps"]["machine"] = {"state": "done", "found": {"other": 1}, "seconds": 1.0}
    page = make_page(report, tmp_path, [Step("machine", 1.0, "odd_works")]).read_text(encoding="utf-8")
    assert "Its tables could not be made: KeyError" in page


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks.gpu_report", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_a_driver_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    if loads("libcuda.so.1"):
        pytest.skip("there is a driver")
    done = command("--output-dir", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "expected an NVIDIA GPU, got no driver (libcuda.so.1); walk the steps with --dry-run" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_recipe_without_an_index_names_what_the_command_installs() -> None:
    line = next(each for each in (ROOT / "Makefile").read_text().splitlines() if each.startswith("GPU_PACKAGES := "))
    names = {each.removeprefix("--editable ") for each in shlex.split(line)[2:]}
    extras = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert names >= {".[gpu]", ".[rtx]", ".[tensorrt]", "nvidia-cuda-nvrtc", "nvidia-curand"}
    assert {each[2:-1] for each in names if each.startswith(".")} <= set(extras)
    loops = re.findall(r"^for each in (.*?); do pip", (ROOT / "docs/gpu.md").read_text(), re.MULTILINE)
    assert len(loops) == 2
    assert all(names <= set(shlex.split(each)) for each in loops)


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    done = command("--only", "machine,none")
    assert "expected steps of machine, parity, kernels, engines, live, got none; name one of them" in done.stderr
    assert "expected a folder other" in command("--dry-run", "--output-dir", "benchmarks/results").stderr


@pytest.mark.slow
def test_a_dry_run_walks_every_step_and_makes_the_page(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "docs/gpu.md", *(ROOT / "benchmarks/results").glob("gpu-*"))}
    done = command("--dry-run", "--output-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "gpu-dry-run.json").read_text())
    assert report["dry_run"]
    ends = {name: entry["state"] for name, entry in report["steps"].items()}
    assert ends == dict.fromkeys([step.name for step in gpu_report.STEPS], "done")
    kernels, parity = report["steps"]["kernels"]["found"], report["steps"]["parity"]["found"]
    assert len(kernels["cases"]) == 96
    assert parity["checks"]["compared"] == 22 or "comparisons" in parity["missing"]
    assert kernels["peers"]["CuPy"].endswith("is the oracle's")
    page = (tmp_path / "gpu.md").read_text()
    assert "This is a dry run: no figure here was taken on a GPU." in page
    assert "could not be made" not in page
    refused = command("--page", str(tmp_path / "gpu-dry-run.json"))
    assert "expected a report of a GPU, got a dry run" in refused.stderr
    again = command("--page", str(tmp_path / "gpu-dry-run.json"), "--output-dir", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again/gpu.md").read_text() == page
    assert {path: path.read_bytes() for path in before} == before
