"""Bad input, through the real command line: one sentence with cause and mend, right exit code, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.bundles import patched_picture, write_bundle
from tests.clips import moving_pictures, read_clip, write_clip, write_picture
from tests.commands import Outcome, assert_refused, edgex, start
from tests.sinks.shots import listing

ALL = ("--output", "o.mp4", "--save-masks", "m", "--records", "r.jsonl", "--contact-sheet", "c.png")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_truncated(path: Path) -> None:
    content = write_bundle(path).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def write_external(path: Path) -> None:
    """Write a model that wants to read its weights from a file of the system."""
    model = onnx.load(write_bundle(path))
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../../../../../etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())


def write_greedy(path: Path) -> None:
    """Write a model that asks for a tensor of 4 TB."""
    model = onnx.load(write_bundle(path))
    model.graph.initializer[0].dims[:] = [2**40]
    path.write_bytes(model.SerializeToString())


def write_unknown_operator(path: Path) -> None:
    model = onnx.load(write_bundle(path))
    model.graph.node[0].op_type = "LaunchMissiles"
    path.write_bytes(model.SerializeToString())


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "model.onnx"),
    "empty": (Path.touch, "model.onnx"),
    "folder": (Path.mkdir, "model.onnx"),
    "truncated": (write_truncated, "model.onnx"),
    "text": (lambda path: path.write_text("not a model\n" * 20), "model.onnx"),
    "picture": (lambda path: path.write_bytes(write_picture(path.with_suffix(".png")).read_bytes()), "model.onnx"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)), "model.onnx"),
    "external weights": (write_external, "model.onnx"),
    "greedy": (write_greedy, "model.onnx"),
    "unknown operator": (write_unknown_operator, "model.onnx"),
    "no manifest": (lambda path: write_bundle(path, with_manifest=False), "manifest"),
    "broken manifest": (lambda path: write_bundle(path, manifest="{"), "manifest"),
    "hostile manifest": (lambda path: write_bundle(path, manifest="[" * 100_000), "manifest"),
    "no masks": (lambda path: write_bundle(path, mask_head=False), "mask_logits"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_bad_model(here: Path, kind: str) -> None:
    write, word = MODELS[kind]
    write(here / "model.onnx")
    write_clip(here / "clip.mp4")
    before = listing(here)
    assert_refused(edgex("run", "model.onnx", "--source", "clip.mp4", *ALL), 1, word, ";")
    assert listing(here) == before


@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "truncated", "text", "noise"])
def test_a_file_that_is_no_model_cannot_be_inspected(here: Path, kind: str) -> None:
    MODELS[kind][0](here / "model.onnx")
    assert_refused(edgex("inspect", "model.onnx"), 1, "model.onnx")
    assert_refused(edgex("inspect", "model.onnx", "--json"), 1, "model.onnx")


def test_a_model_without_a_manifest_can_be_inspected(here: Path) -> None:
    write_bundle(here / "model.onnx", with_manifest=False)
    done = edgex("inspect", "model.onnx", "--json")
    assert done.code == 0
    assert json.loads(done.out)["missing"]


def warned(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith("edgex: warning: ")
    for word in words:
        assert word in line


def test_a_video_that_ends_mid_frame(here: Path, bundle: Path) -> None:
    whole = write_clip(here / "clip.mp4", moving_pictures(60)).read_bytes()
    (here / "clip.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    done = edgex("run", bundle, "--source", "clip.mp4", *ALL)
    warned(done, "clip.mp4 ends early")
    assert 5 < len(read_clip(here / "o.mp4")) < 55


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_video_without_a_frame(here: Path, bundle: Path, keep: float) -> None:
    whole = write_clip(here / "clip.mp4", front=False).read_bytes()
    (here / "clip.mp4").write_bytes(whole[: int(len(whole) * keep)])
    before = listing(here)
    assert_refused(edgex("run", bundle, "--source", "clip.mp4", *ALL), 1, "clip.mp4", "copy it again")
    assert listing(here) == before


def test_a_folder_with_one_unreadable_picture(here: Path, bundle: Path) -> None:
    (here / "in").mkdir()
    write_picture(here / "in/a.png")
    (here / "in/b.jpg").write_bytes(write_picture(here / "whole.jpg").read_bytes()[:200])
    write_picture(here / "in/c.png")
    done = edgex("run", bundle, "--source", "in", "--output", "out", "--records", "r.jsonl")
    warned(done, "b.jpg")
    assert "1 skipped" in done.out
    assert listing(here / "out") == ["a.png", "c.png"]
    assert [json.loads(line)["index"] for line in (here / "r.jsonl").read_text().splitlines()] == [0, 2]


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b.jpg", "c.tiff"]])
def test_a_folder_of_which_nothing_can_be_read(here: Path, bundle: Path, names: list[str]) -> None:
    (here / "in").mkdir()
    for name in names:
        (here / "in" / name).write_bytes(b"\x89PNG and then nothing")
    before = listing(here)
    assert_refused(edgex("run", bundle, "--source", "in", *ALL), 1, "in/a.png")
    assert listing(here) == before


@pytest.mark.parametrize("name", ["missing.png", "missing", "missing*.png", "empty", "empty.png", "text.txt"])
def test_a_source_that_holds_nothing(here: Path, bundle: Path, name: str) -> None:
    (here / "empty").mkdir()
    (here / "empty.png").touch()
    (here / "text.txt").write_text("no picture\n" * 9)
    before = listing(here)
    assert_refused(edgex("run", bundle, "--source", name, *ALL), 1, name, ";")
    assert listing(here) == before


def test_one_pixel(here: Path, bundle: Path) -> None:
    write_picture(here / "a.png", np.full((1, 1, 3), (0, 0, 255), np.uint8))
    assert edgex("run", bundle, "--source", "a.png", *ALL).code == 0
    assert read_clip(here / "o.mp4")[0].shape == (2, 2, 3)
    assert edgex("run", bundle, "--source", "a.png", "--output", "o.png").code == 0
    assert cv2.imread("o.png").shape == (1, 1, 3)
    assert cv2.imread("m/a_red.png", cv2.IMREAD_UNCHANGED).shape == (1, 1)


def test_forty_eight_million_pixels(here: Path, bundle: Path) -> None:
    write_picture(here / "a.jpg", patched_picture(6000, 8000))
    done = edgex(
        "run", bundle, "--source", "a.jpg", "--output", "o.jpg", "--records", "r.jsonl", "--contact-sheet", "c.png"
    )
    assert (done.code, done.err) == (0, "")
    assert cv2.imread("o.jpg").shape == (6000, 8000, 3)
    assert cv2.imread("c.png").shape == (360 + 8, 480 + 8, 3)


@pytest.mark.parametrize("kind", ["grey", "sixteen bits", "sixteen bits grey", "alpha"])
def test_unusual_pictures(here: Path, bundle: Path, kind: str) -> None:
    colour = patched_picture()
    pictures = {
        "grey": colour[:, :, 2],
        "sixteen bits": colour.astype(np.uint16) * 257,
        "sixteen bits grey": colour[:, :, 2].astype(np.uint16) * 257,
        "alpha": cv2.cvtColor(colour, cv2.COLOR_BGR2BGRA),
    }
    write_picture(here / "a.png", pictures[kind])
    done = edgex("run", bundle, "--source", "a.png", "--output", "o.png", "--json")
    assert (done.code, done.err) == (0, "")
    assert cv2.imread("o.png", cv2.IMREAD_UNCHANGED).shape == (64, 96, 3)
    assert ("red" in json.loads(done.out)["classes"]) == ("grey" not in kind)


@pytest.mark.parametrize(("name", "near"), [("rde", "red"), ("Gren", "green"), ("zebra", "red, green, blue")])
def test_an_unknown_class_name(here: Path, bundle: Path, name: str, near: str) -> None:
    write_picture(here / "a.png")
    before = listing(here)
    assert_refused(edgex("run", bundle, "--source", "a.png", "--classes", f"blue,{name}", *ALL), 2, name, near)
    assert listing(here) == before


def test_no_class_name(here: Path, bundle: Path) -> None:
    write_picture(here / "a.png")
    assert_refused(edgex("run", bundle, "--source", "a.png", "--classes", " , "), 2, "at least one class name")


@pytest.mark.parametrize(
    ("words", "code", "mend"),
    [
        (["--output", "none/o.mp4"], 1, "mkdir -p"),
        (["--output", "o.docx"], 1, "rename it"),
        (["--output", "o.png"], 1, "name a .mp4 file or a folder"),
        (["--output", "/proc/o.mp4"], 1, "choose a place where you may write"),
        (["--save-masks", "file.txt"], 1, "choose another name"),
        (["--records", "folder"], 1, "add a file name"),
        (["--contact-sheet", "c.gif"], 1, "rename it"),
        (["--output", "clip.mp4"], 2, "choose another name"),
        (["--records", "o.mp4"], 2, "choose different names"),
    ],
)
def test_an_output_that_cannot_be_written(here: Path, bundle: Path, words: list[str], code: int, mend: str) -> None:
    write_clip(here / "clip.mp4")
    (here / "file.txt").touch()
    (here / "folder").mkdir()
    before = listing(here)
    others = () if "--output" in words else ("--output", "o.mp4")
    assert_refused(edgex("run", bundle, "--source", "clip.mp4", *others, *words), code, mend)
    assert listing(here) == before


def test_an_older_product_survives_a_run_that_fails(here: Path, bundle: Path) -> None:
    (here / "o.png").write_bytes(b"older")
    (here / "a.png").write_bytes(b"no picture")
    assert_refused(edgex("run", bundle, "--source", "a.png", "--output", "o.png"), 1, "a.png")
    assert (here / "o.png").read_bytes() == b"older"


@pytest.mark.skipif(Path("/dev/video63").exists(), reason="this machine has very many cameras")
def test_a_camera_that_is_not_there(here: Path, bundle: Path) -> None:
    before = listing(here)
    assert_refused(edgex("run", bundle, "--camera", "63", *ALL), 1, "/dev/video63", "edgex doctor")
    assert listing(here) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "model.onnx", "--source", "clip.mp4"], 1),
        (["run", "tiny.onnx", "--source", "bad.png"], 1),
        (["run", "tiny.onnx", "--source", "bad.mp4", "--output", "o.mp4"], 1),
        (["run", "tiny.onnx", "--source", "clip.mp4", "--classes", "dog"], 2),
        (["run", "tiny.onnx", "--camera", "63"], 1),
    ],
)
def test_nothing_native_speaks_besides_in_a_process_of_its_own(
    here: Path, bundle: Path, words: list[str], code: int
) -> None:
    write_clip(here / "clip.mp4")
    content = write_picture(here / "whole.png", moving_pictures(1)[0]).read_bytes()
    (here / "bad.png").write_bytes(content[: len(content) // 2])
    (here / "bad.mp4").write_bytes(write_clip(here / "whole.mp4", front=False).read_bytes()[:3000])
    write_truncated(here / "model.onnx")
    running = start(*words)
    out, err = running.communicate()
    assert_refused(Outcome(running.returncode, out, err), code)
