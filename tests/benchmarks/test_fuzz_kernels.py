"""The fuzzer: it finds wrong answers, changed memory, unexplained refusals and a process that dies."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import fuzz_kernels
from benchmarks.fuzz_arguments import draw_attempt
from benchmarks.fuzz_outputs import MAKERS, Attempt
from benchmarks.scenes import Subject, drawing, open_subject
from edgex.errors import UsageError
from tests.test_preprocess import exactly

ENTRIES = ("compose", "preprocess")


def plain(out: Any = None) -> Attempt:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (3, 5, 5)).astype(np.float32)
    arguments = {"image": image, "mask_logits": logits, "drawing": drawing("overlay", 2)}
    return Attempt("compose", arguments, ["plain"], out)


def subject_with(compose: Any) -> Subject:
    return replace(open_subject("opencv"), compose=compose)


def test_a_right_answer_passes_and_a_refusal_is_counted() -> None:
    opencv = open_subject("opencv")
    assert fuzz_kernels.outcome(plain(), opencv) == "answered"
    attempt = plain()
    attempt.arguments["image"] = attempt.arguments["image"].astype(np.float32)
    assert fuzz_kernels.outcome(attempt, opencv) == "refused"


def test_two_levels_off_fails() -> None:
    opencv = open_subject("opencv")
    with pytest.raises(AssertionError, match="against"):
        fuzz_kernels.outcome(plain(), subject_with(lambda *each: opencv.compose(*each) // 2))


@pytest.mark.parametrize(
    ("error", "said"),
    [(UsageError("wrong"), "explains little"), (ValueError("odd"), "expected UsageError, got ValueError: odd")],
)
def test_a_refusal_must_explain(error: Exception, said: str) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    with pytest.raises(AssertionError, match=said):
        fuzz_kernels.outcome(plain(), subject_with(refuse))


def test_writing_to_an_input_or_beside_out_fails() -> None:
    opencv = open_subject("opencv")

    def scribble(image: Any, logits: Any, drawn: Any) -> Any:
        picture = opencv.compose(image, logits, drawn)
        logits[0, 0, 0] += 1
        return picture

    with pytest.raises(AssertionError, match="was changed"):
        fuzz_kernels.outcome(plain(), subject_with(scribble))

    def overrun(image: Any, logits: Any, drawn: Any, out: Any) -> Any:
        out[:] = opencv.compose(image, logits, drawn)
        out.base[0, 0] = 0
        return out

    attempt = plain()
    attempt.out = MAKERS["out in a larger array"](attempt, (9, 12, 3), np.dtype(np.uint8))
    with pytest.raises(AssertionError, match="was changed"):
        fuzz_kernels.outcome(attempt, subject_with(overrun))


def test_the_oracle_of_preprocessing_is_the_rule_written_out() -> None:
    image = np.random.default_rng(1).integers(0, 256, (13, 7, 3), dtype=np.uint8)
    for height, width in ((5, 3), (20, 3), (5, 11), (26, 14), (1, 1)):
        np.testing.assert_allclose(fuzz_kernels.resized(image, height, width), exactly(image, height, width), atol=1e-9)


def test_a_number_always_draws_the_same_call() -> None:
    for number in range(50):
        one, two = (draw_attempt(np.random.default_rng([3, number]), ENTRIES) for _ in range(2))
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert (one.entry, one.kinds) == (two.entry, two.kinds)


def test_every_kind_of_out_is_drawn() -> None:
    attempts = (draw_attempt(np.random.default_rng([4, number]), ENTRIES) for number in range(3000))
    kinds = {kind for attempt in attempts if attempt is not None for kind in attempt.kinds}
    assert set(MAKERS) <= kinds


def test_plain_calls_of_opencv_never_fail() -> None:
    opencv = open_subject("opencv")
    answered = 0
    for number in range(400):
        attempt = draw_attempt(np.random.default_rng([5, number]), ())
        if attempt is not None and set(attempt.kinds) <= {"plain", "overlay", "heat", "cutout", "outline"}:
            answered += fuzz_kernels.outcome(attempt, opencv) == "answered"
    assert answered > 50


@pytest.mark.parametrize(
    ("code", "fate"),
    [
        ("import os, signal; print('so far'); os.kill(os.getpid(), signal.SIGABRT)", "died of SIGABRT"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "did not come back within 1 s"),
        ("print('well')", ""),
    ],
)
def test_how_a_process_ends_is_told(code: str, fate: str) -> None:
    assert fuzz_kernels.fate_of([sys.executable, "-c", code], 1.0)[0] == fate


def test_a_run_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    code = fuzz_kernels.supervise(0, 3.0, "opencv", None)  # seconds; how many calls they hold is the machine's affair
    printed = capsys.readouterr().out
    calls, failed = map(int, re.findall(r"opencv: seed 0, (\d+) calls, (\d+) failed", printed)[0])
    assert calls > 0
    assert code == (failed > 0)
    assert re.search(r"compose: all +\d+ answered +\d+ refused +\d+ failed", printed)
