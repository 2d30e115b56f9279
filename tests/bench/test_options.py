"""What bench is asked for: what makes no sense is refused, and the report repeats it without paths and passwords."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgex.bench.options import BenchOptions
from edgex.errors import UsageError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": "fast"}, "engine, pipeline, paced"),
        ({"backends": ("tpu",)}, "expected a backend"),
        ({"backends": ()}, "expected a backend, got none"),
        ({"threads": 0}, "threads"),
        ({"streams": 0}, "streams"),
        ({"batches": (0,)}, "expected batches"),
        ({"seconds": 0.0}, "to measure"),
        ({"seconds": float("nan")}, "to measure"),
        ({"mode": "paced", "fps": 0.0}, "frames per second"),
        ({"mode": "paced", "fps": float("nan")}, "frames per second"),
        ({"mode": "paced", "policy": "oldest"}, "expected a policy"),
        ({"mode": "paced", "slo_ms": 0.0}, "limit"),
        ({"fps": 30.0}, "--fps with --mode paced only, got --mode engine"),
        ({"mode": "pipeline", "policy": "newest"}, "--policy with --mode paced only"),
        ({"mode": "paced", "batches": (8,)}, "--batch with --mode engine only"),
        ({"mode": "pipeline", "streams": 2}, "--streams with --mode engine only"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BenchOptions(**fields)


def test_the_report_gets_them_as_json_without_paths_and_passwords() -> None:
    models = (Path("folder", "a.onnx"),)
    tree = BenchOptions(models, source="rtsp://me:secret@camera/live", backends=("auto",)).to_json()
    assert json.loads(json.dumps(tree)) == tree
    assert tree["models"] == ["a.onnx"]
    assert "camera/live" in tree["source"]
    assert "secret" not in tree["source"]
    assert BenchOptions(source=str(Path("folder", "clip.mp4"))).to_json()["source"] == "clip.mp4"
