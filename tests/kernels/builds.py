"""kernels/build.py as a module: it lies in no package, since pip runs it before there is one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

KERNELS = Path(__file__).parents[2] / "kernels"


def load_build() -> ModuleType:
    """Return the module."""
    spec = importlib.util.spec_from_file_location("kernels_build", KERNELS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
