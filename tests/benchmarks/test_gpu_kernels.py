"""The report's kernels: what is counted, what the page says, that variants fit the sources, and a run on a GPU."""

from __future__ import annotations

import gc
import os
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import kernels, kernels_page, kernels_timing, kernels_variants, parity, parity_tests
from benchmarks.gpu.kernels_cases import CASES, Case, Launches, call_of
from benchmarks.gpu.kernels_peers import array_blend, require_right
from benchmarks.gpu.kernels_timing import Stopwatch, rotated
from benchmarks.gpu.steps import Context
from edgex.types import STYLES
from tests.gpus import STUB, require_gpu
from tests.stand_in_gpu import StandIn


def test_every_style_size_count_and_batch_is_a_case() -> None:
    sizes = ((720, 1280), (1080, 1920), (2160, 3840))
    expected = {
        (work, count, *size, batch)
        for work in (*STYLES, "masks")
        for count in (1, 3, 20)
        for size in sizes
        for batch in (1, 16)
    }
    assert {tuple(case) for case in CASES} == expected | {
        ("preprocess", 0, *size, n) for size in sizes for n in (1, 16)
    }
    assert len(CASES) == len(set(CASES))
    assert [case for case in CASES if case.width % 16] == []


@pytest.mark.parametrize("case", [Case(work, 3, 32, 48, 2) for work in ("overlay", "masks", "preprocess")])
def test_bytes_are_those_of_the_arrays(case: Case) -> None:
    images, logits = np.zeros((2, 32, 48, 3), np.uint8), np.zeros((2, 3, 28, 28), np.float32)
    planes, tensor = np.zeros((2, 3, 32, 48), np.uint8), np.zeros((2, 3, 224, 224), np.float32)
    moved = {
        "overlay": (images.nbytes + logits.nbytes, images.nbytes),
        "masks": (logits.nbytes, planes.nbytes),
        "preprocess": (images.nbytes, tensor.nbytes),
    }
    assert case.sizes() == moved[case.work]
    call = call_of(case)
    assert (call.pictures, call.image_step) == (2, images.strides[0])
    if case.work != "preprocess":
        assert call.logits_step == logits.strides[0]
        assert call.picture_step == (planes if case.work == "masks" else images).strides[0]


@pytest.mark.parametrize(
    ("size", "cache", "slots"), [(100, 1000, 30), (99, 1000, 31), (5000, 1000, 2), (1500, 1000, 2)]
)
def test_sets_are_three_times_the_cache_and_at_least_two(size: int, cache: int, slots: int) -> None:
    assert rotated(size, cache) == slots


VARIANTS = [(module, name) for module, each in kernels_variants.EDITS.items() for name in each]


@pytest.mark.parametrize(("module", "name"), VARIANTS)
def test_a_variant_s_edits_fit_the_sources(module: str, name: str) -> None:
    for style in (*STYLES, "mask"):
        source = kernels_variants.edited(module, name, style)[f"{module}.cu"]
        entries = [line for line in source.splitlines() if line.startswith("EDGEX_ENTRY(")]
        assert len(entries) == (module == "composite")
        assert all(f"composite_{style}_f32" in line for line in entries)


def row(share: float, us: float, **more: Any) -> dict[str, Any]:
    figures = {"events": [us, us + 1, us + 2], "graph": [us, us, us], "copy": [1.0, 1.0, 1.0]}
    return {
        **{"case": "overlay 3", "work": "overlay", "classes": 3, "picture": [1080, 1920], "batch": 16, "slots": 2},
        **{"bytes_read": 3_000_000, "bytes_written": 2_000_000, "us_quartiles": figures, "beyond_cache": True},
        **{"share_of_copy": [0.1, share, 0.99], "share_of_same_copy": [0.5, 0.9, 1.0], **more},
    }


def found() -> dict[str, Any]:
    peer = {**row(0.0, 1.0), "times_ours": [2.0, 2.5, 3.0], "times_ours_as_called": 9.0, "by": "graph"}
    peer["us_quartiles"] = {"peer": [9.0, 9.0, 9.0], "peer graph": [8.0, 8.0, 8.0]}
    cases = [row(0.83, 5.0), row(0.61, 5.0, picture=[720, 1280]), row(0.5, 9.0, batch=1)]
    copy = {"gb_per_s": 4000.0, "bytes": 1 << 30}
    return {
        "cases": cases,
        "peers": {"torch.compile": [peer]},
        "variants": [],
        "missing": {},
        "copy": copy,
        "l2_bytes": 5,
    }


def test_aims_are_judged_by_the_worst_size_and_by_graphs() -> None:
    judged = [(each["bound"], each["reached"], each["met"]) for each in kernels_page.aims(found())]
    assert judged == [(0.8, 0.61, False), (10.0, 9.0, True), (3.0, 2.5, False)]


def test_the_page_has_every_case_and_peer() -> None:
    page = kernels_page.page(found())
    assert "| overlay 3 | 1920 x 1080 | 16 | 312,500 | 6.00 | 5.00 (5.00 to 5.00) | 0.83 | 0.90 |" in page
    assert "| torch.compile | overlay 3, 1920 x 1080 | 16 | 9.0 | 8.0 | 2.5 (2.0 to 3.0) | 9.0 |" in page


def test_a_peer_that_draws_something_else_is_told() -> None:
    case = Case("overlay", 3, 33, 49)
    right = array_blend(case, np)
    require_right("NumPy", case, right)
    with pytest.raises(AssertionError, match="NumPy does not draw what the oracle draws"):
        require_right("NumPy", case, lambda images, logits: right(images, logits[..., ::-1]))


