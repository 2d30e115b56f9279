"""Pictures, masks, records and contact sheets: what is in them, and that they appear whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgex.errors import SinkError
from edgex.sinks.contact_sheet import ContactSheetSink
from edgex.sinks.images import FolderSink, PictureSink
from edgex.sinks.masks import MaskSink
from edgex.sinks.null import NullSink
from edgex.sinks.records import RecordSink
from edgex.staged import legal_name
from edgex.types import Shot
from tests.commands import ROOT
from tests.sinks.shots import listing, shot


def read(path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_one_picture(tmp_path: Path) -> None:
    sink = PictureSink(tmp_path / "ä.png")
    sink.write(shot(5))
    assert not (tmp_path / "ä.png").exists()
    sink.close()
    assert listing(tmp_path) == ["ä.png"]
    np.testing.assert_array_equal(read(tmp_path / "ä.png"), shot(5).picture)


def test_one_picture_is_one(tmp_path: Path) -> None:
    sink = PictureSink(tmp_path / "a.png")
    sink.write(shot(0))
    with pytest.raises(SinkError, match=r"folder or a \.mp4"):
        sink.write(shot(1))
    sink.abort()
    assert listing(tmp_path) == []


def test_a_folder_of_pictures_keeps_what_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/other.txt").touch()
    (tmp_path / "out/a.png").write_bytes(b"older")
    sink = FolderSink(tmp_path / "out")
    for index, name in enumerate(("a", "b", "a", "A")):
        sink.write(shot(index, name=name))
    assert (tmp_path / "out/a.png").read_bytes() == b"older"
    sink.close()
    assert listing(tmp_path) == ["out", "out/A-3.png", "out/a-2.png", "out/a.png", "out/b.png", "out/other.txt"]
    assert [read(tmp_path / f"out/{name}.png").max() for name in ("a", "b", "a-2", "A-3")] == [40, 41, 42, 43]


def test_masks_are_one_png_per_frame_and_class(tmp_path: Path) -> None:
    sink = MaskSink(tmp_path / "m")
    for index, name in enumerate(("a", "b", "a")):
        sink.write(shot(index, name=name, labels=("red", "blue")))
    sink.write(shot(3, name="nothing", labels=()))
    sink.close()
    names = [f"{name}.png" for name in ("a_blue", "a_blue-2", "a_red", "a_red-2", "b_blue", "b_red")]
    assert listing(tmp_path / "m") == sorted(names)
    mask = read(tmp_path / "m/a_blue.png")
    assert (mask.dtype, mask.shape, mask.min(), mask.max()) == (np.uint8, (48, 64), 20, 20)


def test_masks_of_classes_with_awkward_names_never_overwrite_one_another(tmp_path: Path) -> None:
    labels = ("a/b", "a b", "../up", "..", "犬", "x" * 300, "x" * 301, "A_B")
    sink = MaskSink(tmp_path / "m")
    sink.write(shot(labels=labels, name="n"))
    sink.close()
    assert len(listing(tmp_path / "m")) == len(labels)
    assert listing(tmp_path) == sorted(["m", *(f"m/{name}" for name in listing(tmp_path / "m"))])
    assert sorted(read(path).max() for path in (tmp_path / "m").iterdir()) == [10 * (i + 1) for i in range(len(labels))]


def test_masks_that_are_missing_are_told(tmp_path: Path) -> None:
    sink = MaskSink(tmp_path / "m")
    with pytest.raises(SinkError, match="expected 2 masks"):
        sink.write(shot(masks=None))
    sink.abort()
    assert listing(tmp_path) == []


def records(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_are_json_lines_that_can_be_followed(tmp_path: Path) -> None:
    sink = RecordSink(tmp_path / "r.jsonl")
    expected = []
    for index, name in enumerate(("ä", "b\nc")):
        sink.write(shot(index, name=name))
        expected.append({"index": index, "name": name})
        assert records(tmp_path / "r.jsonl") == expected
    sink.close()
    assert records(tmp_path / "r.jsonl") == expected


def test_older_records_stay_until_there_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("older\n")
    RecordSink(tmp_path / "r.jsonl").abort()
    assert (tmp_path / "r.jsonl").read_text() == "older\n"
    sink = RecordSink(tmp_path / "r.jsonl")
    sink.write(shot(0, name="a"))
    sink.abort()
    assert records(tmp_path / "r.jsonl") == [{"index": 0, "name": "a"}]


def test_records_of_no_frame_are_an_empty_file_or_none(tmp_path: Path) -> None:
    RecordSink(tmp_path / "r.jsonl").abort()
    assert listing(tmp_path) == []
    RecordSink(tmp_path / "r.jsonl").close()
    assert (tmp_path / "r.jsonl").read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_whole_records(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from edgex.errors import SinkError
from edgex.sinks.records import RecordSink
from tests.sinks.shots import shot
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # what the disk still holds: no whole number of lines
sink = RecordSink(Path(sys.argv[1]))
try:
    for index in range(1000):
        sink.write(shot(index, name="a" * 50))
except SinkError as error:
    print(error)
sink.abort()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "r.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "expected to write" in done.stdout
    assert 5 < len(records(tmp_path / "r.jsonl")) < 20


@pytest.mark.parametrize("count", [1, 3, 12, 24, 25, 26, 100, 777])
def test_a_contact_sheet_shows_evenly_spaced_frames(tmp_path: Path, count: int) -> None:
    sink = ContactSheetSink(tmp_path / "c.png", columns=4, rows=3, width_px=16)
    for index in range(count):
        sink.write(shot(index, np.full((16, 16, 3), (index % 251, index // 251, 7), np.uint8)))
    assert len(sink._thumbnails) <= 25
    sink.close()
    sheet = read(tmp_path / "c.png")
    columns, places = min(4, count), min(12, count)
    rows = -(-places // columns)
    assert sheet.shape == (rows * 20 + 4, columns * 20 + 4, 3)
    cells = [sheet[4 + 20 * (i // columns) + 8, 4 + 20 * (i % columns) + 8].astype(int) for i in range(places)]
    shown = [int(cell[0] + 251 * cell[1]) for cell in cells]
    assert [cell[2] for cell in cells] == [7] * places
    assert shown[0] == 0
    assert shown[-1] >= (count - 1) * 0.8
    gaps = np.diff(shown)
    assert count <= 12 or gaps.max() <= 2 * gaps.min()


def test_a_contact_sheet_keeps_the_shape_of_frames(tmp_path: Path) -> None:
    sink = ContactSheetSink(tmp_path / "c.jpg", columns=2, width_px=40)
    for index, size in enumerate(((400, 100), (100, 400), (1, 1), (3000, 1))):
        sink.write(shot(index, np.full((*size, 3), 200, np.uint8)))
    sink.close()
    assert read(tmp_path / "c.jpg").shape == (2 * 44 + 4, 2 * 44 + 4, 3)


@pytest.mark.parametrize(
    "sink",
    [
        lambda folder: PictureSink(folder / "a.png"),
        lambda folder: FolderSink(folder / "f"),
        lambda folder: MaskSink(folder / "m"),
        lambda folder: ContactSheetSink(folder / "c.png"),
        lambda folder: NullSink(),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_giving_up_leaves_nothing(tmp_path: Path, sink, written: bool) -> None:
    opened = sink(tmp_path)
    if written:
        opened.write(shot())
    opened.abort()
    opened.abort()
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", ["a.png", "f", "m", "r.jsonl", "c.png"])
def test_a_place_that_vanishes_is_told(tmp_path: Path, name: str) -> None:
    kinds = {"a.png": PictureSink, "f": FolderSink, "m": MaskSink, "r.jsonl": RecordSink, "c.png": ContactSheetSink}
    folder = tmp_path / "gone"
    folder.mkdir()
    sink = kinds[name](folder / name)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(SinkError, match="expected to write"):
        keep(sink, shot())
    sink.abort()


def keep(sink, finished: Shot) -> None:
    sink.write(finished)
    sink.close()


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("dog", "dog"),
        ("a/b\\c", "a_b_c"),
        ("..", "_"),
        ("", "_"),
        ("tree frog", "tree_frog"),
        ("犬", "犬"),
        (".x", "x"),
    ],
)
def test_names_become_legal(name: str, legal: str) -> None:
    assert legal_name(name) == legal
    assert len(legal_name(name * 300 + "x").encode()) <= 200
