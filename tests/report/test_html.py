"""The page: whole, alone, inert whatever a report holds, small whatever its length, and with every extreme in it."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex.report import BenchReport, Paced, Series, Slo, Telemetry, Trial
from edgex.report.compare import compare
from edgex.report.differences import differences
from edgex.report.html import to_html
from edgex.report.machine import machine_facts
from edgex.report.plots import timeline
from edgex.report.plots_more import telemetry_panels
from edgex.report.svg import Scale, spanning
from tests.reports import make_paced, make_pipeline, make_report, make_run, make_telemetry, spread

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "br", "img", "link", "input", "hr"}
HARM = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"


class Page(HTMLParser):
    """Collects elements, attributes and text, and sees that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def words_of(html: str) -> str:
    return " ".join(" ".join(Page(html).text).split())


def every_mode() -> BenchReport:
    return make_report(make_run(), make_pipeline(), make_paced(), warnings=("the machine was busy",))


def test_the_page_says_what_was_measured_how_on_what_and_with_which_result() -> None:
    words = words_of(to_html(every_mode()))
    for word in (
        *("Intel(R) Core(TM) i7-1365U", "governor powersave", "L2 1.25 MiB", "openvino 2026.4.1", "0123456789ab"),
        *("p50", "p90", "p95", "p99", "CV", "layers: f32 53", "the machine was busy", "inside the measured interval"),
        *("warm-up of 84 iterations", "no outlier was removed", "Hyndman", "Time of each stage", "preprocess"),
        *(
            "Age by percentile",
            "Highest with the p99 of the age within 20.0 ms: 195 a second",
            "9 of 900 frames were late",
            "deadline 16.7 ms",
        ),
        *(
            "clock of the fastest core",
            "taken by the hypervisor: 0 throughout",
            "Not told by this machine",
            "blocking call",
        ),
    ):
        assert word in words, word


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    html = to_html(every_mode())
    page = Page(html)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "form", "image", "use"}
    assert not page.attributes & {"src", "href", "style", "srcset", "action"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html


def harmful(value: Any) -> Any:
    """Return plain JSON with harm in every string and every name."""
    if isinstance(value, dict):
        return {name + HARM if name in ("packages", "extra") else name: harmful(each) for name, each in value.items()}
    if isinstance(value, list):
        return [harmful(each) for each in value]
    return value + HARM if isinstance(value, str) else value


def test_nothing_that_comes_from_a_report_becomes_part_of_the_page() -> None:
    telemetry = make_telemetry(3000.0)
    series = tuple(Series(each.name + HARM, each.unit + HARM, each.values) for each in telemetry.series)
    bad = Telemetry(250.0, telemetry.times_ms, series, telemetry.counters, (HARM,))
    words = ("backend", "backend_version", "device", "precision", "sync", "transfers", "pictures", "error")
    stage = (1.0, 2.0)
    run = make_run(
        f"a{HARM}",
        model=HARM.replace("/", ""),
        telemetry=bad,
        warnings=(HARM,),
        achieved={HARM: {HARM: 1}},
        stages={HARM: spread(stage)},
        stage_samples_ms={HARM: stage},
        **dict.fromkeys(words, HARM),
    )
    other = make_run("b")
    plain = make_report(make_run("a"), other)
    report = make_report(
        *(run, other),
        machine={**harmful(dict(plain.machine)), "extra": {HARM: [HARM]}, HARM: HARM},
        options={HARM: HARM},
        warnings=(HARM,),
        edgex_version=HARM,
    )
    page = Page(to_html(report, compare(plain, report), (*differences(plain, report), HARM)))
    assert page.tags["script"] == page.tags["img"] == 0
    assert not [name for name in page.attributes if name.startswith("on")]
    assert " ".join(page.text).count("<script>alert(1)</script>") > 20


@pytest.mark.parametrize(
    "machine",
    [
        {},
        {
            "cpu": 3,
            "cores": "many",
            "cache_bytes": {"L1": "x"},
            "clock_mhz": ["a", "b"],
            "virtual": [],
            "gpus": {"a": 1},
        },
        {"clock_mhz": [1, 2, 3], "cache_bytes": 7, "turbo": {}, "packages": None, "memory_gb": "?", "own": None},
    ],
)
def test_a_machine_that_is_described_otherwise_is_shown_as_far_as_it_goes(machine: dict[str, Any]) -> None:
    report = make_report(make_run(count=20), machine=machine)
    assert all(fact for _, fact in machine_facts(report))
    Page(to_html(report))


def test_a_hundred_thousand_samples_stay_small_and_keep_their_extremes() -> None:
    count = 100_000
    samples = np.full(count, 5.0) + np.random.default_rng(0).normal(0, 0.05, count)
    samples[41_234], samples[77_001] = 23.456789, 1.25
    samples_ms = tuple(samples.tolist())
    starts = tuple((np.arange(count) * 5.0).tolist())
    run = make_run(count=1, stalls=0, turns=1, samples_ms=samples_ms, latency=spread(samples_ms), starts_ms=starts)
    html = to_html(make_report(run))
    assert len(html.encode()) < 1_000_000
    drawn = timeline(run, 500.0)
    heights = [float(y) for span in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", drawn) for y in span]
    scale = spanning([samples.min(), 5.0, samples.max()])
    for extreme in (23.456789, 1.25):
        assert round((1 - scale.at(extreme)) * 190, 1) in heights
    assert "longest 23.5 ms" in words_of(html)
    assert "1 up to 23.5" in words_of(html)


def paced_without(**fields: Any) -> BenchReport:
    paced = Paced(
        **{"fps": 9.0, "policy": "newest", "due": 9, "done": 0, "dropped": 9, "late": 0, "deadline_ms": 1.0, **fields}
    )
    return make_report(make_run(count=0, mode="paced", paced=paced))


def odd_reports() -> Iterator[Any]:
    yield pytest.param(make_report(make_run(count=0, error="it failed")), "it failed", id="no sample")
    yield pytest.param(make_report(make_run(count=1, turns=1)), "4.8", id="one sample")
    same, nothing, far = (2.0,) * 300, (0.0,) * 300, (1e-5, 1.0, 1e7) * 100
    starts = tuple(float(each) for each in range(300))
    for name, samples in (("all equal", same), ("all 0", nothing), ("twelve decades", far)):
        run = make_run(samples_ms=samples, latency=spread(samples), rounds=(0, 9), starts_ms=starts, telemetry=None)
        yield pytest.param(make_report(run), "was not watched", id=name)
    yield pytest.param(
        dataclasses.replace(make_report(), runs=(), ratios=(), machine={}, partial=True), "partial", id="no run"
    )
    yield pytest.param(paced_without(age=None, slo=Slo(5.0, None, ())), "0 done, 9 dropped", id="no rate tried")
    none = Slo(5.0, None, (Trial(1.0, 9.0, False),), "none")
    yield pytest.param(
        paced_without(age=None, slo=none), "5.00 ms: none held, down to 1.00 a second", id="no rate held"
    )
    yield pytest.param(paced_without(age=None, slo=Slo(5.0, None, ())), "the search did not end", id="search not ended")
    many = (make_run(f"run {number}", count=30) for number in range(12))
    yield pytest.param(make_report(*many), "run 11", id="more runs than colours")
    silent = Telemetry(250.0, (), (), (), ())
    yield pytest.param(make_report(make_run(telemetry=silent)), "4.8", id="telemetry without a reading")


@pytest.mark.parametrize(("report", "word"), list(odd_reports()))
def test_odd_reports_have_a_page_too(report: BenchReport, word: str) -> None:
    words = words_of(to_html(report))
    assert word in words
    assert not re.search(r"\bnan\b|\binf\b|None", words)


def test_the_baseline_stands_on_the_page_with_what_differs() -> None:
    old, new = make_report(make_run(median_ms=4.0, backend_version="2025.1")), make_report(make_run())
    words = words_of(to_html(new, compare(old, new), differences(old, new)))
    assert "Against the baseline" in words
    assert "worse" in words
    assert "2025.1 then" in words
    assert "per second" in words
    assert "bootstrap over the rounds of both reports" in words


def test_what_a_baseline_could_not_judge_stands_among_the_warnings_of_the_page() -> None:
    gone = make_report(make_run("gone"))
    words = words_of(to_html(make_report(make_run("fresh")), compare(gone, make_report(make_run("fresh")))))
    assert "gone (engine) was not held against it: this report has no such run" in words
    assert "only this report has fresh (engine)" in words
    assert "nothing was held against it" in words


def test_the_page_says_what_memory_load_and_samples_are_and_what_a_picture_takes() -> None:
    words = words_of(to_html(make_report(make_run(batch=8), make_pipeline(), make_paced())))
    for word in (
        *(
            "memory: host memory of the whole program",
            "load and first depend on what was opened before",
            "opened first",
        ),
        *("a sample is one call of a whole batch (of 8)", "median a picture"),
        *("a sample of a pipeline is the work on one frame", "Work on a frame over time"),
        *("highest rate within 20.0 ms", "from when each was due until it was done"),
    ):
        assert word in words, word


@pytest.mark.parametrize(
    "scale", [Scale(0.0, 7.3), Scale(4.41, 4.43), Scale(0.001, 900.0, True), Scale(4.0, 6.5, True)]
)
def test_ticks_are_round_few_and_within(scale: Scale) -> None:
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(scale.low <= tick <= scale.high for tick in ticks)
    assert [scale.at(tick) for tick in ticks] == sorted(scale.at(tick) for tick in ticks)
    assert all(len(f"{tick:.10g}") <= 6 for tick in ticks)
    assert math.isclose(scale.at(scale.low), 0.0)
    assert math.isclose(scale.at(scale.high), 1.0)


def test_a_line_of_telemetry_breaks_where_a_reading_failed_or_another_run_had_its_turn() -> None:
    times = (0.0, 250.0, 500.0, 5000.0, 5250.0, 5500.0)
    series = (
        Series("clock of the fastest core", "MHz", (1.0, 2.0, 3.0, 4.0, None, 5.0)),
        Series("idle", "%", (0.0,) * 6),
    )
    panels, words = telemetry_panels(Telemetry(250.0, times, series, (), ()), 6.0)
    ((_, extent, drawing),) = panels
    assert extent == "1.00 to 5.00 MHz"
    path, dots = re.findall(r'<path d="([^"]*)"', drawing)
    assert re.findall("[A-Z]", dots) == ["M", "V", "M", "V"]
    assert path.count("M") == 1  # 1, 2 and 3; what stands alone is a dot
    assert words == ["idle: 0 throughout"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: sudo apt-get install chromium")
def test_a_browser_shows_it_without_asking_for_anything_and_within_a_phone_s_width(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the dev extra")
    file = tmp_path / "report.html"
    file.write_text(to_html(every_mode()), encoding="utf-8")
    asked, said = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 360, "height": 800})
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.locator("svg.plot").count() > 20
            backs = []
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                backs.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert backs[0] != backs[1]
        finally:
            browser.close()
    assert asked == [file.as_uri()]
    assert said == []


def test_what_the_stages_add_up_to_is_said_by_mode() -> None:
    pipeline = make_pipeline()
    of_pipeline = "Stages of several frames overlap: their sum is the work on a frame, not the time between frames."
    of_paced = "Stages of several frames overlap; waits between stages are in the age, not here."
    paced = dataclasses.replace(make_paced(), stages=pipeline.stages, stage_samples_ms=pipeline.stage_samples_ms)
    for run, told, other in ((pipeline, of_pipeline, of_paced), (paced, of_paced, of_pipeline)):
        html = to_html(make_report(run))
        assert told in html
        assert other not in html
    assert "their sum" not in to_html(make_report(make_run()))
