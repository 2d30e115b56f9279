"""docs/gpu.md from a report of benchmarks/gpu_report.py: its state, its aims, and each step's own tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step
from benchmarks.page import filled, software, table

DRY = "**This is a dry run: no figure here was taken on a GPU.**\n\n"


def fill_page(report: dict[str, Any], page: Path, steps: Sequence[Step]) -> None:
    """Fill the places of the page; plots go into pictures/ beside it. A step whose page fails says so in its place."""
    pictures = page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    texts = {"state": state(report), "aims": aims(report)}
    for step in steps:
        entry = report["steps"].get(step.name, {"state": "not asked for", "found": {}})
        texts[step.name] = "\n\n".join(filter(None, (_said(entry), _found(step, entry["found"], pictures))))
    page.write_text(filled(page.read_text(encoding="utf-8"), texts), encoding="utf-8")


def _found(step: Step, found: dict[str, Any], pictures: Path) -> str:
    if not found:
        return ""
    parts = []
    try:
        parts.append(step.page(found))
    except Exception as error:  # half a step's figures: the JSON has them all the same
        parts.append(f"Its tables could not be made: {type(error).__name__}: {error}.")
    try:
        parts += [f"![{caption}](pictures/{name})" for name, caption in step.draw(found, pictures).items()]
    except Exception as error:  # no matplotlib, or half a step's figures
        parts.append(f"Its plots could not be drawn: {type(error).__name__}: {error}.")
    return "\n\n".join(parts)


def _said(entry: dict[str, Any]) -> str:
    words = {
        "missing": "Missing on this machine",
        "error": "Broke",
        "cut": "Was cut off",
        "not reached": "Not reached",
        "not asked for": "Not asked for",
    }
    state, why = entry["state"], _line(entry.get("why", ""))
    return "" if state == "done" else f"{words[state]}{': ' if why else ''}{why.rstrip('.')}."


def state(report: dict[str, Any]) -> str:
    """Return what was measured on, when, and how each step ended."""
    about = report["machine"]
    gpus = "; ".join(about["gpus"]) or "no GPU"
    lines = f"{gpus}.\n{about['cpu']} ({about['architecture']}), {about['usable_cores']} cores; {about['system']}.\n"
    rows = []
    for name, entry in report["steps"].items():
        failures = entry.get("found", {}).get("failures", [])
        failed = f"{len(failures)} checks failed" if failures else ""
        why = "; ".join(filter(None, (_line(entry.get("why", "")), failed)))
        rows.append((name, entry["state"], entry.get("seconds", ""), why))
    failures = "".join(f"\n- {_line(each)}" for each in report.get("failures", []))
    return (
        (DRY if report["dry_run"] else "")
        + f"{lines}{software(about)}.\n{about['date']}.\n\n"
        + table(("step", "state", "s", ""), rows)
        + (f"\n\nChecks that failed:\n{failures}" if failures else "")
    )


def aims(report: dict[str, Any]) -> str:
    """Return every aim that a step judged."""
    rows = []
    for name, entry in report["steps"].items():
        for each in entry.get("found", {}).get("aims", []):
            met = {True: "met", False: "missed", None: "not measured"}[each["met"]]
            reached = "" if each["reached"] is None else f"{each['reached']:.3g}"
            rows.append((name, _line(each["aim"]), each["bound"], reached, met))
    return table(("step", "aim", "bound", "reached", ""), rows) if rows else "No aim was judged."


def summary(report: dict[str, Any]) -> str:
    """Return the end of a run in a few lines, for the terminal."""
    lines = [f"{name}: {entry['state']} {_line(entry.get('why', ''))}" for name, entry in report["steps"].items()]
    for entry in report["steps"].values():
        found = entry.get("found", {}).get("aims", [])
        lines += [
            f"missed: {each['aim']}: {each['reached']} (aim {each['bound']})" for each in found if each["met"] is False
        ]
    return "\n".join([*lines, *(f"FAILED: {each}" for each in report.get("failures", []))])


def _line(text: str) -> str:
    """Return a text as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")[:400]
