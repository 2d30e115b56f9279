"""Files that are not what their names say: links, pipes, devices, odd names, and models that reach for more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import onnx
import pytest

from edgex.errors import SinkError
from edgex.sinks.images import FolderSink, PictureSink
from edgex.sinks.video import VideoSink
from edgex.staged import StagedFile, StagedFolder
from tests.clips import moving_pictures, read_clip, write_clip, write_picture
from tests.commands import assert_refused, edgex
from tests.sinks.shots import listing, shot


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_with_links_pipes_and_folders_named_like_pictures(here: Path, bundle: Path) -> None:
    (here / "in").mkdir()
    write_picture(here / "in/a.png")
    os.mkfifo(here / "in/b.png")
    (here / "in/c.png").symlink_to("c.png")
    (here / "in/d.png").mkdir()
    (here / "in/e.png").symlink_to("nowhere")
    done = edgex("run", bundle, "--source", "in", "--output", "out", "--threads", "1")
    assert done.code == 0
    assert len(done.err.splitlines()) == 4
    assert listing(here / "out") == ["a.png"]


def test_a_file_name_that_is_not_utf8(here: Path, bundle: Path) -> None:
    name = os.fsdecode(b"in/\xff.png")
    (here / "in").mkdir()
    try:
        shutil.copy(write_picture(here / "a.png"), name)
    except OSError:
        pytest.skip("this file system takes no such name")
    done = edgex("run", bundle, "--source", "in", "--records", "r.jsonl", "--output", "out", "--threads", "1")
    assert (done.code, done.err) == (0, "")
    assert json.loads((here / "r.jsonl").read_bytes())["name"] == "\udcff"


def test_a_colon_in_the_name_of_a_video_is_no_protocol(here: Path, bundle: Path) -> None:
    write_clip(here / "12:30.mp4", moving_pictures(3))
    done = edgex("run", bundle, "--source", "12:30.mp4", "--output", "o:1.mp4", "--threads", "1")
    assert (done.code, done.err) == (0, "")
    assert len(read_clip(here / "o:1.mp4")) == 3


def test_the_model_is_not_overwritten(here: Path, bundle: Path) -> None:
    write_picture(here / "a.png")
    before = bundle.read_bytes()
    assert_refused(edgex("run", bundle, "--source", "a.png", "--records", bundle), 2, "the model", "another name")
    assert bundle.read_bytes() == before


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(SinkError, match="device /dev/null; name a regular file"):
        StagedFile(Path("/dev/null"))


def test_products_with_long_and_like_names_do_not_meet(here: Path) -> None:
    sinks = [PictureSink(here / f"{'x' * 80}{end}.png") for end in "ab"]
    for value, sink in enumerate(sinks):
        picture = write_picture(here / "picture.png")
        sink.write(shot(picture=cv2.imread(str(picture)) // 2 * value))
    for sink in sinks:
        sink.close()
    assert [cv2.imread(str(here / f"{'x' * 80}{end}.png")).any() for end in "ab"] == [False, True]


def test_a_link_stays_and_its_file_is_replaced(here: Path) -> None:
    (here / "link.png").symlink_to("real.png")
    sink = PictureSink(here / "link.png")
    sink.write(shot())
    sink.close()
    assert (here / "link.png").is_symlink()
    assert cv2.imread("real.png").shape == (48, 64, 3)


def test_a_folder_that_is_there_is_staged_within_for_it_may_be_another_disk(here: Path) -> None:
    (here / "out").mkdir()
    folder = StagedFolder(here / "out")
    assert [entry.parent.name for entry in here.rglob(".*.part")] == ["out"]
    folder.write_image("a", shot().picture)
    folder.commit()
    assert listing(here) == ["out", "out/a.png"]


def test_pictures_of_a_camera_appear_at_once_and_stay(here: Path) -> None:
    folder = StagedFolder(here / "out", at_once=True)
    folder.write_image("frame-000001", shot().picture)
    assert (here / "out/frame-000001.png").exists()
    folder.discard()
    assert listing(here) == ["out", "out/frame-000001.png"]


def test_what_a_killed_run_left_of_the_same_product_is_removed(here: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [StagedFile(here / "a.png").path, StagedFolder(here / "out")._hidden]
    renamed = [path.rename(path.with_name(path.name.replace(str(os.getpid()), str(gone.pid)))) for path in left]
    other = StagedFile(here / "b.png")  # of this process, which runs
    for opened in (StagedFile(here / "a.png"), StagedFolder(here / "out")):
        opened.discard()
    assert not any(path.exists() for path in renamed)
    assert other.path.exists()


def test_an_error_names_the_product_and_not_its_temporary_file(here: Path) -> None:
    sink = FolderSink(here / "out")
    shutil.rmtree(next(here.glob(".out*")))
    with pytest.raises(SinkError, match=rf"expected to write {here / 'out'}, got"):
        sink.write(shot())


def test_a_time_lapse_of_a_picture_an_hour(here: Path) -> None:
    sink = VideoSink(here / "o.mp4", float(Fraction(1, 3600)))
    for index in range(3):
        sink.write(shot(index, time_ns=index * 3_600_000_000_000))
    sink.close()
    assert len(read_clip(here / "o.mp4")) == 3


def test_weights_hidden_in_a_node_may_not_come_from_elsewhere(here: Path, bundle: Path) -> None:
    model = onnx.load(bundle)
    tensor = onnx.TensorProto(name="k", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["k"], value=tensor)], "branch", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["k"], then_branch=branch, else_branch=branch))
    (here / "bad.onnx").write_bytes(model.SerializeToString())
    write_picture(here / "a.png")
    assert_refused(edgex("run", "bad.onnx", "--source", "a.png"), 1, "/etc/passwd", "do not trust")


def test_metadata_does_not_steer_the_terminal(here: Path, bundle: Path) -> None:
    model = onnx.load(bundle)
    model.metadata_props.add(key="note", value="\x1b[2Jcleared")
    bundle.write_bytes(model.SerializeToString())
    done = edgex("inspect", bundle)
    assert "\x1b" not in done.out
    assert "cleared" in done.out


@pytest.mark.parametrize("count", ["0", "100000"])
def test_threads_that_nobody_has(here: Path, bundle: Path, count: str) -> None:
    write_picture(here / "a.png")
    assert edgex("run", bundle, "--source", "a.png", "--threads", count).code == 2
