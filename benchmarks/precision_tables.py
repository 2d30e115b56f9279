"""Turn benchmarks/results/precision.json into the tables of docs/precision.md, and judge its limits.

Tables stand in the page between `<!-- table: NAME -->` and `<!-- end -->`, and are replaced there.

Usage: python -m benchmarks.precision_tables [--input JSON]       (benchmarks.precision --table prints them only)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page import fill, software, table, versions
from benchmarks.precision_models import SHIPPED, TITLES

ROOT = Path(__file__).resolve().parent.parent
INPUT = ROOT / "benchmarks/results/precision.json"
PAGE = ROOT / "docs/precision.md"
NOTHING = "–"
JUDGED_ON_CPU = ("onnxruntime", "openvino")
OWN_COST = 5.0  # percent
F1_DROP = 1.0  # points

Report = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a measured value is held to: at least or at most `bound`, in `unit`."""

    model: str
    what: str
    bound: float
    reached: float | None
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Tell whether it is met; None where nothing was measured."""
        if self.reached is None:
            return None
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        kind = "at least" if self.at_least else "at most"
        named = {"model": self.model, "what": self.what, "kind": kind, "limit": self.bound, "unit": self.unit}
        return {**named, "reached": None if self.reached is None else round(self.reached, 4), "met": self.met}


def judged(report: Report) -> list[dict[str, Any]]:
    """Return each limit of the models that were measured, with what was reached."""
    return [limit.to_dict() for name, model in report["models"].items() for limit in _limits(name, model)]


def _limits(name: str, model: Report) -> Iterator[Limit]:
    if name == SHIPPED:
        yield Limit(name, "onnxruntime int8, times as fast as its FP32", 1.6, _faster(model, "onnxruntime int8"))
        default = _faster(model, "openvino int8", "openvino default")
        yield Limit(name, "openvino int8, times as fast as OpenVINO's default precision", 1.0, default)
        for backend in JUDGED_ON_CPU:
            row = model["engines"].get(f"{backend} int8", {})
            fidelity, engine = row.get("fidelity", {}), f"{backend} int8"
            yield Limit(name, f"{engine}, mean mask IoU with FP32", 0.95, fidelity.get("mask_iou_mean"))
            yield Limit(name, f"{engine}, 5th percentile of it", 0.85, fidelity.get("mask_iou_p5"))
            yield Limit(name, f"{engine}, top-1 agreement", 0.98, fidelity.get("top1_agreement"))
            drop = _f1_drop(model, row)
            yield Limit(
                name, f"{engine}, loss of F1 against ground truth", F1_DROP, drop, at_least=False, unit="points"
            )
    if name == "deeplabv3_resnet50":
        yield Limit(name, "onnxruntime int8, times as fast as its FP32", 2.0, _faster(model, "onnxruntime int8"))
    for engine, cost in model["latency"]["own_cost"].items():
        what = f"{engine}, edgex's own cost over the bare session"
        yield Limit(name, what, OWN_COST, cost["percent"], at_least=False, unit="%")


def _faster(model: Report, engine: str, than: str | None = None) -> float | None:
    """Return how many times as fast an engine is, by the ratios within the rounds."""
    times = model["latency"]["contenders"]
    than = than or f"{engine.partition(' ')[0]} fp32"
    if engine not in times or than not in times:
        return None
    return float(times[than]["over_first"] / times[engine]["over_first"])


def _f1_drop(model: Report, row: Row, protocol: str = "labels") -> float | None:
    """Return by how many points F1 is below that of the FP32 model in ONNX Runtime."""
    before, after = (
        each.get(protocol, {}).get("F1") for each in (model.get("reference_scores", {}), row.get("scores", {}))
    )
    return None if before is None or after is None else 100.0 * (before - after)


def machine(report: Report) -> str:
    about = report["machine"]
    loads = [model[each][0] for model in report["models"].values() for each in ("load_before", "load_after")]
    return (
        f"{about['cpu_features']} ({about['architecture']}), {report['threads']} threads on {about['cores']} cores, "
        f"{about['memory_gb']} GB; {about['system']}.\n"
        f"{software(about)}; {versions(report['backends'])}.\n"
        f"{report['rounds']} rounds; {about['date']}; load average {min(loads):.1f} to {max(loads):.1f}.\n"
        "Every figure is in [precision.json](../benchmarks/results/precision.json)."
    )


def limits(report: Report) -> str:
    said = {True: "met", False: "missed", None: "not measured"}
    rows = []
    for each in judged(report):
        unit = f" {each['unit']}" if each["unit"] else ""
        reached = NOTHING if each["reached"] is None else f"{each['reached']:.3f}{unit}"
        bound = f"{each['kind']} {each['limit']:g}{unit}"
        rows.append((_title(each["model"]), each["what"], bound, reached, said[each["met"]]))
    return table(("model", "what", "limit", "reached", ""), rows)


def files(report: Report) -> str:
    rows = []
    for name, engine, row in _engines(report):
        if engine == "openvino default":
            continue
        if "refused" in row:
            rows.append((_title(name), engine, NOTHING, NOTHING, NOTHING, f"refused: {_cell(row['refused'])}"))
            continue
        kinds = ", ".join(f"{count} {precision}" for precision, count in row["layers"].items())
        note = [f"{len(row['kept'])} nodes kept"] if row["kept"] else []
        note += ["below the budget, built with --unchecked"] if "gate" in row else []
        note += ["built, not run here"] if "not_run" in row else []
        size, seconds = f"{row['bytes'] / 1e6:.1f}", f"{row['seconds']:.1f}"
        rows.append((_title(name), engine, size, seconds, kinds or NOTHING, "; ".join(note)))
    return table(("model", "engine", "MB", "built in, s", "layers", ""), rows)


def speed(report: Report) -> str:
    rows = []
    for name, engine, row in _engines(report):
        model = report["models"][name]
        times = model["latency"]["contenders"].get(engine)
        if times is None:
            continue
        cost = model["latency"]["own_cost"].get(engine)
        bare = model["latency"]["contenders"].get(f"{engine} bare")
        faster = _faster(model, engine, f"{row['backend']} fp32")
        rows.append(
            (
                _title(name),
                f"{engine} ({row['computes_in']}), bare" if "computes_in" in row else engine,
                f"{times['median_ms']:.2f}",
                f"{times['lower_ms']:.2f} to {times['upper_ms']:.2f}",
                NOTHING if faster is None else f"{faster:.2f}",
                NOTHING if bare is None else f"{bare['median_ms']:.2f}",
                NOTHING if cost is None else f"{cost['percent']:+.1f}",
            )
        )
    head = ("model", "engine", "ms", "quartiles", "times as fast as its FP32", "bare session, ms", "own cost, %")
    return table(head, rows)


def fidelity(report: Report) -> str:
    rows = []
    for name, engine, row in _engines(report):
        found = row.get("fidelity")
        if found is None:
            continue
        trained = report["models"][name]["trained"]
        columns = ("mask_iou_mean", "mask_iou_p5", "mask_difference_mean", "top1_agreement", "score_drop_mean")
        cells = [_number(found[column]) if trained else NOTHING for column in columns]
        error = found["outputs"].get("mask_logits", {}).get("relative_error")
        rows.append((_title(name), engine, *cells, _number(error), found["frames"]))
    head = (
        "model",
        "engine",
        "mean mask IoU",
        "5th percentile",
        "difference of masks",
        "top-1 agreement",
        "score drop",
    )
    return table((*head, "relative error of mask logits", "frames"), rows)


def scores(report: Report) -> str:
    rows = []
    for name, engine, row in _engines(report):
        found = row.get("scores")
        if found is None:
            continue
        drop = _f1_drop(report["models"][name], row)
        cells = [_number(found[protocol][score]) for protocol in ("labels", "predictions") for score in ("F1", "c_IoU")]
        rows.append((_title(name), engine, *cells, NOTHING if drop is None else f"{-drop:+.2f}", found["images"]))
    head = ("F1 at 0.5, labels", "c_IoU, labels", "F1 at 0.5, predictions", "c_IoU, predictions")
    return table(("model", "engine", *head, "F1 beside FP32, points", "images"), rows)


TABLES: dict[str, Callable[[Report], str]] = {
    "machine": machine,
    "limits": limits,
    "speed": speed,
    "files": files,
    "fidelity": fidelity,
    "scores": scores,
}


def tables(report: Report) -> dict[str, str]:
    """Return the text of each table that has anything in it."""
    texts = {name: make(report) for name, make in TABLES.items()}
    return {name: text for name, text in texts.items() if name == "machine" or text.count("\n") > 1}


def _engines(report: Report) -> Iterator[tuple[str, str, Row]]:
    for name, model in report["models"].items():
        for engine, row in model["engines"].items():
            yield name, engine, row


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=INPUT)
    options = parser.parse_args()
    texts = tables(json.loads(options.input.read_text(encoding="utf-8")))
    fill(PAGE, texts)


if __name__ == "__main__":
    main()
