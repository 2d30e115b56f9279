"""Composed data sets: seeded, split by identity, readable as VOC; and what goes wrong in one sentence."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edgex.errors import DataError, EdgexError, UsageError
from tests.training.stocks import CLASSES, COLOURS, write_square, write_stock
from training.compose import SPLITS, ComposeOptions, compose, find_backgrounds, find_cutouts, split_stock
from training.datasets import open_dataset
from training.scene import SceneStyle

STYLE = SceneStyle(64, (1, 1.5), rotation_deg=20, lighting=0, scale=(0.3, 0.6))
SCENES = (24, 8, 8, 8)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"))


def options(stock: Path, out: Path, **changes: Any) -> ComposeOptions:
    plain = ComposeOptions(stock / "cutouts", stock / "backgrounds", out, SCENES, 7, workers=1, style=STYLE)
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def composed(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with every split, made in one process."""
    out = tmp_path_factory.mktemp("composed") / "scenes"
    compose(options(stock, out))
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def identities(root: Path, split: str) -> set[str]:
    """Return what the written annotations of a split show."""
    found = [ElementTree.parse(path).iterfind("object/identity") for path in root.glob(f"Annotations/{split}_*.xml")]
    assert found
    return {str(element.text) for elements in found for element in elements}


def grounds(root: Path, split: str) -> set[str]:
    """Return the backgrounds that the pixels outside all objects show."""
    dataset, names = open_dataset(f"voc:{root}", split), set()
    for index in range(len(dataset)):
        sample = dataset.load(index)
        assert sample.segmentation is not None
        colour = np.median(sample.image[sample.segmentation == 0], axis=0)
        distance = {name: float(np.abs(colour - plain).max()) for name, plain in COLOURS.items()}
        name = min(distance, key=lambda one: distance[one])
        assert distance[name] < 20
        names.add(name)
    return names


