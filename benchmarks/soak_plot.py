"""Draw benchmarks/results/soak.json: memory, threads, open files, rate and age over time, and when the stream was gone.

Usage: python -m benchmarks.soak_plot [--input JSON] [--output PNG]       (benchmarks.soak draws it too)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "benchmarks/results/soak.json"
OUTPUT = ROOT / "docs/pictures/soak.png"
INK, SECOND, GONE = "#1f4e79", "#c55a11", "#00000014"
PANELS = (  # fields of a sample, their names, what the axis says
    (("rss_mb",), ("resident memory",), "MB"),
    (("threads", "files"), ("threads", "open files"), "count"),
    (("fps",), ("rate",), "frames/s"),
    (("age_ms",), ("age at output, mean of 2 s",), "ms"),
)


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw a report as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = report["samples"]
    minutes = [sample["at_s"] / 60 for sample in samples]
    figure, axes = pyplot.subplots(len(PANELS), 1, sharex=True, figsize=(9, 8), layout="constrained")
    for axis, (fields, names, unit) in zip(axes, PANELS, strict=True):
        for field, name, color in zip(fields, names, (INK, SECOND), strict=False):
            values = [float("nan") if sample[field] is None else sample[field] for sample in samples]
            axis.plot(minutes, values, color=color, linewidth=1.4, label=name)
            axis.annotate(name, (1.005, values[-1]), xycoords=("axes fraction", "data"), color=color, va="center")
        for start_s, end_s in report["gone_s"]:
            axis.axvspan(start_s / 60, end_s / 60, color=GONE, linewidth=0)
        axis.set_ylabel(unit)
        axis.set_ylim(bottom=0)
        axis.margins(x=0, y=0.12)
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:2]:
        axis.axvline(report["warm_s"] / 60, color="grey", linestyle=":", linewidth=1)
    axes[0].set_ylim(top=max(sample["rss_mb"] for sample in samples) * 1.25)
    title = f"edgex run, {report['minutes']:g} minutes: {report['about']}\n"
    title += "grey: the stream is gone; dotted: from here on it is held to be flat"
    axes[0].set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=INPUT)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    plot(json.loads(given.input.read_text(encoding="utf-8")), given.output)


if __name__ == "__main__":
    main()
