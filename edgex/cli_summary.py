"""What `edgex run` prints when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgex.tally import Summary
    from edgex.timing import Spread


def print_summary(summary: Summary, products: dict[str, str]) -> None:
    """Print what a run did, and what it wrote: product -> path."""
    stages = ", ".join(f"{name} {times.p50_ms:.1f}" for name, times in summary.stages.items())
    seen = ", ".join(f"{label} in {count}" for label, count in summary.classes.items()) or "none"
    rate = f"{summary.frames_per_second:.1f} frames per second" + f", {summary.skipped} skipped" * (summary.skipped > 0)
    print(f"{summary.frames} frames in {summary.seconds:.1f} s: {rate}")
    print(f"classes shown: {seen}")
    print(f"ms a frame (median): {stages}")
    if summary.live and summary.age is not None:
        print(_live_line(summary, summary.age))
    if summary.flicker is not None and summary.frames > 1:
        print(f"flicker where nothing moved: {summary.flicker:.4f} of 1 from frame to frame")
    if summary.faith is not None:
        faith = summary.faith
        print(
            f"faithfulness in {faith.frames} frames: the mask keeps {faith.kept:.0%} of the score, "
            f"without it {faith.lost:.0%} is lost"
        )
    for path in products.values():
        print(f"wrote {path}")


def _live_line(summary: Summary, age: Spread) -> str:
    late = "" if summary.deadline_ms is None else f", {summary.late} later than {summary.deadline_ms:.0f} ms"
    again = f", opened again {summary.reconnects} times" if summary.reconnects else ""
    ages = f"median {age.p50_ms:.0f} ms, 99th percentile {age.p99_ms:.0f} ms"
    return f"age at output: {ages}{late}; {summary.dropped} dropped{again}"
