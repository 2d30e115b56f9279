"""The report of `edgex bench`: every figure with the raw samples it comes from, as one JSON object of a known schema.

A field that is not known is None, or empty; none is guessed. docs/bench-schema.md says the same for readers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from edgex.report.fields import ReportError, check_fields, decode, refuse
from edgex.report.parts import (
    Counter,
    Distribution,
    Outcome,
    Paced,
    Policy,
    Ratio,
    Series,
    Slo,
    Telemetry,
    Trial,
    Warmup,
)

__all__ = [
    "BenchReport",
    "Counter",
    "Distribution",
    "Mode",
    "Outcome",
    "Paced",
    "Policy",
    "Ratio",
    "ReportError",
    "Run",
    "Series",
    "Slo",
    "Telemetry",
    "Trial",
    "Warmup",
    "read_report",
]

SCHEMA = "edgex.bench/1"
LARGEST_BYTES = 512 * 2**20
_TAKE = "take one that edgex bench wrote"
Mode = Literal["engine", "pipeline", "paced"]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One model on one backend with one set of options.

    Attributes
    ----------
    name : unique in the report, such as "shipped.onnx · openvino · batch 1"
    mode : what was measured: one engine, the whole pipeline, or frames that are due at a rate
    model : name of the file, without its folder
    engine_sha256 : of the bytes that were opened
    backend : what ran it
    backend_version : of the backend
    device : what it ran on
    precision : as the file says of itself
    achieved : layer kind to precision to number of layers, as the backend tells; {} where it does not
    batch : pictures in one inference
    threads : CPU threads, None where the backend chose
    streams : inferences that run side by side
    sync : how the end of an inference is known, such as "blocking call"
    cuda_graph : whether a CUDA graph was replayed, None where there is no GPU, or `sync` says that it is not known
    transfers : one sentence: what lies inside the measured interval
    pictures : one sentence: what went in
    load_ms : opening the engine
    first_ms : its first inference, of the whole path from opening it to the first logits; None where it came to none
    warmup : what was run before, untimed
    samples_ms : every sample in order, none removed; of the paced mode ages, from when each frame was due
    starts_ms : when each began, or in the paced mode was due, since the run's begin
    rounds : index of the sample with which each interleaved round begins
    latency : of the samples, or None where there are none
    per_second : pictures per second
    stages : distribution of each stage's times, of the pipeline; else {}
    stage_samples_ms : every time of each stage, of the pipeline; else {}
    paced : what the paced mode counted, else None
    peak_memory_mb : largest resident memory of the program meanwhile, or None
    memory_scope : one sentence: what that memory holds
    load_order : how many engines of the call were opened before it; load_ms and first_ms hang on it
    telemetry : what the machine did meanwhile, or None where it was not watched
    warnings : one sentence each
    error : why the run ended early, or None
    """

    name: str
    mode: Mode
    model: str
    engine_sha256: str
    backend: str
    backend_version: str
    device: str
    precision: str
    achieved: Mapping[str, Mapping[str, int]]
    batch: int
    threads: int | None
    streams: int
    sync: str
    cuda_graph: bool | None
    transfers: str
    pictures: str
    load_ms: float
    first_ms: float | None
    warmup: Warmup
    samples_ms: tuple[float, ...]
    starts_ms: tuple[float, ...]
    rounds: tuple[int, ...]
    latency: Distribution | None
    per_second: float
    stages: Mapping[str, Distribution] = dataclasses.field(default_factory=dict)
    stage_samples_ms: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    paced: Paced | None = None
    peak_memory_mb: float | None = None
    telemetry: Telemetry | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    memory_scope: str = ""
    load_order: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        count = len(self.samples_ms)
        if not self.name or "/" in self.model or "\\" in self.model:
            raise refuse(
                "Run.name and Run.model", "a name, and a file name without its folder", (self.name, self.model)
            )
        if (0 if self.latency is None else self.latency.count) != count:
            raise refuse(f"latency.count of {self.name}", f"{count}, the number of its samples", self.latency)
        if len(self.starts_ms) != count:
            raise refuse(f"starts_ms of {self.name}", f"{count} numbers, one for each sample", len(self.starts_ms))
        ends = (*self.rounds[1:], count)
        if count and (self.rounds[:1] != (0,) or any(a >= b for a, b in zip(self.rounds, ends, strict=True))):
            raise refuse(f"rounds of {self.name}", f"rising from 0 to below {count}", self.rounds)
        if min(self.batch, self.streams, self.threads or 1) < 1 or min(self.samples_ms, default=0) < 0:
            raise refuse(f"batch, streams, threads and samples of {self.name}", "positive", (self.batch, self.streams))
        if {name: len(each) for name, each in self.stage_samples_ms.items()} != {
            name: each.count for name, each in self.stages.items()
        }:
            raise refuse(f"stage_samples_ms of {self.name}", "the samples of its stages", list(self.stage_samples_ms))


