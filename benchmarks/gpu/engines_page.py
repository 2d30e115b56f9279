"""The section on engines of docs/gpu.md, and the aims, from what benchmarks/gpu/engines.py found."""

from __future__ import annotations

from typing import Any

from benchmarks.page import table
from benchmarks.precision_models import TITLES

FASTER = 1.8  # times FP32 that FP16 or INT8 is to be
JUDGED = (1, 32)  # batches
KINDS_SHOWN = 4  # kinds of layers; the JSON has all
KINDS = {
    "calls": "Whole calls, from an array of the host to arrays of it, by the lanes of `edgex bench --mode engine`:",
    "on_gpu": "On memory of the GPU, without transfers, each waited for; with and without a CUDA graph:",
}
STREAMS = "Streams that overlap, a context each on one engine, kept full by one thread, without transfers:"


def aims(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each aim with what was reached: the better of FP16 and INT8 against FP32, on memory of the GPU."""
    made = []
    for case in found["on_gpu"]:
        if case["batch"] not in JUDGED:
            continue
        figures = case["figures"]
        gains = {
            name.split()[0]: each["times_the_first"][1]
            for name, each in figures.items()
            if name.endswith("graph") and not name.startswith("fp32") and each.get("times_the_first")
        }
        if gains and "fp32 graph" in figures:
            best = max(gains, key=lambda name: gains[name])
            aim = (
                f"{TITLES.get(case['model'], case['model'])} in {case['runtime']}, batch {case['batch']}: FP16 or INT8"
            )
            judged = {"bound": f"{FASTER} x FP32", "reached": gains[best], "met": gains[best] >= FASTER}
            made.append({"aim": f"{aim} against FP32 ({best})", **judged})
    return made


def page(found: dict[str, Any]) -> str:
    """Return the tables."""
    parts = [_runtimes(found)]
    if found.get("rows"):
        head = ("model", "runtime", "precision", "build, s", "MB", "layers", "mean mask IoU", "top-1", "score off by")
        parts.append(table((*head, "largest difference of logits"), [_row(each) for each in found["rows"]]))
    for kind, words in KINDS.items():
        rows = [line for case in found.get(kind, []) for line in _lines(case)]
        if rows:
            parts += [words, table(("model", "runtime", "batch", "", "p50, ms", "p90", "p99", "× FP32"), rows)]
    rows = [
        (*_case(case), name.rsplit(" ", 1)[0], name.rsplit(" ", 1)[1], f"{each['per_second']:,.0f}")
        for case in found.get("streams", [])
        for name, each in case["figures"].items()
    ]
    if rows:
        parts += [STREAMS, table(("model", "runtime", "batch", "precision", "streams", "pictures a second"), rows)]
    if found.get("walked"):
        parts.append(f"Walked: {found['walked']}.")
    parts += [f"Not measured: {name}: {' '.join(str(why).split())}." for name, why in found.get("missing", {}).items()]
    return "\n\n".join(part for part in parts if part)


def _runtimes(found: dict[str, Any]) -> str:
    names = found.get("runtimes", [])
    if names and not any(name.startswith("tensorrt") for name in names):
        return (
            f"There is no TensorRT on this machine: {' and '.join(names)} took its place. Times are with TF32 where a"
            " library takes it by itself; logits are compared without, and those of random weights are held to nothing."
        )
    return f"Runtimes: {', '.join(names)}." if names else ""


def _case(case: dict[str, Any]) -> tuple[str, str, str]:
    return TITLES.get(case["model"], case["model"]), case["runtime"], str(case.get("batch", ""))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    kinds = sorted(row.get("achieved", {}).items(), key=lambda item: -sum(item[1].values()))
    spelled = [f"{kind}: {', '.join(f'{count} {each}' for each, count in counts.items())}" for kind, counts in kinds]
    fidelity = row.get("fidelity") or {}
    figures = [fidelity.get(name) for name in ("mask_iou_mean", "top1_agreement", "score_difference_mean")]
    layers = "; ".join(spelled[:KINDS_SHOWN])
    size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
    shown = tuple("" if each is None else f"{each:.4g}" for each in (*figures, row.get("difference")))
    if fidelity.get("simulated"):
        shown = (f"{shown[0]} (simulated)", *shown[1:])
    return (*_case(row)[:2], row["precision"], str(row.get("build_s", "")), size, layers, *shown)


def _lines(case: dict[str, Any]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, each in case["figures"].items():
        words = f"{name} ({each['launches']})" if each.get("launches") else name
        if "error" in each:
            lines.append((*_case(case), words, each["error"], "", "", ""))
            continue
        gain = each.get("times_the_first")
        shown = f"{gain[1]:.2f} ({gain[0]:.2f} to {gain[2]:.2f})" if gain else ""
        lines.append((*_case(case), words, *(f"{each[p]:.3f}" for p in ("p50", "p90", "p99")), shown))
    return lines
