"""The section of docs/performance.md that says what a frame costs: four plots, and the sentence that each one shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.page import table

Line = Mapping[str, Mapping[str, float]]


def costs_section(report: dict[str, Any], origin: str) -> Iterator[str]:
    """Yield the paragraphs of the section from the report of benchmarks/costs.py; `origin` says where it comes from."""
    width, height = report["frame"]
    yield "## What a frame costs"
    yield origin
    yield (
        f"A whole frame is preprocessing, the network and drawing by one call after the other, with {report['engine']} "
        f"and the {report['compositor']} compositor; bands are quartiles over {report['rounds']} rounds."
    )
    yield "### Over the number of classes shown"
    yield "![Milliseconds per frame over the number of classes shown](pictures/cost-classes.png)"
    yield _classes(report, f"{width} × {height}")
    yield "### Over the resolution"
    yield "![Milliseconds per frame over its resolution](pictures/cost-resolution.png)"
    yield _resolution(report)
    yield "### Over the batch"
    yield "![Milliseconds per picture over the batch](pictures/cost-batch.png)"
    yield _ends(report["batch"], "ms per picture at batch")
    yield "### Over the threads"
    yield "![Milliseconds per frame over the threads](pictures/cost-threads.png)"
    yield _ends(report["over_threads"], "ms per frame at threads")


def _classes(report: Mapping[str, Any], frame: str) -> str:
    found = report["classes"]
    whole = found["whole frame"]
    first, last = _first_last(whole)
    drawn = {**found["drawing"], **found.get("drawing, synthetic", {})}
    most = max(drawn, key=int)
    return (
        f"The network explains all classes whatever is shown, so only drawing grows: a whole frame of {frame} takes "
        f"{_ms(whole[first])} with {first} class and {_ms(whole[last])} with {last}; drawing alone takes "
        f"{_ms(drawn[min(drawn, key=int)])} for 1 and {_ms(drawn[most])} for {most}, the last on synthetic logits that "
        "leave no pixel out."
    )


def _resolution(report: Mapping[str, Any]) -> str:
    found = report["resolution"]
    names = list(report["pixels"])
    rows = ((line, *(f"{each[name]['median_ms']:.3g}" for name in names)) for line, each in found.items())
    return table(("median, ms", *names), rows)


def _ends(found: Mapping[str, Line], what: str) -> str:
    places = sorted({place for line in found.values() for place in line}, key=int)
    rows = (
        (name, *(f"{line[place]['median_ms']:.3g}" if place in line else "" for place in places))
        for name, line in found.items()
    )
    return table((what, *places), rows)


def _first_last(line: Line) -> tuple[str, str]:
    places = sorted(line, key=int)
    return places[0], places[-1]


def _ms(figures: Mapping[str, float]) -> str:
    return f"{figures['median_ms']:.3g} ms"
