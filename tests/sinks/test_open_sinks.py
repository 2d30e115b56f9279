"""Opening sinks: the kind follows the name, and what cannot be written is told before any frame is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgex.errors import EdgexError, SinkError, UsageError
from edgex.sinks import open_sinks
from edgex.sinks.images import FolderSink, PictureSink
from edgex.sinks.video import VideoSink
from tests.sinks.shots import listing

ONE_PICTURE = {"fps": None, "frame_count": 1}
VIDEO = {"fps": 25.0, "frame_count": 100}


@pytest.mark.parametrize(
    ("name", "source", "kind"),
    [
        ("a.mp4", VIDEO, VideoSink),
        ("a.MKV", ONE_PICTURE, VideoSink),
        ("a.png", ONE_PICTURE, PictureSink),
        ("a.JPG", ONE_PICTURE, PictureSink),
        ("folder", VIDEO, FolderSink),
        ("there.v2", VIDEO, FolderSink),
    ],
)
def test_the_kind_follows_the_name(tmp_path: Path, name: str, source: dict, kind: type) -> None:
    (tmp_path / "there.v2").mkdir()
    (sink,) = open_sinks(tmp_path / name, **source)
    assert type(sink) is kind
    sink.abort()
    assert listing(tmp_path) == ["there.v2"]


def test_nothing_asked_for_opens_nothing() -> None:
    assert open_sinks() == []


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"output": "none/a.mp4"}, "mkdir -p"),
        ({"masks": "none/below/m"}, "mkdir -p"),
        ({"output": "a.xyz"}, "ending in"),
        ({"output": "a.png"}, "folder for more than one frame"),
        ({"output": "file"}, "got the file"),
        ({"masks": "file"}, "got the file"),
        ({"records": "there"}, "got the folder"),
        ({"contact_sheet": "there"}, "ending in"),
        ({"contact_sheet": "c.mp4"}, "ending in"),
        ({"output": "file/a.mp4"}, "choose another folder"),
        ({"output": "x" * 300 + ".mp4"}, "expected to write"),
    ],
)
def test_what_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path, asked: dict, match: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    before = listing(tmp_path)
    others = {"records": tmp_path / "r.jsonl"} if "records" not in asked else {"masks": tmp_path / "m"}
    with pytest.raises(SinkError, match=match):
        open_sinks(**others, **{option: tmp_path / name for option, name in asked.items()}, **VIDEO)
    assert listing(tmp_path) == before


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no place here where nobody may write")
@pytest.mark.parametrize("asked", [{"output": "a.mp4"}, {"output": "f"}, {"masks": "m"}, {"records": "r"}])
def test_a_place_where_nobody_may_write_is_told(asked: dict) -> None:
    with pytest.raises(SinkError, match="choose a place where you may write"):
        open_sinks(**{option: Path("/proc") / name for option, name in asked.items()}, **VIDEO)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"output": "clip.mp4"}, "differ from the source"),
        ({"output": "x/../clip.mp4"}, "differ from the source"),
        ({"records": "link.mp4"}, "differ from the source"),
        ({"output": "."}, "differ from the source"),
        ({"masks": "."}, "differ from the source"),
        ({"output": "o", "masks": "o"}, "a name of its own"),
        ({"output": "o.png", "contact_sheet": "o.png"}, "a name of its own"),
    ],
)
def test_neither_the_source_nor_one_another_is_overwritten(tmp_path: Path, asked: dict, match: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"source")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    (tmp_path / "x").mkdir()
    before = listing(tmp_path)
    paths = {option: tmp_path / name for option, name in asked.items()}
    with pytest.raises(UsageError, match=match):
        open_sinks(**paths, **ONE_PICTURE, inputs=[tmp_path / "clip.mp4"])
    assert listing(tmp_path) == before


def test_a_relative_name_is_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        sinks = open_sinks(Path("a.mp4"), Path("m"), Path("r.jsonl"), Path("c.png"), **VIDEO)
    except EdgexError as error:
        pytest.fail(str(error))
    for sink in sinks:
        sink.abort()
    assert listing(tmp_path) == []
