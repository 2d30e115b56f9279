"""What the tests of bench share: a folder of pictures to measure with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import patched_picture
from tests.clips import write_picture


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    (tmp_path / "pictures").mkdir()
    for index, label in enumerate(("red", "green", "blue", "red")):
        write_picture(tmp_path / f"pictures/{index}.png", patched_picture(label=label))
    return str(tmp_path / "pictures")