def test_the_bytes_depend_on_the_seed_and_not_on_the_workers(stock: Path, composed: Path, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    compose(options(stock, tmp_path / "again", workers=2), lambda done, total: reports.append((done, total)))
    assert contents(tmp_path / "again") == contents(composed)
    assert reports == [(done, sum(SCENES)) for done in range(1, sum(SCENES) + 1)]
    compose(options(stock, tmp_path / "other", seed=8))
    other = contents(tmp_path / "other")
    assert other.keys() == contents(composed).keys()
    same = [name for name, content in contents(composed).items() if other[name] == content]
    assert not [name for name in same if name.endswith(".jpg")]


def test_no_identity_and_no_background_of_training_is_in_val_or_test(composed: Path) -> None:
    for read in (identities, grounds):
        train, val, test, seen = (read(composed, split) for split in SPLITS)
        assert not train & val
        assert not train & test
        assert not val & test
        assert len(train) > len(val)
        assert seen <= (train if read is identities else test)


def test_the_sides_of_an_identity_stay_together(stock: Path, tmp_path: Path) -> None:
    labels, cutouts = find_cutouts(stock / "cutouts")
    backgrounds = find_backgrounds(stock / "backgrounds")
    places = set()
    for seed in range(12):
        parts = split_stock(labels, cutouts, backgrounds, options(stock, tmp_path / "out", seed=seed))
        for name, sides in (("lark", 2), ("tuna", 3)):
            holds = {
                split: sum(one.identity == name for group in parts[split].cutouts for one in group) for split in SPLITS
            }
            assert sorted(holds[split] for split in ("train", "val", "test")) == [0, 0, sides]
            assert holds["seen"] == holds["train"]
            places.update(split for split, count in holds.items() if count)
    assert places == set(SPLITS)


def test_every_class_and_every_picture_has_its_split(stock: Path, tmp_path: Path) -> None:
    labels, cutouts = find_cutouts(stock / "cutouts")
    parts = split_stock(labels, cutouts, find_backgrounds(stock / "backgrounds"), options(stock, tmp_path / "out"))
    for index in range(len(labels)):
        groups = [parts[split].cutouts[index] for split in ("train", "val", "test")]
        assert all(groups)
        assert sorted(one.path for group in groups for one in group) == [one.path for one in cutouts[index]]


def test_asked_for_identities_and_backgrounds_are_in_test(stock: Path, tmp_path: Path) -> None:
    asked = ("owl", "tuna", "stop", "pink")
    for seed in range(3):
        some = options(stock, tmp_path / str(seed), seed=seed, test_identities=asked, scenes=(1, 0, 30, 0))
        found = compose(some)
        assert {one.path.stem for one in found["test"].cutouts[1]} >= {"tuna@a", "tuna@b", "tuna@c"}
        assert [path.stem for path in found["test"].backgrounds].count("pink") == 1
        assert identities(tmp_path / str(seed), "test") == {
            one.identity for group in found["test"].cutouts for one in group
        }


@pytest.mark.parametrize("split", SPLITS)
def test_the_voc_loader_reads_every_split_back(composed: Path, split: str) -> None:
    dataset = open_dataset(str(composed), split)
    assert dataset.labels == tuple(CLASSES)
    assert len(dataset) == SCENES[SPLITS.index(split)]
    counts = set()
    for index in range(len(dataset)):
        sample = dataset.load(index)
        assert sample.segmentation is not None
        shown = set(np.unique(sample.segmentation)) - {0, 255}
        assert shown == {number + 1 for number in np.flatnonzero(sample.target)}
        assert (sample.segmentation == 255).any()
        counts.add(len(shown))
        name = dataset.path(index).stem
        for number, label in enumerate(CLASSES):
            lines = (composed / "ImageSets" / "Main" / f"{label}_{split}.txt").read_text().splitlines()
            assert (
                lines[index]
                == f"{name} {'' if sample.target[number] == 0 else ' '}{1 if sample.target[number] else -1}"
            )
    assert counts <= {1, 2, 3}
    assert len(counts) > 1


def test_an_output_that_exists_is_left_alone(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("long work")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "gone"):
        with pytest.raises(UsageError, match="exists"):
            compose(options(stock, tmp_path / name))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "long work"


def test_an_output_that_cannot_be_written_is_told(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EdgexError, match=r"expected to write .*file/scenes, got"):
        compose(options(stock, tmp_path / "file" / "scenes"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scenes": (0, 1, 1, 1)}, "numbers of scenes"),
        ({"scenes": (1, 1, 1)}, "numbers of scenes"),
        ({"scenes": (1, 1, 1, -1)}, "numbers of scenes"),
        ({"val_share": 0.5, "test_share": 0.5}, "shares above 0"),
        ({"test_share": float("nan")}, "shares above 0"),
        ({"seed": -1}, "a seed"),
        ({"workers": -1}, "workers"),
    ],
)
def test_wrong_options_are_refused(stock: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options(stock, tmp_path / "out", **changes)


def test_a_test_identity_that_nobody_shows_is_named(stock: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got dodo;"):
        compose(options(stock, tmp_path / "out", test_identities=("owl", "dodo")))


def test_a_class_with_too_few_identities_is_named(tmp_path: Path) -> None:
    few = write_stock(tmp_path, {**CLASSES, "cat": ("tom@1", "tom@2", "tom@3", "felix")})
    with pytest.raises(DataError, match="the class 'cat', got 2"):
        compose(options(few, tmp_path / "out"))
    write_square(few / "cutouts" / "cat" / "kitty.png")
    with pytest.raises(DataError, match="train on for the class 'cat'"):
        compose(options(few, tmp_path / "out", test_identities=("tom", "felix")))


def test_one_bad_picture_stops_before_anything_is_written(stock: Path, tmp_path: Path) -> None:
    copy = tmp_path / "stock"
    shutil.copytree(stock, copy)
    bad = copy / "cutouts" / "fish" / "cod.png"
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cod\.png"):
        compose(options(copy, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["stock"]


def test_a_worker_that_dies_is_one_sentence_and_leaves_nothing(stock: Path, tmp_path: Path) -> None:
    def kill_one(done: int, total: int) -> None:
        if done == 1:
            victim = multiprocessing.active_children()[0].pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)

    with pytest.raises(EdgexError, match="got one that died"):
        compose(options(stock, tmp_path / "out", workers=2, scenes=(3000, 0, 0, 0)), kill_one)
    assert list(tmp_path.iterdir()) == []


def command(stock: Path, out: Path, *more: str) -> list[str]:
    folders = ["--cutouts", str(stock / "cutouts"), "--backgrounds", str(stock / "backgrounds"), "--out", str(out)]
    return [sys.executable, "-m", "training", "compose", *folders, "--size", "64", *more]


def test_ctrl_c_leaves_no_partial_folder(stock: Path, tmp_path: Path) -> None:
    many = command(stock, tmp_path / "out", "--scenes", "20000", "1", "1", "1", "--workers", "2")
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests started in the background have it ignored
    with subprocess.Popen(many, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard) as run:
        while run.poll() is None and not list(tmp_path.glob(".*/JPEGImages/*")):
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, errors = run.communicate()
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(stock: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))  # bytes a file; a scene's picture is larger

    run = subprocess.run(
        command(stock, tmp_path / "out", "--workers", "1"),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert run.returncode == 1
    assert f"error: expected to write {tmp_path / 'out'}, got File too large; " in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_passes_every_option_on(stock: Path, composed: Path, tmp_path: Path) -> None:
    style = ["--aspect", "1", "1.5", "--scale", "0.3", "0.6", "--rotation", "20", "--lighting", "0", "--void", "2"]
    shares = ["--objects", "0.4,0.35,0.17,0.08", "--empty-share", "0", "--min-visible", "0.6"]
    split = ["--val-share", "0.1", "--test-share", "0.2", "--seed", "7", "--workers", "1"]
    scenes = ["--scenes", *map(str, SCENES)]
    made = subprocess.run(
        command(stock, tmp_path / "out", *style, *shares, *split, *scenes), capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert contents(tmp_path / "out") == contents(composed)
    assert f"written: {tmp_path / 'out'}" in made.stdout
    wrong = subprocess.run(
        command(stock, tmp_path / "new", "--test-identities", "owl, dodo,pink"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].startswith("error: expected test identities that pictures show, got dodo;")
