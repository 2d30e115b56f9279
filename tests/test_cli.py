"""The command line: what each command prints, its exit codes, and how it ends when it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgex as package
from edgex.types import STYLES
from tests.bundles import patched_picture
from tests.clips import read_clip, write_clip, write_picture
from tests.commands import ROOT, Outcome, assert_refused, edgex, start
from tests.sinks.shots import listing

COMMANDS = ("run", "inspect", "doctor")
PEAK = """
import sys
from edgex.cli import app
try:
    app(sys.argv[1:], prog_name="edgex")
except SystemExit as stop:
    assert not stop.code
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""


def loaded_by(program: str) -> list[str]:
    """Return which heavy modules a fresh Python holds after the program."""
    heavy = ("torch", "tensorrt", "pycuda", "onnxruntime", "openvino", "cv2", "av", "onnx", "numpy")
    code = f"{program}\nimport sys, json; print('\\n' + json.dumps([name for name in {heavy} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    run = f"from edgex.cli import app\ntry:\n    app({words!r}, prog_name='edgex')\n"
    program = f"{run}except SystemExit as stop:\n    assert not stop.code"
    assert loaded_by(program) == []


def test_importing_edgex_loads_nothing_heavy() -> None:
    assert loaded_by("import edgex") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example(name: str) -> None:
    shown = edgex(name, "--help")
    assert shown.code == 0
    assert f"Example: edgex {name}" in " ".join(shown.out.split())


def test_the_help_of_run_names_every_style_and_the_code_of_an_interruption() -> None:
    text = edgex("run", "--help").out
    assert [style for style in STYLES if style not in text] == []
    assert "130" in text


def test_help_without_a_word_and_the_version() -> None:
    assert "Commands" in edgex().out
    assert edgex("--version") == Outcome(0, f"edgex {package.__version__}\n", "")


def test_run_writes_all_products(tmp_path: Path, bundle: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    where = {"--output": "o.mp4", "--save-masks": "m", "--records": "r.jsonl", "--contact-sheet": "c.png"}
    done = edgex("run", bundle, "--source", clip, *(word for o, n in where.items() for word in (o, tmp_path / n)))
    assert (done.code, done.err) == (0, "")
    assert len(read_clip(tmp_path / "o.mp4")) == 12
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [record["index"] for record in records] == list(range(12))
    shown = [(record["name"], entry["label"]) for record in records for entry in record["classes"]]
    assert listing(tmp_path / "m") == sorted(f"{name}_{label}.png" for name, label in shown)
    mask = cv2.imread(str(tmp_path / "m/frame-000000_red.png"), cv2.IMREAD_UNCHANGED)
    assert (mask.dtype, mask.shape) == (np.uint8, (48, 64))
    assert cv2.imread(str(tmp_path / "c.png")) is not None
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert "12 frames in" in done.out
    assert f"wrote {tmp_path / 'o.mp4'}" in done.out


def test_run_without_products_says_what_it_saw(tmp_path: Path, bundle: Path) -> None:
    done = edgex("run", bundle, "--source", write_picture(tmp_path / "a.png"))
    assert done.code == 0
    assert "classes shown: red in 1" in done.out


@pytest.mark.parametrize("style", STYLES)
def test_a_picture_becomes_a_picture_in_every_style(tmp_path: Path, bundle: Path, style: str) -> None:
    source = write_picture(tmp_path / "a.png", patched_picture())
    done = edgex("run", bundle, "--source", source, "--style", style, "--output", tmp_path / "b.png")
    assert done.code == 0
    written = cv2.imread(str(tmp_path / "b.png"))
    assert written is not None
    assert written.shape == (64, 96, 3)
    assert (written != patched_picture()).any()


def test_pictures_become_pictures_and_a_video(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, size in enumerate(((64, 96), (40, 40), (65, 97))):
        write_picture(tmp_path / f"in/{index}.png", patched_picture(*size))
    assert edgex("run", bundle, "--source", tmp_path / "in", "--output", tmp_path / "out").code == 0
    assert listing(tmp_path / "out") == ["0.png", "1.png", "2.png"]
    assert edgex("run", bundle, "--source", f"{tmp_path}/in/*.png", "--output", tmp_path / "out.mp4").code == 0
    assert len(read_clip(tmp_path / "out.mp4")) == 3


def test_an_existing_product_is_replaced(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"older")
    assert edgex("run", bundle, "--source", write_picture(tmp_path / "a.png"), "--output", tmp_path / "b.png").code == 0
    assert cv2.imread(str(tmp_path / "b.png")) is not None


def test_json_is_one_object_and_nothing_else(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"nothing")
    done = edgex("run", bundle, "--source", tmp_path / "in", "--records", tmp_path / "r", "--json")
    found = json.loads(done.out)
    assert (found["frames"], found["skipped"], found["classes"], found["interrupted"]) == (1, 1, {"red": 1}, False)
    assert found["products"] == {"records": str(tmp_path / "r")}
    assert found["stages"]["infer"].keys() == {"p50_ms", "p95_ms", "p99_ms", "max_ms"}
    assert done.err.startswith("edgex: warning: ")
    assert "b.png" in done.err


def test_classes_are_named_with_commas(tmp_path: Path, bundle: Path) -> None:
    source = write_picture(tmp_path / "a.png")
    done = edgex("run", bundle, "--source", source, "--classes", " Red, blue ", "--json")
    assert json.loads(done.out)["classes"] == {"red": 1, "blue": 1}


def test_inspect_shows_what_is_in_the_file(bundle: Path) -> None:
    text = edgex("inspect", bundle)
    assert text.code == 0
    assert "red, green, blue" in text.out
    found = json.loads(edgex("inspect", bundle, "--json").out)
    assert found["labels"] == ["red", "green", "blue"]
    assert found["kind"] == "bundle"


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["run"], "expected one of --source URI and --camera N, got none"),
        (["run", "--source", "a.png", "--camera", "0"], "got both"),
        (["run", "--source", "a.png", "--top", "0"], "--top"),
        (["run", "--source", "a.png", "--opacity", "2"], "--opacity"),
        (["run", "--source", "a.png", "--style", "neon"], "overlay, heat, cutout, outline"),
        (["run", "--camera", "one"], "--camera"),
        (["run", "--camera", "0", "--camera-size", "large"], "--camera-size"),
        (["run", "--nothing"], "see: edgex run --help"),
        (["fly"], "fly"),
    ],
)
def test_wrong_usage(words: list[str], mend: str) -> None:
    assert_refused(edgex(*words), 2, mend)


