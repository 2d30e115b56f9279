"""What `bench` is asked for, checked before anything is opened."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from edgex.engines.choose import require_backend
from edgex.engines.network import require_threads
from edgex.errors import UsageError
from edgex.input_options import InputOptions
from edgex.report import Mode
from edgex.report.parts import Policy
from edgex.sources.address import masked

LEAST_S = 3.0
FPS = 30.0
MOST_FPS = 10_000.0
_PATH = re.compile(r"(?<![\w.:/~@*\]-])(?:file://)?/(?!(?:dev|proc|sys)/)[^\s'\"<>|,;:()]+")
_MOST_STREAMS, _MOST_BATCH, _LONGEST_S = 256, 4096, 86_400.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured, and how.

    Attributes
    ----------
    models : model files; none is the shipped bundle
    mode : "engine", "pipeline" or "paced"
    backends : each model is measured on each
    batches : pictures of one inference, in engine mode; none is each model's own, or 1
    threads : CPU threads of each engine; None is the backend's own choice, or the cores shared out over the streams
    streams : engines that work at once, in engine mode
    source : where pictures come from, as `edgex run` takes it; None is the shipped clip
    fps, policy : of paced mode; None is 30 and "queue"
    slo_ms : in paced mode, look for the highest rate whose 99th percentile stays within it
    seconds : measure each at least so long; never less than 3
    input : what the models do not say of their input
    trust : open engines that are not as their sidecars say
    """

    models: tuple[Path, ...] = ()
    mode: Mode = "engine"
    backends: tuple[str, ...] = ("auto",)
    batches: tuple[int, ...] = ()
    threads: int | None = None
    streams: int = 1
    source: str | None = None
    fps: float | None = None
    policy: Policy | None = None
    slo_ms: float | None = None
    seconds: float = LEAST_S
    input: InputOptions = field(default_factory=InputOptions)
    trust: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"expected a mode of {', '.join(get_args(Mode))}, got {self.mode!r}; choose one")
        if not self.backends:
            raise UsageError("expected a backend, got none; name one, or leave it out")
        for backend in self.backends:
            require_backend(backend)
        require_threads(self.threads)
        if not 1 <= self.streams <= _MOST_STREAMS:
            raise UsageError(f"expected 1 to {_MOST_STREAMS} streams, got {self.streams}; give one a core")
        odd = [batch for batch in self.batches if not 1 <= batch <= _MOST_BATCH]
        if odd:
            raise UsageError(f"expected batches of 1 to {_MOST_BATCH}, got {odd[0]}; choose one in between")
        if not 0 < self.seconds <= _LONGEST_S:
            raise UsageError(f"expected more than 0 s to measure, and a day at most, got {self.seconds}; choose a time")
        if self.fps is not None and not 0.1 <= self.fps <= MOST_FPS:
            raise UsageError(f"expected 0.1 to {MOST_FPS:.0f} frames per second, got {self.fps}; choose a rate")
        if self.policy is not None and self.policy not in get_args(Policy):
            raise UsageError(f"expected a policy of {' or '.join(get_args(Policy))}, got {self.policy!r}; choose one")
        if self.slo_ms is not None and not 0 < self.slo_ms < math.inf:
            raise UsageError(f"expected a limit of more than 0 ms, got {self.slo_ms}; choose one")
        self._check_mode()

    def _check_mode(self) -> None:
        """Raise UsageError where something is asked for that the mode does not have."""
        paced = {"--fps": self.fps, "--policy": self.policy, "--slo-ms": self.slo_ms}
        engine = {"--batch": self.batches or None, "--streams": None if self.streams == 1 else self.streams}
        for mode, asked in (("paced", paced), ("engine", engine)):
            odd = [option for option, value in asked.items() if value is not None]
            if odd and self.mode != mode:
                raise UsageError(
                    f"expected {', '.join(odd)} with --mode {mode} only, got --mode {self.mode}; leave it out"
                )

    @property
    def source_name(self) -> str | None:
        """The source as a report may name it: of paths the file name, of addresses no password."""
        return None if self.source is None else _shown(self.source)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON types, for the report; of paths the file name, of addresses no password."""
        return {
            "models": [path.name for path in self.models],
            "mode": self.mode,
            "backends": list(self.backends),
            "batches": list(self.batches),
            "threads": self.threads,
            "streams": self.streams,
            "source": self.source_name,
            "fps": self.fps,
            "policy": self.policy,
            "slo_ms": self.slo_ms,
            "seconds": self.seconds,
        }


def _shown(source: str) -> str:
    named = "://" in source or " ! " in source
    return without_folders(masked(source)) if named else Path(source).name or source


def without_folders(text: str, paths: Iterable[Path] = ()) -> str:
    """Return a sentence in which every file stands by its name: a report tells nothing of its author's folders.

    Parameters
    ----------
    text : any, with absolute paths in it; those below /dev, /proc and /sys stay, and so do addresses
    paths : that may be in it, also relative ones and such with spaces
    """
    for path in paths:
        for each in dict.fromkeys((path.resolve(), path.absolute(), path)):
            if each.parent.name:
                text = re.sub(rf"(?<![\w./-]){re.escape(str(each.parent))}/", "", text)
    return _PATH.sub(lambda found: Path(found[0]).name, text)
