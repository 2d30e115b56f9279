"""How much memory a call takes beyond its inputs and its result, in a process of its own so that nothing else counts.

Usage: python -m benchmarks.peak_memory SUBJECT THREADS WORK COUNT; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scenes import NETWORK, drawing, open_subject

ULTRA_HD = (2160, 3840)  # rows, columns
CALLS = 20
HOW = (
    "a fresh process at 3840 x 2160; VmHWM of /proc/self/status is set back (clear_refs) after the first call, which "
    f"pays for threads and tables, and again read after {CALLS} more; inputs and out were touched before, a result "
    "that is allocated by the call is subtracted; the kernel counts in steps of up to 256 KB a thread"
)


def status_kb(field: str) -> int:
    """Return a field of /proc/self/status in KB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def forget_peak() -> None:
    """Set VmHWM back to VmRSS."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def work_of(subject_name: str, threads: int, work: str, count: int) -> tuple[Callable[[], Any], Any]:
    """Return the call and the memory that its result goes into, None where the call allocates it."""
    subject = open_subject(subject_name)
    subject.set_threads(threads)
    image = np.random.default_rng(0).integers(0, 256, (*ULTRA_HD, 3), dtype=np.uint8)
    logits = np.random.default_rng(1).normal(0, 4, (20, 28, 28)).astype(np.float32)
    if work == "preprocess":
        out: Any = np.zeros((1, 3, NETWORK.height, NETWORK.width), np.float32)
        return partial(subject.preprocess, image, NETWORK, out=out), out
    if work == "masks":
        return partial(subject.masks, logits, tuple(range(count)), *ULTRA_HD), None
    out = np.ones_like(image)
    return partial(subject.compose, image, logits, drawing(work, count), out=out), out  # type: ignore[arg-type]


def probe(subject_name: str, threads: int, work: str, count: int) -> dict[str, Any]:
    """Return first_kb, what the first call added, and steady_kb, the peak of the later ones over what lay before."""
    call, out = work_of(subject_name, threads, work, count)
    forget_peak()
    before = status_kb("VmRSS")
    result = call()
    own_kb = 0 if result is out else result.nbytes // 1024  # kept: freed memory would be taken again, and not be seen
    first = status_kb("VmHWM") - before - own_kb
    forget_peak()
    before = status_kb("VmRSS")
    for _ in range(CALLS):
        call()
    return {"first_kb": first, "steady_kb": status_kb("VmHWM") - before - own_kb, "result_kb": own_kb}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
