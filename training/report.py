"""An evaluation's report: as tables that the command line prints, and its main scores for a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from edgex.errors import UsageError

# Row title -> name of the score, and whether higher is better.
ROWS = {
    "d_F1 .25": ("d_F1@0.25", True),
    "d_F1 .5": ("d_F1@0.5", True),
    "d_F1 .75": ("d_F1@0.75", True),
    "d_F1 .1 to .9": ("d_F1@mean", True),
    "d_IoU .25": ("d_IoU@0.25", True),
    "d_IoU .5": ("d_IoU@0.5", True),
    "d_IoU .75": ("d_IoU@0.75", True),
    "d_IoU .1 to .9": ("d_IoU@mean", True),
    "c_F1": ("c_F1", True),
    "c_IoU": ("c_IoU", True),
    "accuracy": ("accuracy", True),
    "saliency": ("saliency", False),
    "mask cover": ("mask_coverage", True),
    "backgr. cover": ("background_coverage", False),
    "sim ratio": ("sim_ratio", True),
    "AUC": ("auc", True),
    "pointing": ("pointing", True),
    "energy": ("energy", True),
}
MAIN_SCORES = ("d_F1@0.5", "d_IoU@0.5", "d_F1@mean", "c_F1", "c_IoU", "saliency", "auc")
MAIN_RATIOS = ("own_over_other", "own_over_no_mask")


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a report: classifier, one per protocol, specificity, shortcut checks."""
    return [
        _classifier(report["classifier"]),
        *(_protocol(name, methods, report["images"]) for name, methods in report["protocols"].items()),
        _specificity(report["specificity"]),
        _shortcuts(report["shortcuts"]),
    ]


def main_scores(path: Path, files: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """Read the main scores of a report, flat: "labels/explainer/c_IoU", "specificity/explainer/own_over_other", ...

    Parameters
    ----------
    path : a report that `evaluate` wrote
    files : "explainer" and "explanandum" to the `sha256` of the files whose scores are wanted

    Raises
    ------
    UsageError
        If it is no such report, or one of other files.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        other = [kind for kind, file in files.items() if report[kind]["sha256"] != file["sha256"]]
        scores: dict[str, float | None] = {
            "classifier/mean_average_precision": report["classifier"]["mean_average_precision"]
        }
        for method, ratios in report["specificity"].items():  # the methods, without the baselines
            for protocol, methods in report["protocols"].items():
                if method in methods:  # in none where no image could be judged
                    found = methods[method]["scores"]
                    scores.update({f"{protocol}/{method}/{name}": found[name] for name in MAIN_SCORES})
            scores.update({f"specificity/{method}/{name}": ratios[name] for name in MAIN_RATIOS})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"expected a report of `evaluate` in {path}, got {type(error).__name__}: {error}; evaluate again"
        ) from error
    if other:
        raise UsageError(
            f"expected a report on the files to export, got one on another {other[0]} in {path}; evaluate again"
        )
    return {name: round(value, 4) for name, value in scores.items() if value is not None}


def _text(value: float | None, factor: float = 1.0, digits: int = 3) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


def _classifier(classifier: Mapping[str, Any]) -> Table:
    table = Table(title=f"Classifier, {classifier['images']} images", title_justify="left")
    table.add_column("class")
    table.add_column("average precision", justify="right")
    for label, value in classifier["average_precision"].items():
        table.add_row(label, _text(value))
    table.add_section()
    table.add_row("mean", _text(classifier["mean_average_precision"]))
    table.add_row("top class is a true one", _text(classifier["top1_is_a_true_class"]))
    return table


def _protocol(name: str, methods: Mapping[str, Any], images: Mapping[str, int]) -> Table:
    left_out = images["total"] - images["judged"]
    title = f"Masks of the classes chosen by {name}, {images['judged']} images judged, {left_out} left out"
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    for method in methods:
        table.add_column(method, justify="right")
    for row, (score, higher) in ROWS.items() if methods else ():
        table.add_row(f"{row} {'↑' if higher else '↓'}", *(_text(entry["scores"][score]) for entry in methods.values()))
    return table


def _specificity(methods: Mapping[str, Any]) -> Table:
    images = next(iter(methods.values()))["images"]
    table = Table(title=f"Class specificity in percent, {images} images", title_justify="left")
    for column in ("method", "own mask", "other mask", "own / other ↑", "no mask", "own / no mask ↑"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, entry in methods.items():
        shares = {name: _text(entry[name], 100, 1) for name in ("own", "other", "no_mask")}
        ratio, kept = _text(entry["own_over_other"], 1, 1), _text(entry["own_over_no_mask"], 1, 2)
        table.add_row(method, shares["own"], shares["other"], ratio, shares["no_mask"], kept)
    return table


def _shortcuts(methods: Mapping[str, Any]) -> Table:
    images = next(iter(methods.values()))["images"]
    table = Table(title=f"Probability of the true classes in percent, {images} images", title_justify="left")
    table.add_column("what the classifier is shown")
    for method in methods:
        table.add_column(method, justify="right")
    entries = list(methods.values())
    for name in entries[0]["target_probability"]:
        table.add_row(name, *(_text(entry["target_probability"][name], 100, 1) for entry in entries))
    table.add_row("chance", *(_text(entry["chance"], 100, 1) for entry in entries))
    table.add_section()
    for name, title in (
        ("present", "area, present"),
        ("absent", "area, absent"),
        ("absent_above_5_percent", "absent, above 5 %"),
    ):
        table.add_row(title, *(_text(entry["area"][name], 100, 1) for entry in entries))
    return table
