"""The soak in short: the real program, a stream and viewers that come and go, and checks that can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import soak, soak_plot
from benchmarks.soak_run import Run
from tests.bundles import write_bundle
from tests.sources.servers import why_no_rtsp_server

SHORT = {"every_s": 1.0, "there_s": 5.0, "gone_s": 2.0, "look_s": 4.0, "away_s": 2.0}


def made(rss_mb: list[float], **fields: Any) -> dict[str, Any]:
    """Return a report whose every check is kept where memory is flat."""
    samples = [
        {"at_s": 2.0 * i, "rss_mb": rss, "threads": 12, "files": 9, "fps": 30.0, "age_ms": 20.0}
        for i, rss in enumerate(rss_mb)
    ]
    whole = {
        "exit_code": 0,
        "frames": 10,
        "records": 10,
        "visits": [3, 4],
        "reconnects": 2,
        "warm_s": 20.0,
        "faith": {"frames": 1},
    }
    extra = {"gone_s": [[5.0, 7.0], [15.0, 17.0]], "minutes": 1.0, "about": "made up", "samples": samples}
    return {**whole, **extra, **fields}


def kept(report: dict[str, Any]) -> dict[str, bool]:
    return {check["what"]: check["kept"] for check in soak.checks(report)}


def test_a_flat_run_keeps_every_check() -> None:
    assert all(kept(made([100.0 + (i < 5) * i for i in range(60)])).values())


def test_a_leak_is_found_and_a_leap_is_none() -> None:
    leaking = kept(made([100.0 + 0.02 * i for i in range(60)]))  # 0.6 MB a minute
    assert [what for what, fine in leaking.items() if not fine] == ["growth of memory, MB a minute"]
    assert all(kept(made([100.0 if i < 40 else 103.0 for i in range(120)], warm_s=20.0)).values())


@pytest.mark.parametrize("field", ["threads", "files"])
def test_threads_and_files_that_grow_are_found(field: str) -> None:
    report = made([100.0] * 60)
    for number, sample in enumerate(report["samples"]):
        sample[field] += number // 10
    assert [what for what, fine in kept(report).items() if not fine] == [
        f"most {'open files' if field == 'files' else field} after the warm-up"
    ]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"exit_code": 1}, "exit code after SIGTERM"),
        ({"records": 9}, "records, one a frame"),
        ({"frames": 0, "records": 0}, "records, one a frame"),
        ({"visits": [3, 0]}, "pictures in each visit, at least"),
        ({"visits": []}, "pictures in each visit, at least"),
        ({"reconnects": 0}, "openings after breaks, at least"),
    ],
)
def test_what_else_went_wrong_is_found(fields: dict[str, Any], what: str) -> None:
    assert [name for name, fine in kept(made([100.0] * 60, **fields)).items() if not fine] == [what]


def test_the_slope_is_that_of_most_pairs() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.01, 50)
    at_s = [2.0 * i for i in range(50)]
    assert soak.slope_per_minute(at_s, [5.0 + second / 60 for second in at_s]) == pytest.approx(1.0)
    assert soak.slope_per_minute(at_s, list(7.0 + noise)) == pytest.approx(0.0, abs=0.02)
    assert soak.slope_per_minute([1.0], [3.0]) == 0.0


def test_a_report_is_drawn(tmp_path: Path) -> None:
    import cv2

    report = made([100.0] * 60)
    report["samples"][0] |= {"fps": None, "age_ms": None}
    soak_plot.plot(report, tmp_path / "soak.png")
    picture = cv2.imread(str(tmp_path / "soak.png"))
    assert picture is not None
    assert picture.std() > 5


def test_a_run_that_does_not_start_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected a run that serves, got: .*expected"):
        Run(["--source", str(tmp_path / "nothing.mp4"), "--serve", "127.0.0.1:0"])


@pytest.mark.slow
def test_a_short_soak_of_the_real_program(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    source = "synthetic:320x240@30" if why_no_rtsp_server() else None  # None: an RTSP server that comes and goes
    bundle = write_bundle(tmp_path / "tiny.onnx")
    report = soak.soak(soak.Options(minutes=0.25, source=source, model=bundle, **SHORT))
    found = kept(report)
    found.pop("growth of memory, MB a minute")  # of a program that still warms up
    assert all(found.values()), (found, report["visits"], report["reconnects"])
    assert report["frames"] > 0
    assert all(sample["rss_mb"] > 10 for sample in report["samples"])
    assert any(sample["fps"] for sample in report["samples"])
    assert len(report["gone_s"]) == (2 if source is None else 0)
    assert str(tmp_path) not in repr(report)
