"""The part of the page that holds a report against an earlier one: for each run a group of rows, one a figure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from edgex.report.compare import Comparison
from edgex.report.compare_text import HEADINGS, RULES, cells


def baseline_section(comparisons: Sequence[Comparison]) -> str:
    """Return the section, or "" where nothing was to be held against anything."""
    if not comparisons:
        return ""
    groups = groupby(comparisons, key=lambda each: (each.run, each.mode))
    bodies = "".join(_group(run, mode, list(members)) for (run, mode), members in groups)
    heads = "".join(f"<th>{escape(name)}</th>" for name in HEADINGS)
    rules = "".join(f"<li>{escape(each)}</li>" for each in RULES)
    return (
        f'<section class="against"><h2>Against the baseline</h2><table><thead><tr>{heads}</tr></thead>{bodies}</table>'
        f'<ul class="told caption">{rules}</ul></section>'
    )


def _group(run: str, mode: str, members: Sequence[Comparison]) -> str:
    title = f'<b>{escape(run)}</b> <span class="soft">{mode}</span>'
    head = f'<tr class="group"><td colspan="{len(HEADINGS)}">{title}</td></tr>'
    return f"<tbody>{head}{''.join(map(_row, members))}</tbody>"


def _row(each: Comparison) -> str:
    figure, *numbers, verdict = cells(each)
    middle = "".join(
        f'<td data-name="{escape(name)}">{escape(text)}</td>'
        for name, text in zip(HEADINGS[1:-1], numbers, strict=True)
    )
    why = f"<small>{escape(each.why)}</small>" if each.why else ""
    css = verdict.replace(" ", "-")
    return (
        f'<tr><td>{escape(figure)}{why}</td>{middle}<td data-name="verdict" class="{css}">{escape(verdict)}</td></tr>'
    )