def test_a_comparison_sees_two_levels() -> None:
    case = Case("masks", 2, 9, 11)
    images, logits = parity.inputs(case, False, 1)
    planes = np.zeros((1, 2, 9, 11), np.uint8)
    with pytest.raises(AssertionError, match="levels from the oracle in picture 0"):
        parity.compare(planes, images, logits, case, False)


def test_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2, 'too much'\n"
        "def test_c(): pytest.skip('no such tool')\n"
    )
    (tmp_path / "test_other.py").write_text("import a_package_that_nobody_has\n")
    run = parity_tests.pytest_run([str(tmp_path)], tmp_path / "x.xml", 60.0)
    assert (run["passed"], run["failed"], run["skipped"]) == (1, 1, 2)
    assert "test_b: AssertionError: too much" in run["failures"][0]
    assert "no such tool" in run["why"]
    assert "a_package_that_nobody_has" in run["why"]


DEAF = "import signal, time\ndef test_c():\n    signal.signal(2, signal.SIG_IGN)\n    time.sleep(100)\n"


@pytest.mark.parametrize(
    ("last", "message"),
    [("import time\ndef test_c(): time.sleep(100)\n", "AssertionError: too much"), (DEAF, "its message was lost")],
)
def test_a_run_that_is_ended_loses_no_failure_and_is_no_whole_one(
    last: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_tests, "GRACE_S", 4.0)
    (tmp_path / "test_it.py").write_text(f"def test_a(): pass\ndef test_b(): assert 1 == 2, 'too much'\n{last}")
    run = parity_tests.pytest_run([str(tmp_path / "test_it.py")], tmp_path / "x.xml", 14.0)
    found: dict[str, Any] = {"failures": [], "missing": {}}
    parity_tests._judge("tests", run, found)
    assert (run["passed"], run["failed"]) == (1, 1)
    assert [each.split("::")[-1] for each in found["failures"]] == [
        f"test_b: {message}" + " assert 1 == 2" * ("too" in message)
    ]
    why = "it took longer than its 14 s and was ended, after 1 passed, 1 failed, 0 skipped"
    assert found["missing"] == {"the rest of tests": why}


class FakeStream:
    """Launches that take the host 1 ms each, and are waited for, or not; events are read off the GPU's own clock."""

    def __init__(self, blocking: bool) -> None:
        self.blocking, self.host, self.gpu = blocking, 0.0, 0.0
        self.longest = 0.0

    def record(self, event: SimpleNamespace) -> None:
        self.gpu = max(self.gpu, self.host)
        event.at = self.gpu

    def launch(self, ms: float) -> None:
        self.host += 1.0
        self.gpu, self.longest = max(self.gpu, self.host) + ms, max(self.longest, ms)
        self.host = self.gpu if self.blocking else self.host

    def synchronize(self) -> None:
        self.host = max(self.host, self.gpu)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_hold_grows_until_a_batch_is_queued_within_it_and_not_without_bound(
    blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, stream = Stopwatch.__new__(Stopwatch), FakeStream(blocking)
    events = [SimpleNamespace(at=0.0) for _ in range(3)]
    for event in events:
        event.ms_since = lambda other, event=event: event.at - other.at
    watch.stream, watch.starved, watch._pictures = stream, 0, {}  # type: ignore[assignment]
    watch._before, watch._first, watch._last = events  # type: ignore[assignment]
    watch._hold = SimpleNamespace(pictures=1)
    watch._launch = lambda hold, _: stream.launch(0.02 * hold.pictures)  # type: ignore[assignment, method-assign]
    monkeypatch.setattr(kernels_timing.time, "perf_counter", lambda: stream.host / 1e3)
    for _ in range(5):
        watch.ms("it", lambda _: stream.launch(0.01), 30)
    assert watch.starved == (5 if blocking else 0)
    assert (watch._pictures["it"] == 1) == blocking
    assert stream.longest <= kernels_timing.LONGEST_HOLD_MS + 1.0


def test_a_case_s_launches_go_without_the_cycle_collector() -> None:
    arena: Any = SimpleNamespace(put=lambda _: 1, noisy=lambda _: 1, take=lambda _: 1)
    gc.disable()
    try:
        launches = Launches(StandIn(), arena, Case("overlay", 3, 32, 48), 2)  # type: ignore[arg-type]
        gone = weakref.ref(launches)
        del launches
        assert gone() is None
    finally:
        gc.enable()


def test_the_files_with_gpu_tests_are_found() -> None:
    files = parity_tests.files()
    assert {"tests/compositors/test_cuda.py", "tests/benchmarks/test_gpu_kernels.py"} <= set(files)


@pytest.mark.gpu
def test_a_short_run(tmp_path: Path) -> None:
    gpu = require_gpu()
    if STUB in os.environ:
        pytest.skip("a driver without a GPU has no times")
    cases = [Case("overlay", 3, 96, 160, 2), Case("masks", 3, 96, 160), Case("preprocess", 0, 240, 320)]
    context = Context(False, 1, tmp_path, time.monotonic() + 60.0, lambda _: None, lambda _: None)
    report = kernels.step(context, cases)
    assert report["failures"] == []
    assert sorted(each["case"] for each in report["cases"]) == ["masks 3", "overlay 3", "preprocess"]
    for each in report["cases"]:
        assert each["slots"] * (each["bytes_read"] + each["bytes_written"]) >= 3 * report["l2_bytes"]
        assert each["us_quartiles"]["events"][0] > 0
    assert gpu.name == report["gpu"]
