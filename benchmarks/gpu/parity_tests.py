"""Runs the tests marked `gpu`, and the kernels under compute-sanitizer, in processes of their own, and counts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu.steps import Context

ROOT = Path(__file__).resolve().parents[2]
MARK = "pytest.mark.gpu"
SANITIZER = "tests/compositors/test_cuda.py"  # has a test for each tool, which is skipped where there is none
TOOLS = ("memcheck", "racecheck")
REFUSED = "Device not supported"  # as compute-sanitizer says it
LEAST_S = 8.0
GRACE_S = 3.0  # of its time, for pytest to tell what it has when it is interrupted
MOST_TOLD = 20
# pytest, interruptible also where this process was started so that interruptions are ignored.
PYTEST = "import signal, sys, pytest; signal.signal(2, signal.default_int_handler); sys.exit(pytest.main())"
TOLD = re.compile(r"^(\S.*?::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)  # a line of `pytest -v`
SUMMARY = re.compile(r"^=+ (?:ERRORS|FAILURES|warnings summary|short test summary)", re.MULTILINE)  # behind all those


def files() -> list[str]:
    """Return the test files that hold a test marked `gpu`; others may import what a GPU machine lacks."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in paths if MARK in path.read_text(encoding="utf-8")]


def run_tests(context: Context, found: dict[str, Any]) -> None:
    """Fill found["tests"], and its failures."""
    run = pytest_run(["-m", "gpu and not slow", *files()], context.folder / "gpu.xml", context.left_s() * 0.6)
    found["tests"] = run
    _judge("tests marked gpu", run, found)
    context.say(f"tests: {run.get('passed', 0)} passed, {run.get('failed', 0)} failed, {run.get('skipped', 0)} skipped")


def run_sanitizer(context: Context, found: dict[str, Any]) -> None:
    """Fill found["sanitizer"], tool -> counts, and its failures."""
    for number, tool in enumerate(TOOLS):
        share = context.left_s() / (len(TOOLS) - number)
        run = pytest_run(["-k", f"sanitizer and {tool}", SANITIZER], context.folder / f"{tool}.xml", share)
        found["sanitizer"][tool] = run
        if any(REFUSED in each for each in run.get("failures", ())):  # some virtual machines let no tool look
            run |= {"failures": [], "failed": 0, "why": REFUSED}
        _judge(tool, run, found)
        context.say(f"{tool}: {run.get('passed', 0)} passed, {run.get('why', '')}")
        context.save(found)


def pytest_run(arguments: list[str], report: Path, seconds: float) -> dict[str, Any]:
    """Run pytest and return passed, failed, skipped, seconds, failures (name and message), and why it was no whole run.

    One that takes too long is interrupted, which leaves its report, and killed soon after; then its lines tell.

    Parameters
    ----------
    arguments : of pytest
    report : file to write its report in XML to
    seconds : that it may take
    """
    if find_spec("pytest") is None:
        return {"why": "pytest is not installed"}
    if seconds < LEAST_S:
        return {"why": "no time was left"}
    command = [sys.executable, "-c", PYTEST, "-v", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command += ["--color=no", f"--junitxml={report}", *arguments]
    began = time.monotonic()
    # Of this process's group, so that whoever ends this step ends it too; its own group would outlive that.
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    why = ""
    try:
        told = child.communicate(timeout=seconds - GRACE_S)[0]
    except subprocess.TimeoutExpired:
        told, why = _ended(child), f"it took longer than its {seconds:.0f} s and was ended"
    said = told.decode(errors="replace")
    run = {"passed": 0, "failed": 0, "skipped": 0, "failures": [], **(counted(report) or lines_counted(said))}
    run["seconds"] = round(time.monotonic() - began, 1)
    if why:  # the report counts the test that was interrupted as passed
        run |= {"passed": lines_counted(said)["passed"], "ended": True}
    if not why and child.returncode not in (0, 1, 2):
        last = said.strip().splitlines()[-1:] or ["no word"]
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else child.returncode
        why = f"pytest ended with {how}: {last[0]}"
        run["broke"] = child.returncode != 5  # 5: there was no such test; 2: a file could not be read
    skips = run.pop("skips", [])
    return {**run, "why": why or "; ".join(skips)}


def _ended(child: subprocess.Popen[bytes]) -> bytes:
    """Interrupt a child, kill it GRACE_S later with all that it started, and return what it said."""
    started = _children(child.pid)
    child.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):  # what was read is kept
        child.communicate(timeout=GRACE_S)
    if child.returncode is None:
        started += _children(child.pid)
        child.kill()
    for pid in reversed(started):  # what is left of those holds the GPU, and maybe the pipe that is read here
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return child.communicate()[0]


def _children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did, where the system tells them."""
    found, pids = list[int](), [pid]
    while pids:
        try:
            more = [int(each) for each in Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()]
        except OSError:
            more = []
        pids, found = [*pids[1:], *more], [*found, *more]
    return found


def lines_counted(said: str) -> dict[str, Any]:
    """Return the counts and the failures of what `pytest -v` said, which lasts however it was ended."""
    told = TOLD.findall(SUMMARY.split(said)[0])
    failed = [f"{name}: its message was lost" for name, how in told if how in ("FAILED", "ERROR")]
    passed, skipped = (sum(how in each for _, how in told) for each in (("PASSED", "XPASS"), ("SKIPPED", "XFAIL")))
    return {"passed": passed, "failed": len(failed), "skipped": skipped, "failures": failed[:MOST_TOLD]}


def counted(report: Path) -> dict[str, Any]:
    """Return the counts, the failures and the distinct reasons of skips of a report in XML."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return {}
    failed, skipped = [], []
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        for each in (*case.findall("failure"), *case.findall("error")):
            if each.get("message") == "collection failure":  # most likely a package that this machine lacks
                last = ([""] + [line for line in (each.text or "").splitlines() if line.startswith("E")])[-1]
                skipped.append(f"{case.get('name')} could not be read: {last.removeprefix('E').strip()}"[:300])
            else:
                failed.append(f"{name}: {' '.join(str(each.get('message')).split())[:500]}")
        skipped += [str(each.get("message")) for each in case.findall("skipped")]
    passed = len(cases) - len(failed) - len(skipped)
    counts = {"passed": passed, "failed": len(failed), "skipped": len(skipped)}
    return {**counts, "failures": failed[:MOST_TOLD], "skips": list(dict.fromkeys(skipped))[:MOST_TOLD]}


def _judge(name: str, run: dict[str, Any], found: dict[str, Any]) -> None:
    """Move what failed into the step's failures; a run that was not possible goes to what is missing."""
    found["failures"] += run.pop("failures", [])
    if run.pop("broke", False):
        found["failures"].append(f"{name}: {run['why']}")
    elif run.pop("ended", False):
        counts = ", ".join(f"{run[each]} {each}" for each in ("passed", "failed", "skipped"))
        found["missing"][f"the rest of {name}"] = f"{run['why']}, after {counts}"
    elif run["why"] and not run.get("passed"):
        found["missing"][name] = run["why"]
