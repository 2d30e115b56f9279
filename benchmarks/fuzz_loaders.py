"""Hand broken bundles, drawn at random, to everything that reads a model, for a minute.

Each call must do its work or raise an EdgexError whose message is one sentence, "expected ..., got ...; do ...", within
ten seconds; it writes to no stream, changes no input and leaves nothing behind where it refuses.
Calls run in a process of their own: if it dies or hangs, the number of the case is known, and another one goes on.

Usage: python -m benchmarks.fuzz_loaders [--seconds 60] [--seed 0] [--first 0] [--cases 1000] [--subject inspect]
       [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_bundles import one_of
from benchmarks.fuzz_cases import SUBJECTS, draw_case, here, prepare
from edgex.build_manifest import sidecar
from edgex.errors import EdgexError

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 10.0  # of one call
START_S = 60.0  # of a process, until its first call
LARGEST_BYTES = 16 << 30  # address space of the process: a call that asks for more is refused by the system


def outcome(subject: Callable[[Path], object], model: Path, said: Path) -> str:
    """Make one call; return "refused" or "answered". Raises AssertionError for anything that must not happen."""
    kept = {path.name: path.read_bytes() for path in model.parent.iterdir() if not path.is_symlink()}
    try:
        subject(model)
        result = "answered"
    except EdgexError as error:
        text, result = str(error), "refused"
        assert len(text.splitlines()) == 1, f"a refusal of several lines: {text!r:.300}"
        assert re.match(r"expected .+; .+", text), f"a refusal that explains little: {text:.300}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)
        own = next((one for one in reversed(place) if "edgex" in one.filename), place[-1])
        where = f"{Path(own.filename).name}:{own.lineno}"
        raise AssertionError(f"expected EdgexError, got {type(error).__name__} at {where}: {error!s:.200}") from error
    printed = said.read_bytes()
    os.truncate(said, 0)
    assert not printed, f"printed {printed[:300]!r}"
    now = {path.name: path.read_bytes() for path in model.parent.iterdir() if not path.is_symlink()}
    if result == "refused":
        assert set(now) == set(kept), f"refused, but left {sorted(set(now) ^ set(kept))}"
    changed = [
        name for name, content in kept.items() if name in (model.name, sidecar(model).name) and now.get(name) != content
    ]
    assert not changed, f"changed {changed}"
    for path in set(now) - set(kept):
        (model.parent / path).unlink()
    return result


def work(folder: Path, seed: int, numbers: range, subjects: list[str]) -> None:
    """Make the calls of each case; beginning and end of each call go into a log that outlives this process."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    warnings.simplefilter("ignore")
    said = folder / "said"
    for stream in (1, 2):  # native code writes to the descriptors
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    with (folder / "log").open("a", buffering=1) as log:
        for number in numbers:
            random = np.random.default_rng([seed, number])
            kinds, model = draw_case(random, folder, folder / f"case-{number}")
            space = one_of(random, (0, 100, 1500, 5000)) if random.random() < 0.1 else resource.RLIM_INFINITY
            bad = False
            for name in subjects:
                print(json.dumps([number, name, kinds]), file=log)
                try:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (space, resource.RLIM_INFINITY))  # a full disk
                    try:
                        result, text = outcome(SUBJECTS[name], model, said), ""
                    finally:
                        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
                except AssertionError as error:
                    result, text, bad = "failed", str(error), True
                print(json.dumps([number, name, kinds, result, text]), file=log)
            if not bad:
                shutil.rmtree(model.parent)


def supervise(seed: int, seconds: float, numbers: range, subjects: list[str], keep: Path | None = None) -> int:
    """Run `work`, in a new process where one dies or hangs; print a summary, and return the exit code."""
    counts: Counter[tuple[str, str]] = Counter()
    findings: dict[str, list[tuple[int, str, list[str]]]] = {}
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        while numbers and time.monotonic() < end:
            (folder / "log").write_text("")
            fate = fate_of(folder, seed, numbers, subjects, end)
            calls = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
            for _, subject, kinds, result, _ in (call for call in calls if len(call) == 5):
                for kind in (*kinds, "all"):
                    counts[f"{subject}: {kind}" if kind == "all" else kind, result] += 1
            failed = [(call[4], call[:3]) for call in calls if call[3:4] == ["failed"]]
            last: list[Any] = calls[-1][:3] if calls else [numbers[0], "the first call", []]
            if fate:
                failed.append((f"{fate}: {_tail(folder / 'said')}", last))
                counts[f"{last[1]}: all", "failed"] += 1
            for text, (number, subject, kinds) in failed:
                alike = re.sub(r"'.*?'|\".*?\"|\S*/\S*|[\d.e+-]*\d", "N", text)[:200]
                findings.setdefault(f"{subject}: {alike}", []).append((number, text, kinds))
                if keep is not None and not (keep / f"case-{number}").exists():
                    shutil.copytree(folder / f"case-{number}", keep / f"case-{number}", symlinks=True)
            numbers = range(last[0] + 1, numbers.stop) if calls or not fate else range(0)
    return report(seed, counts, findings)


def fate_of(folder: Path, seed: int, numbers: range, subjects: list[str], end: float) -> str:
    """Run `work` until it is over, or the time is; return how it failed, "" where it did not."""
    command = [sys.executable, "-m", "benchmarks.fuzz_loaders", "--work", str(folder), "--seed", str(seed)]
    command += ["--first", str(numbers.start), "--cases", str(len(numbers))]
    command += [word for name in subjects for word in ("--subject", name)]
    with (folder / "said").open("wb") as said, subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said) as process:
        length, since = 0, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.05)
                grown = (folder / "log").stat().st_size
                now = time.monotonic()
                length, since = (grown, now) if grown != length else (length, since)
                if now - since > (LIMIT_S if length else START_S):
                    return f"did not come back within {now - since:.0f} s"
                if now > end:
                    return ""
        finally:
            process.kill()
    if process.returncode < 0:
        return f"died of {signal.Signals(-process.returncode).name}"
    return f"ended with exit code {process.returncode}" if process.returncode else ""


def report(seed: int, counts: Counter[tuple[str, str]], findings: dict[str, list[tuple[int, str, list[str]]]]) -> int:
    labels = sorted({label for label, _ in counts}, key=lambda label: (":" in label, label))
    for label in labels:
        print(f"{label:20}", *(f"{counts[label, result]:7} {result}" for result in ("answered", "refused", "failed")))
    for text, found in sorted(findings.items(), key=lambda item: -len(item[1])):
        number, example, kinds = min(found, key=lambda one: len(one[2]))
        print(f"{len(found)} times, {text}\n    as in case {number}, {', '.join(kinds)}: {example}")
    total = sum(count for (label, _), count in counts.items() if ":" in label)
    failed = sum(map(len, findings.values()))
    print(f"seed {seed}, {total} calls, {failed} failed")
    return int(bool(failed) or total == 0)


def _tail(said: Path) -> str:
    return " ".join(said.read_text(errors="replace").split())[-300:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many at most")
    parser.add_argument("--subject", choices=SUBJECTS, action="append", help="default: all that this machine has")
    parser.add_argument("--keep", type=Path, help="folder for the files of cases that fail")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.cases)
    subjects = options.subject or here()
    if options.work is None:
        return supervise(options.seed, options.seconds, numbers, subjects, options.keep)
    work(options.work, options.seed, numbers, subjects)
    return 0


if __name__ == "__main__":
    sys.exit(main())
