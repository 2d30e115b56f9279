"""The process of a step of the GPU report: what it is given of the environment, and what leaves it of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.child import run_step, without_places
from benchmarks.gpu.steps import Step


def test_a_step_s_process_waits_for_no_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "{'kept': os.environ.get('CUDA_LAUNCH_BLOCKING')}"
    (tmp_path / "odd_tells.py").write_text(f"import os\ndef step(context):\n    return {told}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    (tmp_path / "its").mkdir()
    entry = run_step(Step("tells", 10.0, "odd_tells"), tmp_path / "its", 60.0, 1, False, lambda _: None)
    assert (entry["state"], entry["found"]) == ("done", {"kept": None})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("see /usr/lib/python3/x.py, line 3", "see x.py, line 3"),
        ("'/a/b/c.onnx' is", "'c.onnx' is"),
        ("GB/s, a/b/c and http://a/b/c", "GB/s, a/b/c and http://a/b/c"),
        ({"k": ["/a/b/c", 1, None]}, {"k": ["c", 1, None]}),
    ],
)
def test_paths_of_the_machine_become_names(text: Any, kept: Any) -> None:
    assert without_places(text) == kept
