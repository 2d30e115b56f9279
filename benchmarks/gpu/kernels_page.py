"""Aims, tables and plot of the step `kernels` of benchmarks/gpu_report.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.page import table

SHARE, FRAME_US, EAGER, COMPILED = 0.8, 10.0, 15.0, 3.0
PICTURE = "gpu-kernels.png"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the issue aims at, as far as there are figures: aim, bound, reached, met, at_least."""
    return [
        {"aim": aim, "bound": bound, "reached": reached, "met": reached >= bound if least else reached <= bound}
        for aim, bound, reached, least in _aims(found)
    ]


def _aims(found: dict[str, Any]) -> Iterator[tuple[str, float, float, bool]]:
    cases = found["cases"]
    for name in dict.fromkeys(row["case"] for row in cases):
        beyond = [row for row in cases if row["case"] == name and row["batch"] > 1 and row["beyond_cache"]]
        if beyond:
            worst = min(beyond, key=lambda row: float(row["share_of_copy"][1]))
            aim = f"{name}: share of the copy bandwidth, batch {worst['batch']}, worst of all sizes ({_size(worst)})"
            yield aim, SHARE, worst["share_of_copy"][1], True
    for row in cases:
        if row["picture"] == [1080, 1920] and row["batch"] == 1:
            yield f"{row['case']}: us of a 1080p frame", FRAME_US, _best_us(row), False
    for name, bound in (("torch eager", EAGER), ("torch.compile", COMPILED)):
        for row in found["peers"].get(name, ()):
            if row["picture"] == [1080, 1920]:
                aim = f"{row['case']}, 1080p, batch {row['batch']}: times as fast as {name}, by {row['by']}"
                yield aim, bound, row["times_ours"][1], True


def _best_us(row: dict[str, Any]) -> float:
    us: dict[str, list[float]] = row["us_quartiles"]
    return us["graph" if "graph" in us else "events"][1]


def _size(row: dict[str, Any]) -> str:
    return "{1} x {0}".format(*row["picture"])


def page(found: dict[str, Any]) -> str:
    """Return the tables of cases, peers and variants, and what is missing."""
    parts = [_cases(found), _peers(found), _variants(found)]
    parts += [f"Not measured: {name}: {why}." for name, why in _grouped(found["missing"]).items()]
    return "\n\n".join(filter(None, parts))


def _grouped(missing: dict[str, str]) -> dict[str, str]:
    """Return names that share a reason in one entry, since a run that is cut off leaves many cases out."""
    names: dict[str, list[str]] = {}
    for name, why in missing.items():
        names.setdefault(why.rstrip("."), []).append(name)
    return {
        ", ".join(each) if len(each) < 4 else f"{each[0]} and {len(each) - 1} others": why
        for why, each in names.items()
    }


def _cases(found: dict[str, Any]) -> str:
    if not found["cases"] or "us_quartiles" not in found["cases"][0]:
        moved = sum(row["bytes_read"] + row["bytes_written"] for row in found["cases"])
        return f"{len(found['cases'])} cases of {moved:,} bytes together were built."
    copy, rows = found["copy"], []
    for row in found["cases"]:
        us, share = row["us_quartiles"], row["share_of_copy"]
        graph = "{1:.2f} ({0:.2f} to {2:.2f})".format(*us["graph"]) if "graph" in us else ""
        moved = (row["bytes_read"] + row["bytes_written"]) // row["batch"]
        shares = f"{share[1]:.2f}", f"{row['share_of_same_copy'][1]:.2f}"
        rows.append((row["case"], _size(row), row["batch"], f"{moved:,}", f"{us['events'][1]:.2f}", graph, *shares))
    head = ("case", "picture", "batch", "bytes a frame", "us a frame", "us in a graph (quartiles)")
    told = f"Copy: {copy['gb_per_s']:,.0f} GB/s read and written, of {copy['bytes']:,} bytes"
    told += f"; L2 cache {found['l2_bytes']:,} bytes."
    return f"{told}\n\n" + table((*head, "share of the copy", "of a copy of as many bytes"), rows)


def _peers(found: dict[str, Any]) -> str:
    rows = []
    for name, cases in found["peers"].items():
        if isinstance(cases, str):  # of a dry run
            rows.append((name, cases, "", "", "", "", ""))
            continue
        for row in cases:
            us, ratio = row["us_quartiles"], row["times_ours"]
            graph = f"{us['peer graph'][1]:.1f}" if "peer graph" in us else ""
            times = "{1:.1f} ({0:.1f} to {2:.1f})".format(*ratio), f"{row['times_ours_as_called']:.1f}"
            rows.append((name, f"{row['case']}, {_size(row)}", row["batch"], f"{us['peer'][1]:.1f}", graph, *times))
    head = ("peer", "case", "batch", "us a frame", "us in a graph", "times ours, the like", "times ours, as called")
    return table(head, rows) if rows else ""


def _variants(found: dict[str, Any]) -> str:
    timed = [row for row in found["variants"] if "us" in row]
    names = list(dict.fromkeys(name for row in timed for name in row["us"]))
    rows = [
        (
            *(row["case"], _size(row), row["batch"], f"{row['bytes_us']:.2f}"),
            *(f"{row['us'][name][1]:.2f}" if name in row["us"] else "" for name in names),
        )
        for row in timed
    ]
    return table(("us a frame", "picture", "batch", "bytes alone", *names), rows) if rows else ""


def draw(found: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw the share of the copy over classes, batch 16 at 1080p, and the time of a frame over sizes."""
    cases = [row for row in found["cases"] if "us_quartiles" in row]
    if not cases:
        return {}
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.4, 4.0), dpi=100, layout="constrained")
    works = list(dict.fromkeys(row["work"] for row in cases))
    for work, color in zip(works, COLORS, strict=False):
        mine = [row for row in cases if row["work"] == work]
        big = [row for row in mine if row["picture"] == [1080, 1920] and row["batch"] > 1]
        style = {"marker": "o", "markersize": 4, "color": color, "label": work}
        left.plot([max(1, row["classes"]) for row in big], [row["share_of_copy"][1] for row in big], **style)
        single = [row for row in mine if row["batch"] == 1 and row["classes"] in (0, 3)]
        single.sort(key=lambda row: int(row["picture"][0]))
        right.plot(
            [row["picture"][0] * row["picture"][1] / 1e6 for row in single], [_best_us(row) for row in single], **style
        )
    left.axhline(SHARE, color="0.5", linestyle="--", linewidth=1)
    left.set(xscale="log", ylim=(0, None), xlabel="classes shown", ylabel="share of the copy bandwidth")
    left.set_xticks([1, 3, 20], ["1", "3", "20"])
    left.minorticks_off()
    right.axhline(FRAME_US, color="0.5", linestyle="--", linewidth=1)
    right.set(ylim=(0, None), xlabel="megapixels, one frame, three classes", ylabel="us a frame")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=8)
    figure.savefig(folder / PICTURE, metadata={"Software": None}, facecolor="white")
    pyplot.close(figure)
    return {
        PICTURE: "Share of the copy bandwidth over classes (1080p, largest batch), and time of a frame over its size"
    }
