"""One thing that `edgex doctor` looked at; what its files share to look at a machine without changing it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "gap", "none"]
PIP = f"{sys.executable} -m pip"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : what it is
    state : "ok"; "gap", where something that could be there is not, or is in the way; "none", where nothing is wrong
        and nothing there
    found : what was found
    mend : the command or act that closes the gap, or None
    needed : whether `edgex run` on a file cannot work without it
    """

    name: str
    state: State
    found: str
    mend: str | None = None
    needed: bool = False


def read_text(path: Path) -> str:
    """Return the text of a file, "" where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (10, 3, 0) of "10.3.0-1+cuda12.5"."""
    found = []
    for part in version.replace("-", ".").replace("+", ".").split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)
