"""Write docs/performance.md from the JSON that the benchmarks left in results/; no figure of it is typed by hand.

A test holds the page to what this script writes. A benchmark without a JSON has no section.

Usage: python -m benchmarks.performance_page
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.costs_plot import PICTURES, peers_plot
from benchmarks.page import table
from benchmarks.performance_costs import costs_section

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
NAMES = ("peers", "costs", "kernels", "precision", "live")
COMMANDS = {name: f"python -m benchmarks.{name}" for name in NAMES}
PAGES = {"kernels": "kernels.md", "precision": "precision.md", "live": "live.md"}
ABOUT = {
    "kernels": "drawing and preprocessing, kernel by kernel",
    "precision": "INT8 and half precision: speed and fidelity",
    "live": "the live path",
}
Reports = Mapping[str, dict[str, Any]]


def read_reports(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return what was measured, by the name of its benchmark; what was not is left out."""
    files = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def page(reports: Reports) -> str:
    """Return the text of docs/performance.md."""
    parts = [_introduction(reports)]
    makers: dict[str, Callable[[dict[str, Any], str], Iterator[str]]] = {"peers": _peers, "costs": costs_section}
    for name, make in makers.items():
        if name in reports:
            parts.extend(make(reports[name], origin(name, reports[name])))
    parts.extend(_elsewhere(reports))
    return "\n\n".join(parts) + "\n"


def origin(name: str, report: Mapping[str, Any]) -> str:
    """Return where figures come from: command, JSON, machine, date, load."""
    machine = report["machine"]
    load = " and ".join(f"{report[key][0]:.1f}" for key in ("load_before", "load_after") if key in report)
    about = f"{machine['cpu']}, {report.get('threads', machine['cores'])} threads on {machine['cores']} cores"
    words = [f"`{COMMANDS[name]}`, [{name}.json](../benchmarks/results/{name}.json): {about}; {machine['date']}"]
    words += [f"load average before and after {load}"] if load else []
    busy = is_busy(report)
    warning = "\n**Other programs kept the machine busy meanwhile: these figures are preliminary.**" if busy else ""
    return "; ".join(words) + "." + warning


def is_busy(report: Mapping[str, Any]) -> bool:
    """Tell whether others wanted the cores: more processes than cores ahead of the run, or twice as many at its end."""
    cores = float(report["machine"]["cores"])
    return any(report.get(key, (0.0,))[0] > most for key, most in (("load_before", cores), ("load_after", 2 * cores)))


def _introduction(reports: Reports) -> str:
    lines = [
        "# Performance",
        "",
        "<!-- Written by `python -m benchmarks.performance_page` from the JSON that it names; do not edit it here. -->",
        "",
        "What edgex costs, and what else a user would pick, measured on the same machine in the same run.",
        "Every round runs each contender once, in an order of its own, after a pause and untimed calls.",
        "A figure is the median over rounds with both quartiles, and a ratio is taken within a round.",
        "Outputs are checked before any of them is timed, no round is left out, and pictures are real.",
        "",
        "## Aims",
        "",
        table(("aim", "bound", "reached", ""), _aim_rows(reports)),
    ]
    return "\n".join(lines)


def _aim_rows(reports: Reports) -> Iterator[tuple[str, str, str, str]]:
    for each in reports.get("peers", {}).get("aims", ()):
        yield each["what"], _bound(each), _spread(each), _met(each)


def _bound(aim: Mapping[str, Any]) -> str:
    value = next(aim[key] for key in ("bound", "limit", "aim") if key in aim)
    return f"{aim['kind']} {value:g}"


def _spread(aim: Mapping[str, Any]) -> str:
    return f"{aim['reached']:.3g} ({aim['lower']:.3g} to {aim['upper']:.3g})"


def _met(aim: Mapping[str, Any]) -> str:
    return {True: "met", False: "**missed**", None: "not measured"}[aim["met"]]


def times_table(contenders: Mapping[str, Any], first: str, over: str) -> str:
    """Return one row for each contender, the quickest first."""
    ranked = sorted(contenders.items(), key=lambda row: float(row[1]["median_ms"]))
    rows = (
        (
            name,
            f"{row['median_ms']:.4g}",
            f"{row['lower_ms']:.4g} to {row['upper_ms']:.4g}",
            f"{row['over_base']['median']:.3g} ({row['over_base']['lower']:.3g} to {row['over_base']['upper']:.3g})",
        )
        for name, row in ranked
    )
    return table((first, "ms", "quartiles", over), rows)


