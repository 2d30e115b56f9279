"""What one time constant does to one clip, for benchmarks/smoothing.py: frame by frame, then summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.smoothing_clips import FRAME_NS, RATE, STILL, Clip, onset
from edgex.explain import Explainer
from edgex.fidelity_figures import upsampled
from edgex.flicker import Flicker, cells
from edgex.smoothing import Smoother
from edgex.types import FloatArray, Logits

TIME_CONSTANTS_S = (0.0, 0.03, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
FOUND = 0.3  # mean IoU of unsmoothed masks from which a clip counts: below it there is no mask that could lag
SETTLED_S = 0.5  # after which frames of moving clips count
ARRIVED = 0.9  # share of the unsmoothed IoU at which an object that appears has its mask
SHOWN = 0.5  # score from which `run` shows a class
SMALLEST = 0.02  # of the picture, that the truth must fill in a frame that counts


@dataclass(slots=True)
class Trace:
    """What one model and time constant gave for one clip, frame by frame; NaN where a frame does not count."""

    flicker: list[float | None] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)


Traces = dict[tuple[str, float], Trace]  # of one clip, by model and time constant


def watch(clip: Clip, explainers: Mapping[str, Explainer], changes: dict[str, list[FloatArray]]) -> Traces:
    """Explain a clip by every model and smooth it by every time constant; add how far still cells changed."""
    pairs = [(name, tau) for name in explainers for tau in TIME_CONSTANTS_S]
    smoothers = {pair: Smoother(pair[1]) for pair in pairs}
    spec = next(iter(explainers.values())).manifest.input
    flickers = {pair: Flicker(spec.std) for pair in pairs}
    traces = {pair: Trace() for pair in pairs}
    before: FloatArray | None = None
    for number, (picture, truth) in enumerate(clip.frames):
        tensor = next(iter(explainers.values())).preprocess(picture)
        truth = cv2.resize(truth.view(np.uint8), (spec.width, spec.height), interpolation=cv2.INTER_NEAREST) > 0
        given = {name: explainer.infer(tensor) for name, explainer in explainers.items()}
        if clip.speed == 0 and clip.kind != "onset":
            seen = cells(tensor, *given[pairs[0][0]].mask_logits.shape[2:])
            if before is not None:
                changes[clip.kind].append(np.abs(seen - before).max(axis=0) * np.float32(max(spec.std)))
            before = seen
        for (name, tau), trace in traces.items():
            smoothed = smoothers[name, tau].smooth(given[name], number * FRAME_NS)
            trace.flicker.append(flickers[name, tau].observe(tensor, smoothed.mask_logits[0], clip.classes))
            judge(trace, explainers[name], smoothed, clip, truth)
    return traces


def judge(trace: Trace, explainer: Explainer, logits: Logits, clip: Clip, truth: NDArray[np.bool_]) -> None:
    """Add a frame's IoU and F1 against the truth, bool of the network's input size, and the first class's score."""
    if clip.kind in STILL:
        return
    inside = upsampled(logits.mask_logits[0, list(clip.classes)], *truth.shape).max(axis=0) >= 0.0
    both, either = int(np.count_nonzero(inside & truth)), int(np.count_nonzero(inside | truth))
    counts = np.count_nonzero(truth) >= SMALLEST * truth.size
    trace.iou.append(both / either if counts else np.nan)
    trace.f1.append(2 * both / (both + either) if counts else np.nan)
    if logits.class_logits is not None:
        trace.score.append(float(1.0 / (1.0 + np.exp(-logits.class_logits[0, clip.classes[0]]))))


def summarise(seen: Sequence[tuple[Clip, Traces]], name: str) -> dict[str, Any]:
    """Return one model's rows by time constant, and over how many clips each figure is taken."""
    kinds = {_kind(clip): [each for clip_, each in seen if _kind(clip_) == _kind(clip)] for clip, _ in seen}
    rows: dict[str, dict[str, Any]] = {}
    for tau in TIME_CONSTANTS_S:
        row: dict[str, Any] = {"flicker": {}, "iou": {}, "f1": {}}
        for kind, traces in kinds.items():
            mine = [traces_[name, tau] for traces_ in traces]
            plain = [traces_[name, 0.0] for traces_ in traces]
            figures = [each for trace in mine for each in trace.flicker[1:]]
            valid = [each for each in figures if each is not None]
            row["flicker"][kind] = {"mean": _mean(valid), "frames": round(len(valid) / max(1, len(figures)), 3)}
            if kind == "onset":
                row["onset_ms"] = _median(_delays_ms(mine, plain))
                row["label_ms"] = _median(_label_delays_ms(mine, plain))
            elif mine[0].iou:
                found = [trace for trace, bare in zip(mine, plain, strict=True) if _late(bare.iou) >= FOUND]
                row["iou"][kind] = _mean([_late(trace.iou) for trace in found])
                row["f1"][kind] = _mean([_late(trace.f1) for trace in found])
                row.setdefault("clips", {})[kind] = len(found)
        rows[f"{tau:g}"] = row
    return rows


def _kind(clip: Clip) -> str:
    return f"{clip.kind} {clip.speed}" if clip.speed else clip.kind


def _late(figures: Sequence[float]) -> float:
    """Return the mean of what counts once the smoothing has settled; 0 where nothing does."""
    late = np.array(figures[min(round(SETTLED_S * RATE), len(figures) // 2) :])
    return float(np.nanmean(late)) if np.isfinite(late).any() else 0.0


def _delays_ms(mine: Sequence[Trace], plain: Sequence[Trace]) -> list[float]:
    """Return how long each mask takes to arrive, infinite where it does not; only of those that do unsmoothed."""
    start = onset(len(plain[0].iou))
    aims = [float(np.nanmean(trace.iou[start:])) for trace in plain]
    pairs = [(trace.iou[start:], ARRIVED * aim) for trace, aim in zip(mine, aims, strict=True) if aim >= FOUND]
    return [_first_ms(figures, aim) for figures, aim in pairs]


def _label_delays_ms(mine: Sequence[Trace], plain: Sequence[Trace]) -> list[float]:
    """Return how long each label takes to be shown; only of those that are not shown before and are after."""
    start = onset(len(plain[0].iou))
    fit = [bool(p.score) and max(p.score[:start]) < SHOWN <= float(np.mean(p.score[start:])) for p in plain]
    return [_first_ms(trace.score[start:], SHOWN) for trace, fits in zip(mine, fit, strict=True) if fits]


def _first_ms(figures: Sequence[float], aim: float) -> float:
    reached = np.flatnonzero(np.array(figures) >= aim)
    return float(reached[0]) * 1000.0 / RATE if reached.size else float("inf")


def _mean(figures: Sequence[float]) -> float | None:
    return round(float(np.mean(figures)), 5) if len(figures) else None


def _median(delays_ms: Sequence[float]) -> dict[str, Any]:
    """Return the median, None where most never arrive, and of how many clips."""
    middle = float(np.median(delays_ms)) if delays_ms else float("inf")
    return {"median": round(middle, 1) if np.isfinite(middle) else None, "clips": len(delays_ms)}
