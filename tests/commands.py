"""The command line, run in this process, and what a good refusal looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def edgex(*words: str | Path) -> Outcome:
    """Run one command in this process."""
    from edgex.cli import app

    done = CliRunner().invoke(app, [str(word) for word in words])
    return Outcome(done.exit_code, done.stdout, done.stderr)


def start(*words: str | Path, **options: object) -> subprocess.Popen[str]:
    """Start one command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edgex", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def assert_refused(outcome: Outcome, code: int, *words: str) -> None:
    """Assert one sentence with these words on the error stream, the exit code, and nothing else."""
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("edgex: "), lines[0]
    assert "Traceback" not in lines[0]
    assert "unexpected" not in lines[0]
    assert outcome.out == ""
    assert outcome.code == code, outcome
    for word in words:
        assert word in lines[0], lines[0]
