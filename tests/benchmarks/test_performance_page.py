"""docs/performance.md is what its script writes from the committed JSON: every section, aim and miss, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import costs_plot, performance_page

LINE = {"median_ms": 2.0, "lower_ms": 1.5, "upper_ms": 2.5, "rounds": 3}
OVER = {"median": 30.0, "lower": 20.0, "upper": 40.0}
MACHINE = {
    "machine": {"cpu": "a CPU", "cores": 2, "date": "2026-01-01 00:00 UTC"},
    "load_before": [0.1, 0.2, 0.3],
    "load_after": [1.25, 0.2, 0.3],
    "threads": 2,
    "rounds": 3,
    "frame": [1280, 720],
}


def row(ms: float, over: float = 1.0) -> dict[str, Any]:
    return {
        **LINE,
        "median_ms": ms,
        "lower_ms": 0.9 * ms,
        "upper_ms": 1.2 * ms,
        "over_base": {**OVER, "median": over},
        "note": "as its page says",
    }


@pytest.fixture
def peers() -> dict[str, Any]:
    frame = {
        "base": "edgex, x",
        "pipeline": "edgex pipeline, x",
        "contenders": {"pytorch-grad-cam": row(120.0, 30.0), "edgex, x": row(4.0), "edgex pipeline, x": row(3.5)},
        "checks": {"edgex, x": {"apart": 0.0}, "pytorch-grad-cam": {"correlation_with_masks": [0.8, None, 0.7]}},
        "missing": {"captum": "not measured: no such package"},
    }
    engines = [{"engine": "x", "batch": 8, "rounds": 40, "contenders": {"bare": row(1.0), "edgex": row(1.06, 1.06)}}]
    rates = {"edgex": 90.0, "benchmark_app": 100.0}
    throughput = [{"engine": "x", "streams": 2, "turns": 2, "seconds": 5, "per_second": rates, "ratio": OVER}]
    aims = [
        {
            "what": "faster",
            "kind": "at least",
            "bound": 20.0,
            "reached": 30.0,
            "lower": 20.0,
            "upper": 40.0,
            "met": True,
        },
        {"what": "slower", "kind": "at most", "bound": 1.05, "reached": 1.06, "lower": 1.0, "upper": 1.1, "met": False},
    ]
    drawing = {"contenders": {"edgex": row(1.0), "torch": row(40.0, 40.0)}, "missing": {}}
    sections = {"frame": frame, "engines": engines, "throughput": throughput, "drawing": drawing}
    return {**MACHINE, "drawn": ["bird", "ball", "fish"], "classes": 12, "sections": sections, "aims": aims}


@pytest.fixture
def costs() -> dict[str, Any]:
    def line(*places: str) -> dict[str, Any]:
        return {place: {**LINE, "median_ms": 1.0 + number} for number, place in enumerate(places)}

    return {
        **MACHINE,
        "engine": "x",
        "compositor": "native",
        "classes": {
            "whole frame": line("1", "12"),
            "drawing": line("1", "12"),
            "drawing, synthetic": line("12", "20", "100"),
        },
        "resolution": {"whole frame": line("720p", "4K"), "drawing": line("720p", "4K")},
        "pixels": {"720p": 921_600, "4K": 8_294_400},
        "batch": {"x": line("1", "2", "16"), "y": line("1")},
        "over_threads": {"x": line("1", "2")},
    }


def test_the_committed_page_is_what_the_script_writes() -> None:
    reports = performance_page.read_reports()
    assert {"peers", "costs"} <= set(reports)
    written = performance_page.PAGE.read_text(encoding="utf-8")
    assert written == performance_page.page(reports), "run: python -m benchmarks.performance_page"


def test_each_section_names_its_command_and_json(peers: dict[str, Any], costs: dict[str, Any]) -> None:
    text = performance_page.page({"peers": peers, "costs": costs})
    for name in ("peers", "costs"):
        assert (
            f"`python -m benchmarks.{name}`, [{name}.json](../benchmarks/results/{name}.json): a CPU, 2 threads" in text
        )
    assert "load average before and after 0.1 and 1.2." in text
    assert "](pictures/peers.png)" in text
    assert set(re.findall(r"pictures/cost-(\w+)\.png", text)) == {"classes", "resolution", "batch", "threads"}


def test_aims_that_are_missed_are_told_plainly(peers: dict[str, Any]) -> None:
    text = performance_page.page({"peers": peers})
    assert "| faster | at least 20 | 30 (20 to 40) | met |" in text
    assert "| slower | at most 1.05 | 1.06 (1 to 1.1) | **missed** |" in text


def test_a_busy_machine_is_told(peers: dict[str, Any]) -> None:
    assert "preliminary" not in performance_page.page({"peers": peers})
    peers["load_before"] = [3.5, 1.0, 1.0]
    assert "preliminary" in performance_page.page({"peers": peers})


def test_the_quickest_stands_on_top_and_what_is_missing_is_said(peers: dict[str, Any]) -> None:
    text = performance_page.page({"peers": peers})
    places = [text.index(f"| {name} |") for name in ("edgex pipeline, x", "edgex, x", "pytorch-grad-cam")]
    assert places == sorted(places)
    assert "- captum: not measured: no such package" in text
    assert "pytorch-grad-cam 0.8, flat, 0.7" in text


def test_columns_of_every_table_agree(peers: dict[str, Any], costs: dict[str, Any]) -> None:
    text = performance_page.page({"peers": peers, "costs": costs})
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert "| y | 1 |  |  |" in text, "places in the order of their numbers, gaps left empty"


def test_what_was_not_measured_has_no_section(peers: dict[str, Any]) -> None:
    del peers["sections"]["throughput"]
    text = performance_page.page({"peers": peers})
    assert "benchmark_app" not in text
    assert "What a frame costs" not in text


def test_pages_of_their_own_are_summed_up(peers: dict[str, Any]) -> None:
    machine = {"date": "2026-01-02"}
    kernels = {"machine": machine, "cases": [{"limits": [{"met": True}, {"met": False}, {"met": None}]}]}
    live = {"machine": machine, "aims": [{"met": True}]}
    text = performance_page.page({"peers": peers, "kernels": kernels, "live": live})
    assert "1 of 2 | [kernels.md](kernels.md) | `python -m benchmarks.kernels`" in text
    assert "| 1 of 1 |" in text
    assert "| 2026-01-02 |" in text


def test_a_folder_without_results_gives_nothing(tmp_path: Path) -> None:
    assert performance_page.read_reports(tmp_path) == {}


def test_the_plots_are_small_pictures(peers: dict[str, Any], costs: dict[str, Any], tmp_path: Path) -> None:
    costs_plot.peers_plot(peers, tmp_path / "peers.png")
    for path in (tmp_path / "peers.png", *costs_plot.draw(costs, tmp_path)):
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert path.stat().st_size <= costs_plot.LARGEST_BYTES
