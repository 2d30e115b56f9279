"""What the control group of this program grants it: where its files are, its share of the cores, its memory.

Both versions of control groups are read; inside a container only its own level may be seen, and that is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgex.doctor_check import read_text

_MOUNT = "sys/fs/cgroup"


def levels(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this program's control group, its own first, then those around it.

    Parameters
    ----------
    root : where proc and sys are
    controller : "cpu" or "memory"
    """
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        mounts = [_MOUNT] if not names else [f"{_MOUNT}/{controller}", f"{_MOUNT}/{names}"]
        base = next((root / each for each in mounts if (root / each).is_dir()), None)
        if base is None:
            continue
        own = base / path.strip("/")
        for folder in (own, *own.parents):
            if folder.is_dir() and folder.is_relative_to(base):
                yield folder


def cpu_quota(root: Path) -> float | None:
    """Return how many cores' time the control groups grant, or None without a limit."""
    granted = []
    for folder in levels(root, "cpu"):
        quota, _, period = read_text(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota = read_text(folder / "cpu.cfs_quota_us").strip()
            period = read_text(folder / "cpu.cfs_period_us").strip()
        if quota.isdecimal() and period.isdecimal() and int(period):
            granted.append(int(quota) / int(period))
    return round(min(granted), 2) if granted else None


def memory_limit_bytes(root: Path) -> int | None:
    """Return how much memory the control groups grant, or None without a limit."""
    granted = []
    for folder in levels(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = read_text(folder / name).strip()
            if limit.isdecimal() and int(limit) < 2**60:  # version 1 says "no limit" by a huge number
                granted.append(int(limit))
    return min(granted) if granted else None
