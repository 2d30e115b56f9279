"""How a run ends from outside, at any moment: by SIGINT, SIGTERM, SIGINT twice, SIGKILL, and by a sink that fails."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clips import read_clip
from tests.commands import ROOT, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
ENDLESS = "synthetic:320x240"
Running = subprocess.Popen[str]


def heed_signals(hangup: signal.Handlers = signal.SIG_DFL) -> None:
    """Undo what a background job or nohup has its children ignore."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGHUP, hangup)


def start_writing(folder: Path, bundle: Path, *words: str, heed: Callable[[], None] = heed_signals) -> Running:
    """Start a run without end that writes a video and records, and wait for its first record."""
    where = ("--output", folder / "o.mp4", "--records", folder / "r.jsonl")
    running = start("run", bundle, "--source", ENDLESS, "--threads", "1", *where, *words, preexec_fn=heed)
    while not (folder / "r.jsonl").exists() or not (folder / "r.jsonl").stat().st_size:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    return running


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "r.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("seed", range(2))
def test_a_stop_at_any_moment_leaves_a_video_that_plays(
    tmp_path: Path, bundle: Path, number: signal.Signals, seed: int
) -> None:
    running = start_writing(tmp_path, bundle, "--json")
    time.sleep(random.Random(seed).uniform(0, 1))
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary["interrupted"] is True
    assert len(read_clip(tmp_path / "o.mp4")) == summary["frames"] == len(records(tmp_path))


def test_a_terminal_that_goes_away_ends_no_run_under_nohup(tmp_path: Path, bundle: Path) -> None:
    running = start_writing(tmp_path, bundle, heed=lambda: heed_signals(signal.SIG_IGN))
    running.send_signal(signal.SIGHUP)
    size = (tmp_path / "r.jsonl").stat().st_size
    while (tmp_path / "r.jsonl").stat().st_size < size + 10_000:  # it goes on, by more than what was at work
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_moment_leaves_records_that_parse(tmp_path: Path, bundle: Path, seed: int) -> None:
    running = start_writing(tmp_path, bundle)
    time.sleep(random.Random(seed).uniform(0, 1))
    running.kill()
    running.communicate(timeout=60)
    *whole, last = (tmp_path / "r.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["index"] for line in whole] == list(range(len(whole)))
    assert last == b""  # a line is written at once


@pytest.mark.parametrize("words", [("inspect", "--json"), ("run", "--source", "synthetic:64x48", "--limit", "2")])
def test_output_that_goes_nowhere_is_said_in_a_sentence(bundle: Path, words: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a device that is always full")
    with open("/dev/full", "w") as full:
        running = start(words[0], bundle, *words[1:], stdout=full)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.splitlines()[-1].startswith("edgex: expected to print")
    assert "Traceback" not in err


def test_whoever_cannot_wait_ends_it_by_force(tmp_path: Path, bundle: Path) -> None:
    where = ("--output", tmp_path / "pictures", "--records", tmp_path / "r.jsonl")  # a PNG so large takes a second
    running = start("run", bundle, "--source", "synthetic:4000x3000", "--threads", "1", *where, preexec_fn=heed_signals)
    while not list(tmp_path.glob(".pictures*/*.png")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    for _ in range(2):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "edgex: interrupted\n")
    assert not (tmp_path / "pictures").exists()
    records(tmp_path)


@pytest.mark.parametrize("apart_s", [0.005, 0.02])
def test_force_waits_for_the_stage_that_writes(tmp_path: Path, bundle: Path, apart_s: float) -> None:
    output = tmp_path / "v.mp4"
    running = start("run", bundle, "--source", "synthetic:1280x720", "--output", output, preexec_fn=heed_signals)
    while not list(tmp_path.glob(".v*")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    time.sleep(0.5)
    for _ in range(3):
        running.send_signal(signal.SIGINT)
        time.sleep(apart_s)
    _, err = running.communicate(timeout=60)
    assert running.returncode in (0, 130), err  # done before the second came, or cut short; no crash in native code
    assert "Traceback" not in err


def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_rest(tmp_path: Path, bundle: Path) -> None:
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); from edgex.cli import main; main()"
    )
    where = ("--output", tmp_path / "pictures", "--records", tmp_path / "r.jsonl", "--limit", "5000")
    command = [sys.executable, "-c", program, "run", bundle, "--source", "synthetic:64x48", *where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("edgex: expected to write")
    assert len(done.stderr.splitlines()) == 1
    indices = [record["index"] for record in records(tmp_path)]
    assert indices == list(range(len(indices)))
    assert len(indices) > 10
    assert 0 <= len(list((tmp_path / "pictures").iterdir())) - len(indices) <= 1  # finished, when the records were full
