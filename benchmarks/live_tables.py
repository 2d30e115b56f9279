"""Turn benchmarks/results/live.json into the tables of docs/live.md, and judge its aims.

Tables stand in the page between `<!-- table: NAME -->` and `<!-- end -->`, and are replaced there.

Usage: python -m benchmarks.live_tables [--input JSON]       (benchmarks.live --table prints them only)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.page import fill, software, table

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "benchmarks/results/live.json"
PAGE = ROOT / "docs/live.md"
NOTHING = "–"
FILE_FPS, VIEWER_FPS, SHARE_OF_BOUND, VIEWERS_COST = 100.0, 60.0, 0.9, 5.0
AGE_MS, AGE_P99_MS = 40.0, 80.0
DISTURBED = 0.25  # share of the machine that others may use for a ratio, or a miss, to say something

Report = dict[str, Any]


def aims(report: Report) -> list[dict[str, Any]]:
    """Return each aim, what the best engine and number of threads reached, and whether that meets it.

    Others on the machine only lower a rate and raise an age, so one that is reached all the same counts; one that is
    not, and any ratio, is not judged where others used more than DISTURBED of the machine.
    """
    found = []
    for words, ending, field, aim, at_least in (
        ("file to null sink, frames/s", "file to null", "fps", FILE_FPS, True),
        ("file to one viewer, frames/s", "file to 1 viewer", "fps", VIEWER_FPS, True),
        ("age of a 30 frames/s camera, median ms", "camera to null", "p50", AGE_MS, False),
        ("age of a 30 frames/s camera, 99th percentile ms", "camera to null", "p99", AGE_P99_MS, False),
    ):
        rows = [
            (row[field] if field in row else row["age_ms"][field], row["others_share"])
            for name, row in report["cases"].items()
            if name.endswith(ending)
        ]
        if rows:
            found.append(_aim(words, aim, *(max(rows) if at_least else min(rows)), at_least))
    shares = [(row["reached_of_stage"], row["others_share"]) for row in report["bounds"].values()]
    if shares:
        found.append(_aim("rate over 1 / slowest stage", SHARE_OF_BOUND, *max(shares), is_ratio=True))
    for source in ("file", "camera"):
        costs = [
            (round(100.0 * (1.0 - row["fps_over_base"]), 2), row["others_share"])
            for name, row in report["cases"].items()
            if name.endswith(f"{source} to 20 viewers")
        ]
        if costs:
            words = f"cost of 20 viewers to a {source}, percent of its rate"
            found.append(_aim(words, VIEWERS_COST, *min(costs), at_least=False, is_ratio=True))
    return found


def _aim(
    what: str, aim: float, reached: float, others: float, at_least: bool = True, is_ratio: bool = False
) -> dict[str, Any]:
    met: bool | None = reached >= aim if at_least else reached <= aim
    if others > DISTURBED and (is_ratio or not met):
        met = None
    kind = "at least" if at_least else "at most"
    return {"what": what, "kind": kind, "aim": aim, "reached": round(reached, 3), "others_share": others, "met": met}


def aims_table(report: Report) -> str:
    """Return each aim beside what was reached."""
    rows = [
        (row["what"], f"{row['kind']} {row['aim']:g}", f"{row['reached']:g}", _judged(row)) for row in report["aims"]
    ]
    return table(("what", "aim", "reached", "met"), rows)


def _judged(row: dict[str, Any]) -> str:
    if row["met"] is None:
        return f"not judged: others used {row['others_share']:.0%} of the machine"
    return "yes" if row["met"] else "**no**"


def stages_table(report: Report) -> str:
    """Return what each stage takes alone, wall and CPU time, in milliseconds a frame."""
    names = list(next(iter(report["stages"].values())))
    rows = [
        (engine, *(f"{took[name]['wall_ms']:.2f} / {took[name]['cpu_ms']:.2f}" for name in names))
        for engine, took in report["stages"].items()
    ]
    return table(("engine", *names), rows)


def bounds_table(report: Report) -> str:
    """Return what was reached beside what the stages alone allow."""
    head = ("engine", "one after the other", "reached", "1 / slowest stage", "share", "cores", "share")
    rows = [
        (
            engine,
            f"{row['sequential_fps']:.0f}",
            f"{row['fps']:.0f}",
            f"{row['stage_fps']:.0f} ({row['slowest']})",
            f"{row['reached_of_stage']:.2f}",
            f"{row['cores_fps']:.0f}",
            f"{row['reached_of_cores']:.2f}",
        )
        for engine, row in report["bounds"].items()
    ]
    return table(head, rows)


def cases_table(report: Report) -> str:
    """Return rate, age and what viewers got, of every case."""
    head = (
        *("case", "frames/s", "quartiles", "over its base", "CPU ms a frame"),
        *("age median", "95 %", "99 %", "max", "dropped", "pictures/s a viewer", "others"),
    )
    rows = []
    for name, row in report["cases"].items():
        age, cost, pictures = row["age_ms"], row["fps_over_base"], row["pictures_fps"]
        rows.append(
            (
                name,
                f"{row['fps']:.1f}",
                f"{row['fps_lower']:.1f} – {row['fps_upper']:.1f}",
                NOTHING if cost is None else f"{cost:.3f}",
                f"{row['cpu_ms']:.1f}",
                *(f"{age[key]:.0f}" for key in ("p50", "p95", "p99", "max")),
                f"{row['dropped']} of {row['frames'] + row['dropped']}",
                NOTHING if pictures is None else f"{pictures:.1f}",
                f"{row['others_share']:.0%}",
            )
        )
    return table(head, rows)


def machine(report: Report) -> str:
    """Return what was measured on, and how."""
    about = report["machine"]
    loads = " and ".join(f"{report[name][0]:.1f}" for name in ("load_before", "load_after"))
    return (
        f"{about['cpu']}, {about['cores']} cores; {about['system']}; {software(about)}.\n"
        f"{report['rounds']} interleaved rounds, {about['date']}; load average {loads} before and after, "
        f"niceness {report['niceness']}."
    )


TABLES = {
    "live aims": aims_table,
    "live stages": stages_table,
    "live bounds": bounds_table,
    "live cases": cases_table,
    "live machine": machine,
}


def tables(report: Report) -> dict[str, str]:
    """Return the text of each table."""
    return {name: make(report) for name, make in TABLES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=INPUT)
    texts = tables(json.loads(parser.parse_args().input.read_text(encoding="utf-8")))
    fill(PAGE, texts)


if __name__ == "__main__":
    main()
