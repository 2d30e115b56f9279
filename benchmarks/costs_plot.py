"""The plots of docs/performance.md: four of costs, and one of edgex beside the peers.

Colors are those of Okabe and Ito, which people with any color vision tell apart; lines carry their names at their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LARGEST_BYTES = 100_000
NARROWEST = 0.055  # of the height of a plot: names at the ends of lines keep so far apart
Figures = dict[str, dict[str, dict[str, float]]]


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the four plots of benchmarks/costs.py as cost-NAME.png; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = report["frame"]
    pixels = report["pixels"]
    made = []
    for name, make in _plots(report, f"{width} × {height}", pixels).items():
        made.append(folder / f"cost-{name}.png")
        make(made[-1])
    return made


def _plots(report: dict[str, Any], frame: str, pixels: dict[str, int]) -> dict[str, Callable[[Path], None]]:
    def numbers(figures: Figures) -> list[float]:
        return sorted({float(place) for line in figures.values() for place in line})

    def plot(path: Path, figures: Figures, title: str, label: str, **more: Any) -> None:
        lines_plot(path, figures, title, label, **{"ticks": numbers(figures), **more})

    engine, shown = report["engine"], "three classes shown"
    return {
        "classes": lambda path: plot(
            path, report["classes"], f"{frame}, {engine}", "classes shown", log=True, unit="ms per frame"
        ),
        "resolution": lambda path: lines_plot(
            path,
            {
                line: {str(pixels[name] / 1e6): each for name, each in found.items()}
                for line, found in report["resolution"].items()
            },
            f"{shown}, {engine}",
            "megapixels of a frame",
            unit="ms per frame",
            ticks=[each / 1e6 for each in pixels.values()],
            names=[name if number % 2 == 0 else f"\n{name}" for number, name in enumerate(pixels)],  # two rows
        ),
        "batch": lambda path: plot(
            path, report["batch"], "engines alone", "pictures in a batch", log=True, unit="ms per picture"
        ),
        "threads": lambda path: plot(path, report["over_threads"], f"{frame}, {shown}", "threads", unit="ms per frame"),
    }


def lines_plot(
    path: Path,
    figures: Figures,
    title: str,
    label: str,
    *,
    unit: str,
    ticks: Sequence[float],
    names: Sequence[str] | None = None,
    log: bool = False,
) -> None:
    """Draw medians as lines and quartiles as bands, names at the ends of the lines.

    Parameters
    ----------
    path : PNG to write
    figures : line -> place on the axis, a number -> median_ms, lower_ms, upper_ms
    title, label, unit : of the plot, the lower axis and the left one
    ticks, names : of the lower axis; names are the numbers where there are none
    log : whether the lower axis is logarithmic
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.2, 4.0), dpi=110, layout="constrained")
    ends = []
    for (name, line), color, marker in zip(figures.items(), COLORS, MARKERS, strict=False):
        places = sorted(line, key=float)
        x = [float(place) for place in places]
        median, lower, upper = (
            [line[place][each] for place in places] for each in ("median_ms", "lower_ms", "upper_ms")
        )
        axes.fill_between(x, lower, upper, color=color, alpha=0.18, linewidth=0)
        axes.plot(x, median, color=color, marker=marker, markersize=5, linewidth=1.8)
        ends.append((name, color, x[-1], median[-1]))
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), list(names) if names else [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set(xlabel=label, ylabel=unit)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    _name_ends(axes, ends)
    _save(figure, path)


def _name_ends(axes: Any, ends: list[tuple[str, str, float, float]]) -> None:
    """Write the lines' names beside their ends, moved apart, and above the ends of lines that others outlast."""
    low, high = axes.get_ylim()
    gap, below = NARROWEST * (high - low), float("-inf")
    right = max(end[2] for end in ends)
    for name, color, x, y in sorted(ends, key=lambda end: end[3]):
        style: dict[str, Any] = {"color": color, "fontsize": 9, "textcoords": "offset points", "annotation_clip": False}
        if x < right:
            axes.annotate(name, (x, y), xytext=(0, 9), ha="right", **style)
            continue
        below = max(y, below + gap)
        axes.annotate(name, (x, below), xytext=(9, 0), va="center", **style)


def peers_plot(report: dict[str, Any], path: Path) -> None:
    """Draw the time of a frame for everyone with quartiles, the quickest on top, on a logarithmic axis."""
    pyplot = _pyplot()
    rows = sorted(report["sections"]["frame"]["contenders"].items(), key=lambda row: -row[1]["median_ms"])
    figure, axes = pyplot.subplots(figsize=(8.4, 0.9 + 0.32 * len(rows)), dpi=100, layout="constrained")
    for place, (name, row) in enumerate(rows):
        color, median = COLORS[0] if name.startswith("edgex") else COLORS[1], row["median_ms"]
        spread = [[median - row["lower_ms"]], [row["upper_ms"] - median]]
        marker = MARKERS[0] if name.startswith("edgex") else MARKERS[1]
        axes.errorbar(median, place, xerr=spread, fmt=marker, color=color, markersize=7, capsize=3)
        text = f"{median:.1f} ms" if median < 100 else f"{median:.0f} ms"
        where = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axes.annotate(text, (row["upper_ms"], place), color=color, **where)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    medians = [row["median_ms"] for _, row in rows]
    axes.set_xscale("log")
    axes.set_xlim(min(medians) / 1.5, max(medians) * 2.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("ms per frame (logarithmic)")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None}, facecolor="white")
    _pyplot().close(figure)
    if path.stat().st_size > LARGEST_BYTES:
        raise SystemExit(f"expected a plot of at most {LARGEST_BYTES} bytes, got {path.stat().st_size}; draw less")
