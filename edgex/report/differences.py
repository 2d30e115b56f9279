"""What was not alike when two reports were measured, in one sentence each: it may explain a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgex.report import BenchReport, Run

_MACHINE = (
    *("cpu", "usable_cores", "cpu_quota", "clock_mhz", "governor", "turbo", "memory_gb", "memory_limit_gb", "virtual"),
    *("system", "kernel", "python", "gpus", "jetson"),
)
_RUN = (
    *("model", "engine_sha256", "backend", "backend_version", "device", "precision", "achieved", "batch", "threads"),
    *("streams", "sync", "cuda_graph", "transfers", "pictures"),
)
_PACED = ("fps", "policy", "deadline_ms")


def differences(old: BenchReport, new: BenchReport) -> tuple[str, ...]:
    """Return one sentence for everything that was not alike when the two were measured, and may explain a change."""
    return tuple(_differences(old, new))


def _differences(old: BenchReport, new: BenchReport) -> Iterator[str]:
    for report, called in ((old, "the earlier report"), (new, "this report")):
        if report.partial:
            yield f"{called} is partial: it was interrupted"
    if old.edgex_version != new.edgex_version:
        yield f"edgex was {old.edgex_version} then, is {new.edgex_version} now"
    yield from _unlike("the machine", old.machine, new.machine, _MACHINE)
    yield from _of_names("the version of", old.machine.get("packages"), new.machine.get("packages"))
    yield from _of_names("the variable", old.machine.get("environment"), new.machine.get("environment"))
    yield from _unlike("what was asked for", old.options, new.options, ("seconds",))
    for run in new.runs:
        yield from _of_run(run, [each for each in old.runs if each.name == run.name])


def _of_names(called: str, old: object, new: object) -> Iterator[str]:
    then, now = (each if isinstance(each, Mapping) else {} for each in (old, new))
    for name in sorted({*then, *now} - {"edgex"}):  # whose version the report has besides
        was, became = then.get(name, "none"), now.get(name, "none")
        if was != became:
            yield f"{called} {name} differs: {_short(was)} then, {_short(became)} now"


def _of_run(run: Run, before: Sequence[Run]) -> Iterator[str]:
    for other in before:
        if other.mode != run.mode:
            yield f"{run.name} was measured in mode {other.mode} then, in mode {run.mode} now"
            continue
        was, now = ({name: getattr(each, name) for name in _RUN} for each in (other, run))
        yield from _unlike(run.name, was, now, _RUN)
        if other.paced is not None and run.paced is not None:
            yield from _unlike(run.name, _flat(other), _flat(run), (*_PACED, "slo_ms"))


def _flat(run: Run) -> Mapping[str, Any]:
    assert run.paced is not None
    asked = {name: getattr(run.paced, name) for name in _PACED}
    return {**asked, "slo_ms": None if run.paced.slo is None else run.paced.slo.limit_ms}


def _unlike(called: str, old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        was, now = old.get(name), new.get(name)
        if was != now:
            yield f"{called} differs in {name}: {_short(was)} then, {_short(now)} now"


def _short(value: Any) -> str:
    text = "not known" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