@dataclasses.dataclass(frozen=True, slots=True)
class BenchReport:
    """What one call of `edgex bench` measured.

    Attributes
    ----------
    schema : "edgex.bench/1"
    created : ISO 8601, UTC
    edgex_version : what measured
    partial : whether it was interrupted
    machine : as `edgex.machine.describe_machine` gives it
    options : what was asked for
    runs : in the order in which they were asked for
    ratios : of the runs' medians
    warnings : one sentence each
    """

    created: str
    edgex_version: str
    partial: bool
    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    runs: tuple[Run, ...]
    ratios: tuple[Ratio, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        check_fields(self)
        if self.schema != SCHEMA:
            raise refuse("schema", SCHEMA, self.schema)
        if not _is_utc(self.created):
            raise refuse("created", "a time of ISO 8601 in UTC", self.created)
        names = [run.name for run in self.runs]
        if len(set(names)) != len(names):
            raise refuse("the names of the runs", "different", names)
        for ratio in self.ratios:
            if ratio.of not in names or ratio.to not in names:
                raise refuse("ratios", "of runs in the report", (ratio.of, ratio.to))

    def to_json(self) -> str:
        """Return the report as one JSON object, each field of a run in a line of its own."""
        tree = dataclasses.asdict(self)
        runs = ",\n".join(f"  {{\n{_rows(run, 3)}\n  }}" for run in tree.pop("runs"))
        head = {"schema": tree.pop("schema"), **tree}
        text = f'{{\n{_rows(head, 1)},\n "runs": [\n{runs}\n ]\n}}\n'
        return text.encode("utf-8", "backslashreplace").decode()  # file names may hold bytes that are no UTF-8

    @classmethod
    def from_json(cls, text: str) -> BenchReport:
        """Read a report. Raises ReportError, in one sentence that names the field, if `text` is not one."""
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReportError(f"expected the JSON of a report, got {error}; {_TAKE}") from error
        schema = tree.get("schema") if isinstance(tree, dict) else None
        if schema != SCHEMA:
            got = "no such field" if schema is None else repr(schema)[:60]
            raise ReportError(f"expected a report of schema {SCHEMA}, got {got}; measure again with this edgex")
        try:
            report: BenchReport = decode(tree, cls, "")
        except RecursionError as error:
            raise ReportError(f"expected a report, got JSON nested too deep ({error}); {_TAKE}") from error
        return report


def read_report(path: Path) -> BenchReport:
    """Read a report's file. Raises ReportError when there is none, or it is broken."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ReportError(f"expected a report, got {path.stat().st_size} bytes; {_TAKE}")
        return BenchReport.from_json(path.read_text(encoding="utf-8"))
    except ReportError as error:
        raise ReportError(f"{error} ({path})") from error
    except (OSError, ValueError) as error:
        raise ReportError(f"expected a readable report at {path}, got {error}; check path and rights") from error


def _rows(tree: Mapping[str, Any], indent: int) -> str:
    margin = " " * indent
    return ",\n".join(
        f"{margin}{json.dumps(name)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for name, value in tree.items()
    )


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).utcoffset() == timedelta(0)
    except ValueError:
        return False
