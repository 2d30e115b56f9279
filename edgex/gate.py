"""The gate: an INT8 graph is held against the FP32 model, and what costs fidelity goes back to higher precision.

Which blocks cost it is measured, each on its own; then as few as will do are kept, the most costly first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.build_manifest import KeptNode
from edgex.engines import Network
from edgex.errors import FidelityError
from edgex.fidelity import Budget, Fidelity, Reference, shortfalls
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS
from edgex.restore import Block
from edgex.types import Observe

# output -> first node of a block -> share of that output's squared error that keeping the block takes away
Effects = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the gate needs of a model and a backend.

    Attributes
    ----------
    restored : makes the INT8 graph (onnx.ModelProto) with some blocks kept in higher precision
    opened : loads a graph into the backend
    blocks : what can be kept
    kinds : node to operator
    network, inputs : FP32 model and a few inputs [1, ...], for the effect of single blocks
    reference, frames : FP32 model over the frames of the check, and how many these are
    """

    restored: Callable[[Sequence[Block]], Any]
    opened: Callable[[Any], Network]
    blocks: Sequence[Block]
    kinds: Mapping[str, str]
    network: Network
    inputs: Sequence[NDArray[Any]]
    reference: Reference
    frames: int


@dataclass(frozen=True, slots=True)
class Passed:
    """An INT8 graph that explains what the FP32 model explains.

    Attributes
    ----------
    graph : onnx.ModelProto with Q/DQ
    fidelity : its figures
    kept : what went back to higher precision
    effects : what was measured of each block; empty where nothing had to be
    """

    graph: Any
    fidelity: Fidelity
    kept: tuple[KeptNode, ...]
    effects: Effects


def pass_gate(trial: Trial, budget: Budget, observe: Observe, known: Effects | None = None) -> Passed:
    """Return a graph within the budget, as little of it kept as the search finds.

    Parameters
    ----------
    trial : what is tried
    budget : what has to be reached
    observe : is told of progress
    known : effects that were measured earlier, or None

    Raises
    ------
    FidelityError
        If the budget cannot be reached.
    """
    graph, fidelity = _judged(trial, (), observe)
    if not shortfalls(fidelity, budget):
        return Passed(graph, fidelity, (), known or {})
    if fidelity.frames_with_mask < budget.frames_with_mask and MASK_LOGITS in fidelity.outputs:  # no block mends that
        raise FidelityError("; ".join(shortfalls(fidelity, budget)))
    effects = known if known else measured(trial, observe)
    gains = _gains(effects, fidelity, budget)
    ranked = sorted(trial.blocks, key=lambda block: -gains[block[0]])
    best, enough, below, count = fidelity, None, 0, 1
    while enough is None and below < len(ranked):
        graph, fidelity = _judged(trial, ranked[:count], observe)
        best = max(best, fidelity, key=_goodness)
        if shortfalls(fidelity, budget):
            below, count = count, min(2 * count, len(ranked))
        else:
            enough = graph, fidelity
    if enough is None:
        raise FidelityError(
            f"{'; '.join(shortfalls(best, budget))} with up to {len(ranked)} blocks kept; build with --fp16 or "
            "--fp32, or calibrate with more frames of what the device will see"
        )
    while count - below > 1:
        middle = (count + below) // 2
        graph, fidelity = _judged(trial, ranked[:middle], observe)
        if shortfalls(fidelity, budget):
            below = middle
        else:
            count, enough = middle, (graph, fidelity)
    kept = tuple(
        KeptNode(name, trial.kinds[name], round(gains[block[0]], 4)) for block in ranked[:count] for name in block
    )
    return Passed(*enough, kept, effects)


def measured(trial: Trial, observe: Observe) -> dict[str, dict[str, float]]:
    """Return, for each output and block, by how much keeping that block lessens the INT8 graph's squared error.

    1 is all of it; below 0 the error grows, where that of two blocks had cancelled.
    """
    wanted = [trial.network.run(tensor) for tensor in trial.inputs]
    whole = _errors(trial, (), wanted)
    effects: dict[str, dict[str, float]] = {output: {} for output in whole}
    for done, block in enumerate(trial.blocks, start=1):
        for output, error in _errors(trial, (block,), wanted).items():
            effects[output][block[0]] = 1.0 - error / whole[output] if whole[output] > 0 else 0.0
        observe("measuring blocks", done, len(trial.blocks))
    return effects


def _gains(effects: Effects, fidelity: Fidelity, budget: Budget) -> dict[str, float]:
    """Return what keeping a block gains for the outputs that fall short: a classifier that agrees needs no help."""
    agreement = fidelity.top1_agreement
    scores_miss = agreement is not None and agreement < budget.top1_agreement
    scores_alone = scores_miss and all("top-1" in sentence for sentence in shortfalls(fidelity, budget))
    missed = set(effects)
    if {MASK_LOGITS, CLASS_LOGITS} <= missed:
        missed = {CLASS_LOGITS} if scores_alone else missed if scores_miss else missed - {CLASS_LOGITS}
    gains: dict[str, float] = {}
    for output in missed:
        for block, gain in effects[output].items():
            gains[block] = max(gain, gains.get(block, 0.0))
    return gains


def _errors(trial: Trial, kept: Sequence[Block], wanted: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, float]:
    network = trial.opened(trial.restored(kept))
    try:
        found = [network.run(tensor) for tensor in trial.inputs]
    finally:
        network.close()
    pairs = list(zip(found, wanted, strict=True))
    return {
        key: float(np.mean([np.mean(np.square(one[key] - other[key], dtype=np.float64)) for one, other in pairs]))
        for key in wanted[0]
    }


def _judged(trial: Trial, kept: Sequence[Block], observe: Observe) -> tuple[Any, Fidelity]:
    stage = f"checking with {len(kept)} of {len(trial.blocks)} blocks kept" if kept else "checking"
    graph = trial.restored(kept)
    network = trial.opened(graph)
    try:
        return graph, trial.reference.compare(network, lambda done: observe(stage, done, trial.frames))
    finally:
        network.close()


def _goodness(fidelity: Fidelity) -> float:
    errors = [output.relative_error or 0.0 for output in fidelity.outputs.values()]
    return (fidelity.mask_iou_mean or 0.0) + (fidelity.top1_agreement or 0.0) - max(errors, default=0.0)
