"""Where the kernels' sources lie, and their hash: a library compiled from other sources is told by it.

Needs the standard library only: `kernels/build.py` loads this file by its path, where nothing is installed yet.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent


def kernel_sources() -> Path:
    """Return the folder of the kernels' sources: in the package where it is installed, beside it in a checkout."""
    inside = PACKAGE / "kernels"
    return inside if inside.is_dir() else PACKAGE.parent / "kernels"


def source_hash(folder: Path) -> str:
    """Return a hash of the sources of the CPU kernels in `folder`."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.h"), *folder.glob("*.cpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
