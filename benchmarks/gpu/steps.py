"""What a step of benchmarks/gpu_report.py is, what it is given, and what it may raise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Missing(Exception):
    """A part that this machine lacks, in one sentence: what and why. The step is told as missing, not as failed."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a step works with.

    Attributes
    ----------
    dry_run : without a GPU: build everything, run the arithmetic where the CPU can, at a tiny size; take no figure
    rounds : of timing, where a step has rounds
    folder : scratch of this step, empty at first and gone after the run
    until_s : of `time.monotonic`: when the step ought to have ended; soon after, its process is killed
    say : print a line of progress
    save : keep what was found so far, JSON types; what a step returns takes its place, and a killed step leaves it
    """

    dry_run: bool
    rounds: int
    folder: Path
    until_s: float
    say: Callable[[str], None]
    save: Callable[[dict[str, Any]], None]

    def left_s(self) -> float:
        """Return the seconds until the step ought to have ended, negative after that."""
        return self.until_s - time.monotonic()


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the report, which runs in a process of its own, since an error of CUDA ends all work of its process.

    Attributes
    ----------
    name : in the JSON, on the command line and of its place in docs/gpu.md, of the letters a to z
    budget_s : its share of a run, in seconds of a run of eight minutes
    module : with step(context) -> JSON types, of which "failures" are sentences on checks that failed and "aims" what
        was aimed at; page(found) -> Markdown; and, where it has plots, draw(found, folder) -> file names and captions
    """

    name: str
    budget_s: float
    module: str

    def run(self, context: Context) -> dict[str, Any]:
        """Do the work. Raises Missing, or whatever went wrong."""
        if find_spec(self.module) is None:
            raise Missing(f"{self.module} is not there")
        found: dict[str, Any] = import_module(self.module).step(context)
        return found

    def page(self, found: dict[str, Any]) -> str:
        """Return what was found as Markdown."""
        text: str = import_module(self.module).page(found)
        return text

    def draw(self, found: dict[str, Any], folder: Path) -> dict[str, str]:
        """Draw the plots into a folder; return their file names and captions."""
        made: dict[str, str] = getattr(import_module(self.module), "draw", lambda *_: {})(found, folder)
        return made
