"""The machine of a report in words: what of its description a reader wants to see first, and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgex.report import BenchReport
from edgex.types import is_number

_MAIN = ("cpu", "architecture", "features", "cores", "physical_cores", "usable_cores", "cpu_quota", "cache_bytes")
_TOLD = (*_MAIN, *("clock_mhz", "governor", "turbo", "memory_gb", "memory_limit_gb", "virtual", "system", "kernel"))
_SKIP = (*_TOLD, *("python", "packages", "environment", "gpus", "jetson"))


def machine_facts(report: BenchReport) -> list[tuple[str, str]]:
    """Return (name, fact) of what is known; nothing is said of what is not."""
    known = report.machine
    facts = [*_facts(known), *((name, _words(known[name])) for name in known if name not in _SKIP)]
    return [(name, fact) for name, fact in facts if fact]


def _facts(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "CPU", ", ".join(filter(None, (_words(known.get("cpu")), _words(known.get("architecture")))))
    yield "cores", _cores(known)
    yield "vector features", _words(known.get("features"), " ")
    caches = known.get("cache_bytes")
    if isinstance(caches, Mapping):
        sizes = (f"{level} {_size(size)}" for level, size in caches.items() if is_number(size))
        yield "caches (data)", ", ".join(sizes)
    yield "clock", _clock(known)
    yield "memory", _memory(known)
    yield "GPU", _words(known.get("gpus"))
    yield "Jetson", _words(known.get("jetson"))
    virtual = _either(known.get("virtual"), "virtual machine", "no hypervisor")
    yield "system", ", ".join(filter(None, (_words(known.get("system")), _words(known.get("kernel")), virtual)))
    yield "Python", _words(known.get("python"))
    yield "packages", _words(known.get("packages"))
    yield "set in the environment", _words(known.get("environment"))


def _cores(known: Mapping[str, Any]) -> str:
    parts = []
    if known.get("usable_cores"):
        parts.append(f"{known['usable_cores']} usable")
    if known.get("cores"):
        parts.append(f"{known['cores']} logical")
    if known.get("physical_cores"):
        parts.append(f"{known['physical_cores']} physical")
    if known.get("cpu_quota"):
        parts.append(f"the time of {known['cpu_quota']} granted")
    return ", ".join(parts)


def _clock(known: Mapping[str, Any]) -> str:
    clock: Any = known.get("clock_mhz")
    known_ends = isinstance(clock, list) and len(clock) == 2 and all(map(is_number, clock))
    ends = f"{clock[0]:g} to {clock[1]:g} MHz" if known_ends else ""
    governor = f"governor {known['governor']}" if known.get("governor") else ""
    turbo = _either(known.get("turbo"), "turbo on", "turbo off")
    return ", ".join(filter(None, (ends, governor, turbo)))


def _memory(known: Mapping[str, Any]) -> str:
    memory = f"{known['memory_gb']} GB" if known.get("memory_gb") else ""
    limit = f"{known['memory_limit_gb']} GB granted" if known.get("memory_limit_gb") else ""
    return ", ".join(filter(None, (memory, limit)))


def _size(count: float) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"


def _either(value: Any, yes: str, no: str) -> str:
    return yes if value is True else no if value is False else ""


def _words(value: Any, separator: str = ", ") -> str:
    """Return plain JSON as words, "" for nothing."""
    if isinstance(value, Mapping):
        return separator.join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list):
        return separator.join(map(_words, value))
    return "" if value is None else str(value)