def _peers(report: dict[str, Any], origin: str) -> Iterator[str]:
    sections = report["sections"]
    if "frame" in sections:
        yield from _frame(report, sections["frame"], origin)
    if "engines" in sections:
        yield "## Engine mode beside the backends' own sessions"
        yield (
            "One inference on prepared pictures: `engine.infer`, and the backend's own session on the same file with "
            f"the same threads and arithmetic; times for one picture, {sections['engines'][0]['rounds']} rounds."
        )
        yield table(
            ("engine", "batch", "bare session, ms", "edgex, ms", "edgex over bare"),
            (
                (
                    row["engine"],
                    row["batch"],
                    *(f"{row['contenders'][who]['median_ms']:.4g}" for who in ("bare", "edgex")),
                    f"{row['contenders']['edgex']['over_base']['median']:.3f}",
                )
                for row in sections["engines"]
            ),
        )
    if sections.get("throughput"):
        yield "## Throughput beside OpenVINO's benchmark_app"
        yield (
            "Both run in FP32 arithmetic (where the file is not INT8) on as many streams as benchmark_app chose, "
            f"{sections['throughput'][0]['turns']} turns of {sections['throughput'][0]['seconds']} s each."
        )
        yield table(
            ("engine", "streams", "benchmark_app, pictures/s", "edgex, pictures/s", "ratio"),
            (
                (row["engine"], row["streams"], *_rates(row), f"{row['ratio']['median']:.3f}")
                for row in sections["throughput"]
            ),
        )
    if "overhead" in sections:
        us = sections["overhead"]["us_a_sample"]
        yield "## What bench itself costs"
        yield (
            f"An engine that does nothing, measured as engine mode measures any: {us['median']:.3g} µs from one sample "
            f"to the next ({us['lower']:.3g} to {us['upper']:.3g}), telemetry running."
        )
    if "drawing" in sections:
        yield "## Drawing alone"
        yield (
            "Three masks onto the frame. edgex, torch and NumPy start from mask logits of low resolution; supervision "
            "and torchvision get ready boolean masks of full size, to their advantage, and draw hard edges."
        )
        yield times_table(sections["drawing"]["contenders"], "who draws", "over edgex")
        yield from _absent(sections["drawing"]["missing"])
    yield from _absent(report.get("missing", {}))


def _rates(row: Mapping[str, Any]) -> tuple[str, str]:
    return tuple(f"{row['per_second'][who]:.1f}" for who in ("benchmark_app", "edgex"))  # type: ignore[return-value]


def _frame(report: Mapping[str, Any], frame: Mapping[str, Any], origin: str) -> Iterator[str]:
    width, height = report["frame"]
    yield "## A frame in, a picture out"
    yield origin
    yield (
        f"A {width} × {height} BGR frame in memory; all {report['classes']} classes explained; "
        f"{', '.join(report['drawn'])} drawn; a picture of the same size out.\n"
        f"{report['rounds']} rounds; the table's ratios are to {frame['base']}, one frame after the other; the aims "
        f"hold against the rate of {frame['pipeline']}, too, whose frames overlap as in `edgex run`."
    )
    yield "![Milliseconds per frame for edgex and its peers](pictures/peers.png)"
    yield times_table(frame["contenders"], "who", "over the quickest edgex call")
    yield "How each is used:"
    users: dict[str, list[str]] = {}
    for name, row in frame["contenders"].items():
        users.setdefault(row["note"], []).append(name)
    yield "\n".join(f"- {'; '.join(names)}: {note}." for note, names in users.items())
    maps = {name: found["correlation_with_masks"] for name, found in frame["checks"].items() if _has_maps(found)}
    said = "; ".join(
        f"{name} {', '.join('flat' if each is None else str(each) for each in found)}" for name, found in maps.items()
    )
    yield (
        "Checked before timing: edgex's pictures, with each engine, and those of the torch contenders are the "
        "reference compositor's to within a level; the shipped classifier in torch gives the bundle's logits."
        + (f"\nThe peers' maps correlate with edgex's masks of the same classes by: {said}." if said else "")
    )
    yield from _absent(frame["missing"])


def _has_maps(found: Mapping[str, Any]) -> bool:
    return "correlation_with_masks" in found


def _absent(missing: Mapping[str, str]) -> Iterator[str]:
    if missing:
        yield "\n".join(f"- {name}: {reason}" for name, reason in missing.items())


def _elsewhere(reports: Reports) -> Iterator[str]:
    rows = []
    for name in ("kernels", "precision", "live"):
        if name in reports:
            judged = _limits(name, reports[name])
            met, known = sum(each is True for each in judged), sum(each is not None for each in judged)
            file = f"[{name}.json](../benchmarks/results/{name}.json)"
            where = f"[{PAGES[name]}]({PAGES[name]})" if (ROOT / "docs" / PAGES[name]).is_file() else ""
            date = reports[name]["machine"].get("date", "")
            rows.append((ABOUT[name], f"{met} of {known}", where, f"`{COMMANDS[name]}`", file, date))
    if rows:
        yield "## Measured on pages of their own"
        yield table(("what", "limits met", "page", "command", "JSON", "measured"), rows)
        yield "`make bench` renews all of this but precision, whose command builds every engine of every model anew."


def _limits(name: str, report: dict[str, Any]) -> list[bool | None]:
    if name == "kernels":
        return [limit["met"] for case in report.get("cases", ()) for limit in case["limits"]]
    return [limit["met"] for limit in report.get("limits" if name == "precision" else "aims", ())]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    reports = read_reports()
    text = page(reports)
    if "frame" in reports.get("peers", {}).get("sections", {}):
        peers_plot(reports["peers"], PICTURES / "peers.png")
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written from {', '.join(f'{name}.json' for name in reports)}")


if __name__ == "__main__":
    main()
