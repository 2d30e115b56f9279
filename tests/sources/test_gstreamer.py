"""GStreamer pipelines: real ones, which break, hang or are none, and a program that dies with us."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from edgex.errors import SourceError
from edgex.sources import LiveOptions, open_source
from edgex.sources.gstreamer import pipeline_words
from edgex.sources.piped import PipedProgram
from tests.sources.servers import wait_until

needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="no gst-launch-1.0; run: scripts/packages"
)
QUICK = LiveOptions(stall_s=1.0, longest_pause_s=0.2)


def launched() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "gst-launch" in each.name()]


@needs_gstreamer
@pytest.mark.parametrize("size", ["320x240", "322x242", "325x243", "1x1", "7x6"])
def test_pictures_of_any_size_come_in_their_colours(size: str) -> None:
    width, height = map(int, size.split("x"))
    colours = "videotestsrc pattern=solid-color foreground-color=0xffe02040"  # alpha, red, green, blue
    source = open_source(
        f"{colours} ! video/x-raw,width={width},height={height},framerate=30/1 ! appsink drop=1", QUICK
    )
    frames = list(itertools.islice(source, 5))
    source.close()
    assert {frame.image.shape for frame in frames} == {(height, width, 3)}
    assert np.abs(frames[-1].image.astype(int) - (0x40, 0x20, 0xE0)).max() < 8
    assert (source.live, source.fps) == (True, 30.0)
    assert launched() == []


@needs_gstreamer
def test_large_pictures_have_the_same_colours() -> None:
    colours = "videotestsrc pattern=solid-color foreground-color=0xffe02040"
    source = open_source(f"{colours} ! video/x-raw,width=1280,height=720,framerate=30/1", QUICK)
    assert np.abs(next(iter(source)).image.astype(int) - (0x40, 0x20, 0xE0)).max() < 8
    source.close()


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "match"),
    [
        ("videotestsrc ! nosuchelement", 'no element "nosuchelement"'),
        ("filesrc location=nothing.mp4 ! decodebin", "Resource not found"),
        ("audiotestsrc ! audioconvert", "could not link"),
        ("videotestsrc num-buffers=0 ! identity", r"its end \(exit code 0\)"),
        ("videotestsrc ! 'open", "close its quotes"),
    ],
)
def test_a_pipeline_that_does_not_run_is_told_with_gstreamer_s_own_words(pipeline: str, match: str) -> None:
    with pytest.raises(SourceError, match=match):
        open_source(pipeline, QUICK)
    assert launched() == []


@needs_gstreamer
def test_a_pipeline_that_hangs_is_noticed_and_one_that_is_killed_is_started_again() -> None:
    source = open_source("videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1", QUICK)
    frames = iter(source)
    next(frames)
    (program,) = launched()
    program.suspend()
    wait_until(lambda: "got none in time" in source.state.detail or "(none in time)" in source.state.detail, "the hang")
    wait_until(lambda: source.state.connected, "another program")
    (program,) = launched()
    program.kill()
    wait_until(lambda: source.state.reconnects == 2, "a third program")
    next(frames)
    source.close()
    assert launched() == []


@needs_gstreamer
def test_the_program_dies_when_we_are_killed() -> None:
    code = (
        "from edgex.sources import open_source\n"
        "source = open_source('videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=1/1')\n"
        "next(iter(source)); print('there', flush=True); import time; time.sleep(60)"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert ours.stdout is not None
    assert ours.stdout.readline() == "there\n"
    (program,) = psutil.Process(ours.pid).children(recursive=True)
    ours.kill()
    ours.communicate()
    wait_until(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE, "the program to die")


def test_words_are_split_as_a_shell_does_and_nothing_is_run() -> None:
    text = 'a name="b c" ! video/x-raw(memory:NVMM),width=(int)3 ! appsink drop=1 name=$(touch x)'
    assert pipeline_words(text) == ["a", "name=b c", "!", "video/x-raw(memory:NVMM),width=(int)3"]
    assert pipeline_words("a ! b !") == ["a", "!", "b"]
    assert pipeline_words("a ! appsinks") == ["a", "!", "appsinks"]


def run_python(code: str) -> PipedProgram:
    return PipedProgram(lambda into: [sys.executable, "-c", f"import os, sys, time\nout = {into}\n{code}"])


def test_a_program_s_error_stream_neither_blocks_it_nor_grows() -> None:
    program = run_python("os.write(out, b'a'); sys.stderr.write('x' * 1000_000 + chr(10)); os.write(out, b'b')")
    assert program.exactly(2, time.monotonic() + 30).tobytes() == b"ab"
    program.close()


def test_a_program_that_says_nothing_is_waited_for_in_bounded_time() -> None:
    program = run_python("sys.stderr.close(); os.close(2); time.sleep(60)")
    with pytest.raises(SourceError, match="none in time"):
        program.exactly(1, time.monotonic() + 0.5)
    program.close()


def test_a_line_that_does_not_end_is_given_up() -> None:
    program = run_python("os.write(out, b'x' * 10_000)")
    with pytest.raises(SourceError, match="a line before each picture"):
        program.line(100, time.monotonic() + 30)
    program.close()


def test_a_program_that_cannot_be_interrupted_is_killed() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.write(out, b'a'); time.sleep(60)"
    program = run_python(code)
    program.exactly(1, time.monotonic() + 30)
    children = psutil.Process().children(recursive=True)
    program.close()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert threading.active_count() >= 1


def test_a_file_whose_name_looks_like_a_pipeline_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hey ! you.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")))
        container.mux(stream.encode(None))
    assert len(list(open_source(path))) == 1
