"""Turn benchmarks/results/smoothing.json into the table and the plot of the section "Smoothing" in docs/live.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "benchmarks/results/smoothing.json"
PICTURE = ROOT / "docs/pictures/smoothing.png"
COLORS = {"object": "#0072B2", "pan": "#D55E00"}  # of Okabe and Ito: told apart by everybody
STILL = "noise and JPEG"


def flicker(row: dict[str, Any]) -> float:
    """Return the flicker of still clips in percent."""
    return 100.0 * float(row["flicker"][STILL]["mean"])


def change(rows: dict[str, dict[str, Any]], tau: str, kind: str, figure: str = "iou") -> float:
    """Return by how many points IoU (or F1) is above that of unsmoothed masks; NaN where no mask found its object."""
    plain, smoothed = rows["0"][figure][kind], rows[tau][figure][kind]
    return float("nan") if plain is None else 100.0 * float(smoothed - plain)


def table(report: dict[str, Any]) -> str:
    """Return a table in Markdown, one row a time constant and model."""
    speeds = sorted({kind.split()[1] for rows in report["models"].values() for kind in rows["0"]["iou"]}, key=float)
    moving = [f"{kind} {speed}" for kind in COLORS for speed in speeds]
    head = ["", "seconds", "flicker, %", *(f"IoU, {kind}" for kind in moving), "mask there, ms", "label there, ms"]
    lines = [head, ["---"] * len(head)]
    for name, rows in report["models"].items():
        for tau, row in rows.items():
            plain = ["none" if row["iou"][kind] is None else f"{100.0 * row['iou'][kind]:.1f}" for kind in moving]
            moved = plain if tau == "0" else [f"{change(rows, tau, kind):+.1f}" for kind in moving]
            delays = [_delay(row[each]) for each in ("onset_ms", "label_ms")]
            lines.append([name, tau, f"{flicker(row):.2f}", *moved, *delays])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the change of IoU over flicker as PNG: one line for each model and kind of motion, one mark a constant."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), dpi=110, layout="constrained")
    chosen = f"{report['default_s']:g}"
    for (name, rows), line, mark in zip(report["models"].items(), ("-", "--"), ("o", "s"), strict=False):
        across = [flicker(row) for row in rows.values()]
        for kind, color in COLORS.items():
            up = [change(rows, tau, f"{kind} {report['ordinary_speed']}") for tau in rows]
            what = "object crosses" if kind == "object" else "camera pans"
            axes.plot(across, up, line, color=color, marker=mark, markersize=4, label=f"{what}, {name}")
            place = list(rows).index(chosen)
            axes.plot(across[place], up[place], mark, color=color, markersize=10, markerfacecolor="none")
    rows = next(iter(report["models"].values()))
    for tau, row in rows.items():
        place = (flicker(row), change(rows, tau, f"object {report['ordinary_speed']}"))
        axes.annotate(f"{tau} s", place, (-6, 4), textcoords="offset points", fontsize=8, ha="right")
    axes.axhline(-1.0, color="0.4", linewidth=1, linestyle=":")
    axes.annotate("1 point lost", (0.01, -1.0), (0, 3), ("axes fraction", "data"), "offset points", fontsize=8)
    axes.set(
        xlabel="flicker of masks before a still camera, % (left is calmer)",
        ylabel=f"change of IoU at {report['ordinary_speed']} widths/s, points",
        title=f"smoothing by time constant; ringed: the default, {chosen} s",
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1.0])
    axes.set_xlim(left=0.04)
    axes.minorticks_off()
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _delay(found: dict[str, Any]) -> str:
    return "never" if found["median"] is None else f"{found['median']:.0f}"
