"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A tiny real bundle: classes red, green, blue; input 32 x 32."""
    return write_bundle(tmp_path / "tiny.onnx")
