"""The kernel benchmark: rounds, limits, what is compared, and the tables made of it. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import drawing_peers, kernels, kernels_plot, kernels_scaling
from benchmarks import page as page_of
from benchmarks.rounds import Contender, describe_machine, interleave, quartiles
from benchmarks.scenes import NETWORK, drawing, frame, mask_logits, open_subject

ROOT = Path(__file__).resolve().parent.parent.parent


def times(**medians: float) -> dict[str, dict[str, float]]:
    first = next(iter(medians.values()))
    return {name.replace("_", " "): {"median_ms": each, "over_first": each / first} for name, each in medians.items()}


def test_each_round_runs_each_contender_and_prepares_it_first() -> None:
    seen: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(lambda: seen.append(name), lambda: seen.append(f"prepare {name}"))

    found = interleave({"a": contender("a"), "b": contender("b")}, 3)
    runs = [name for name, before in zip(seen, [None, *seen], strict=False) if name != before]
    assert [each["rounds"] for each in found.values()] == [3, 3]
    assert runs.count("prepare a") == runs.count("prepare b") == 4  # the first round is thrown away
    for place, name in enumerate(runs[::2]):
        assert runs[2 * place + 1] == name.removeprefix("prepare ")
    for number in range(4):
        assert {*runs[4 * number : 4 * number + 4]} == {"a", "b", "prepare a", "prepare b"}


def test_ratios_are_those_of_the_same_round() -> None:
    found = interleave({"a": Contender(lambda: None), "b": Contender(lambda: None)}, 5)
    assert found["a"]["over_first"] == 1.0
    assert found["b"]["over_first"] > 0.0


def test_quartiles_are_those_of_the_times() -> None:
    assert quartiles([4.0, 1.0, 2.0, 3.0, 100.0]) == {"median_ms": 3.0, "lower_ms": 2.0, "upper_ms": 4.0, "rounds": 5}


def test_limits_are_judged_by_the_medians_of_the_same_rounds() -> None:
    case = kernels.Case("x", "overlay", 1, (kernels.Limit("times", 7, "copy"), kernels.Limit("faster", 4, "torch")))
    judged = kernels.judge(case, times(native=1.4, copy=0.2, torch=5.5), "native")
    assert [(each["reached"], each["met"]) for each in judged] == [(7.0, True), (3.929, False)]
    slow = kernels.Case("y", "preprocess", 0, (kernels.Limit("ms", 0.4), kernels.Limit("faster", 60, "absent")))
    judged = kernels.judge(slow, times(native=0.5), "native")
    assert [(each["reached"], each["met"]) for each in judged] == [(0.5, False), (None, None)]


@pytest.mark.parametrize("case", kernels.CASES, ids=lambda case: case.name)
def test_what_is_compared_agrees(case: kernels.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FULL_HD", (270, 480))
    subject = open_subject("opencv")
    calls, missing = kernels.calls_of(case, "random", subject)
    assert set(missing) <= {"supervision"}
    differences = kernels.check(case, "random", subject, calls)
    assert set(differences) == set(calls) - {"opencv", "copy"}
    calls["torch"] = lambda: np.asarray(calls["opencv"]()) + 2
    with pytest.raises(SystemExit, match="torch differs"):
        kernels.check(case, "random", subject, calls)


def test_both_kinds_of_logits_fill_twenty_classes() -> None:
    noise, real = mask_logits("random"), mask_logits("real")
    assert noise.shape == real.shape == (20, 28, 28)
    assert noise.dtype == real.dtype == np.float32
    assert 0.4 < (noise > 0).mean() < 0.6
    assert len(np.unique(real.reshape(20, -1), axis=0)) == 20


def test_the_cost_of_bytes_counts_each_picture_and_tensor_once() -> None:
    image = frame(1080, 1920)
    assert kernels_scaling.bytes_moved("overlay 20", image.nbytes) == 2 * image.nbytes
    assert kernels_scaling.bytes_moved("masks 3", image.nbytes) == image.nbytes
    assert (
        kernels_scaling.bytes_moved("preprocess", image.nbytes) == image.nbytes + 3 * 4 * NETWORK.height * NETWORK.width
    )


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux' /proc")
def test_peak_memory_sees_what_a_call_allocates() -> None:
    code = "import json; from benchmarks import peak_memory as it; it.ULTRA_HD = (540, 960); "
    code += "print(json.dumps(it.probe('opencv', 1, 'overlay', 1)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["steady_kb"] > 540 * 960 * 4 // 1024 * 0.8, "one float32 plane at least"
    assert found["result_kb"] == 540 * 960 * 3 // 1024


def test_a_missing_peer_is_named_and_the_others_go_on() -> None:
    def absent() -> Any:
        raise ModuleNotFoundError("No module named 'absent'")

    calls, missing = drawing_peers.prepared({"absent": absent, "there": lambda: len})
    assert list(calls) == ["there"]
    assert missing == {"absent": "not measured: No module named 'absent'"}


def test_the_annotators_draw_inside_the_masks_only() -> None:
    image, draw = frame(90, 160), drawing("overlay", 3)
    masks = np.zeros((3, 90, 160), bool)
    masks[:, 20:40, 30:90] = True
    for maker in (drawing_peers.torchvision_drawing, drawing_peers.supervision_annotator):
        calls, missing = drawing_peers.prepared({"it": lambda maker=maker: maker(image, masks, draw)})
        if not missing:
            picture = np.asarray(calls["it"]())
            assert np.array_equal(picture[~masks[0]], image[~masks[0]])
            assert not np.array_equal(picture[masks[0]], image[masks[0]])


def test_the_machine_is_described_without_its_name_and_paths() -> None:
    import platform

    text = json.dumps(describe_machine())
    assert platform.node() not in text
    assert "/" not in text.replace("GNU/Linux", "")


def test_tables_fill_their_places_and_can_be_filled_again() -> None:
    page = "a\n<!-- table: limits -->\nold\n<!-- end -->\nb\n<!-- table: memory -->\nkept\n<!-- end -->\n"
    once = page_of.filled(page, {"limits": "new"})
    assert once == page.replace("old", "new")
    assert page_of.filled(once, {"limits": "new"}) == once


def test_every_table_has_its_place_in_the_page() -> None:
    page = (ROOT / "docs/kernels.md").read_text(encoding="utf-8")
    assert {match[2] for match in page_of.PLACE.finditer(page)} == set(kernels_plot.TABLES)


def test_a_report_becomes_tables_and_a_small_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FULL_HD", (270, 480))
    monkeypatch.setattr(kernels_scaling, "FULL_HD", (270, 480))
    monkeypatch.setattr(kernels_scaling, "SIZES", {"small": (45, 80), "large": (270, 480)})
    sections = tuple(name for name in kernels.SECTIONS if name != "memory")
    report = json.loads(json.dumps(kernels.measure("opencv", 1, 2, sections)))
    texts = kernels_plot.tables(report)
    assert set(texts) == set(kernels_plot.TABLES) - {"memory"}
    assert all(f"| {case.name} |" in texts["cases"] for case in kernels.CASES)
    kernels_plot.plot(report, tmp_path / "plot.png")
    assert 1000 < (tmp_path / "plot.png").stat().st_size <= kernels_plot.LARGEST_BYTES
