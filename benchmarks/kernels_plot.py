"""Turn benchmarks/results/kernels.json into the tables of docs/kernels.md and the plot beside them.

Tables stand in the page between `<!-- table: NAME -->` and `<!-- end -->`, and are replaced there.

Usage: python -m benchmarks.kernels_plot [--input JSON] [--markdown]      (--markdown prints them and writes nothing)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.page import fill, software, table

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "benchmarks/results/kernels.json"
PAGE = ROOT / "docs/kernels.md"
PICTURE = ROOT / "docs/pictures/kernels-scaling.png"
LARGEST_BYTES = 100_000


def machine(report: dict[str, Any]) -> str:
    about = report["machine"]
    loads = " and ".join(f"{report[name][0]:.1f}" for name in ("load_before", "load_after"))
    return (
        f"{about['cpu']} ({about['architecture']}), {report['threads']} threads on {about['cores']} cores, "
        f"{', '.join(report['instruction_sets']) or 'no choice of instructions'}; {about['system']}.\n"
        f"{software(about)}.\n"
        f"{about['date']}; load average before and after: {loads}."
    )


def limits(report: dict[str, Any]) -> str:
    said = {
        "times": ("{} times the {}", "{:.1f} times"),
        "faster": ("{} times faster than {}", "{:.1f} times"),
        "ms": ("{} ms", "{:.3f} ms"),
    }
    rows = []
    for row in report["cases"]:
        for each in row["limits"]:
            asked, reached = said[each["kind"]]
            bound = "at least " if each["kind"] == "faster" else "at most "
            met = {True: "met", False: "missed", None: row["missing"].get(each["of"], "not measured")}[each["met"]]
            value = "" if each["reached"] is None else reached.format(each["reached"])
            rows.append((row["case"], bound + asked.format(each["limit"], each["of"]), value, met))
    return table(("case", "limit", "reached", ""), rows)


def cases(report: dict[str, Any]) -> str:
    subject = report["subject"]
    rows = []
    for row in report["cases"]:
        times, ratios = row["contenders"], row["ratios"]
        others = [name for name in times if name not in (subject, "copy")]
        rows.append(
            (
                row["case"],
                row["logits"] or "",
                f"{times[subject]['median_ms']:.3f}",
                f"{times[subject]['lower_ms']:.3f} to {times[subject]['upper_ms']:.3f}",
                f"{times['copy']['median_ms']:.3f}",
                f"{1.0 / ratios['copy']:.1f}",
                ", ".join(f"{name} {times[name]['median_ms']:.2f} ({ratios[name]:.1f}×)" for name in others),
            )
        )
    return table(("case", "logits", "ms", "quartiles", "copy, ms", "× copy", "others, ms (times ours)"), rows)


def sizes(report: dict[str, Any]) -> str:
    found = report["sizes"]
    rows = [(row["case"], *(f"{each:.3f}" for each in row["ns_per_pixel"].values()), row["exponent"])
            for row in found["rows"]]  # fmt: skip
    return table(("ns a pixel", *found["pixels"], "exponent"), rows)


def threads(report: dict[str, Any]) -> str:
    counts = list(report["scaling"]["rows"][0]["times"])
    rows = [
        (row["case"], *(f"{row['times'][each]['median_ms']:.3f} ({row['speedup'][each]:.2f}×)" for each in counts))
        for row in report["scaling"]["rows"]
    ]
    return table(("ms", *(f"{each} thread{'s' if each != '1' else ''}" for each in counts)), rows)


def instruction_sets(report: dict[str, Any]) -> str:
    names = report["instruction_sets"]
    rows = [(row["case"], *(f"{row['times'][each]['median_ms']:.3f}" for each in names))
            for row in report["instructions"]["rows"]]  # fmt: skip
    return table(("ms", *names), rows)


def memory(report: dict[str, Any]) -> str:
    rows = [
        (row["case"], row["steady_kb"], row["first_kb"], row["limit_kb"], "met" if row["met"] else "missed")
        for row in report["memory"]["rows"]
    ]
    header = ("case at 4K", "KB, later calls", "KB, first call", "limit for later calls", "")
    return table(header, rows) + f"\n\nHow: {report['memory']['how']}."


def bounds(report: dict[str, Any]) -> str:
    rows = [
        (
            row["case"],
            f"{row['times']['case']['median_ms']:.3f}",
            f"{row['bytes_ms']:.3f}",
            f"{row['arithmetic_ms']:.3f}",
            row["bound"],
            f"{row['times_the_bound']:.2f}",
        )
        for row in report["bounds"]["rows"]
    ]
    return table(("case", "ms", "bytes, ms", "arithmetic, ms", "bound", "times the bound"), rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {  # name -> section that it needs, and what makes it
    "machine": ("machine", machine),
    "limits": ("cases", limits),
    "cases": ("cases", cases),
    "sizes": ("sizes", sizes),
    "threads": ("scaling", threads),
    "instruction sets": ("instructions", instruction_sets),
    "memory": ("memory", memory),
    "bounds": ("bounds", bounds),
}


def tables(report: dict[str, Any]) -> dict[str, str]:
    """Return the text of each table whose section was measured."""
    return {name: make(report) for name, (section, make) in TABLES.items() if section in report}


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw cost over pixels and speed over threads as PNG. Raises SystemExit above LARGEST_BYTES."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.8), dpi=110, layout="constrained")
    pixels = report["sizes"]["pixels"]
    for row in report["sizes"]["rows"]:
        each = row["times"].values()
        medians = [time["median_ms"] for time in each]
        spread = [
            [time["median_ms"] - time["lower_ms"] for time in each],
            [time["upper_ms"] - time["median_ms"] for time in each],
        ]
        label = f"{row['case']}: pixels to the {row['exponent']:.2f}"
        left.errorbar(list(pixels.values()), medians, spread, marker="o", capsize=3, label=label)
    left.set(xscale="log", yscale="log", xlabel="pixels", ylabel="ms", title="cost over pixels")
    left.set_xticks(list(pixels.values()), list(pixels))
    left.minorticks_off()
    rows = report["scaling"]["rows"]
    counts = [int(each) for each in rows[0]["times"]]
    for row in rows:
        right.plot(counts, [row["speedup"][str(each)] for each in counts], marker="o", label=row["case"])
    right.plot(counts, counts, color="0.6", linestyle="--", label="as many times as threads")
    right.set(
        xlabel="threads", ylabel="times the speed of one thread", title="speed over threads, 1080p", xticks=counts
    )
    for axes in (left, right):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
    if path.stat().st_size > LARGEST_BYTES:
        raise SystemExit(f"expected a plot of at most {LARGEST_BYTES} bytes, got {path.stat().st_size}; draw less")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=INPUT)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    report = json.loads(options.input.read_text(encoding="utf-8"))
    texts = tables(report)
    if options.markdown:
        print("\n\n".join(texts.values()))
        return
    fill(PAGE, texts)
    if "sizes" in report and "scaling" in report:
        plot(report, PICTURE)
        print(f"drawn: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