def test_an_unknown_backend_is_wrong_usage(tmp_path: Path, bundle: Path) -> None:
    source = write_picture(tmp_path / "a.png")
    assert_refused(edgex("run", bundle, "--source", source, "--backend", "abacus"), 2, "abacus", "onnxruntime")


def test_a_bug_is_told_as_one(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("edgex.explain.load", broken)
    source = write_picture(tmp_path / "a.png")
    done = edgex("run", bundle, "--source", source)
    assert done.code == 1
    assert done.err == "edgex: unexpected ZeroDivisionError: a bug; run again with --debug and report it\n"
    assert "Traceback" in edgex("run", bundle, "--source", source, "--debug").err


def test_an_interruption_that_cannot_wait_is_told(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgex.explain.load", interrupted)
    done = edgex("run", bundle, "--source", write_picture(tmp_path / "a.png"))
    assert done == Outcome(130, "", "edgex: interrupted\n")


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    done = edgex("inspect", tmp_path / "none.onnx", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("edgex: expected")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picture = patched_picture(720, 1280)
    return write_clip(tmp_path_factory.mktemp("long") / "long.mp4", [picture] * 400, fps=30)


def wait_for_frames(folder: Path, running: subprocess.Popen[str]) -> None:
    """Wait until a record has been written."""
    while not any(path.stat().st_size for path in folder.glob("r.jsonl")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_a_video_that_plays(
    tmp_path: Path, bundle: Path, long_clip: Path, number: signal.Signals
) -> None:
    bundle.rename(bundle.with_suffix(".model"))
    where = ("--output", tmp_path / "o.mp4", "--records", tmp_path / "r.jsonl")
    running = start("run", bundle.with_suffix(".model"), "--source", long_clip, *where, "--json")
    wait_for_frames(tmp_path, running)
    running.send_signal(number)
    out, err = running.communicate()
    assert (running.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary["interrupted"] is True
    assert 0 < summary["frames"] < 400
    assert len(read_clip(tmp_path / "o.mp4")) == summary["frames"]
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == summary["frames"]
    assert listing(tmp_path) == ["o.mp4", "r.jsonl", "tiny.model"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_clip(tmp_path: Path, bundle: Path, long_clip: Path) -> None:
    where = ("--output", "o.mp4", "--records", "r.jsonl", "--contact-sheet", "c.png", "--limit", "120")
    command = [sys.executable, "-c", PEAK, "run", str(bundle), "--source", str(long_clip), *where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 700 * 1024, "kB; 120 frames of 720p alone would be 330 MB"


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_goes_away_is_no_crash(bundle: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    running = start("inspect", bundle, "--json", stdout=writing)
    os.close(writing)
    _, err = running.communicate()
    assert (running.returncode, err) == (1, "")
