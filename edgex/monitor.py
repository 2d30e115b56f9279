"""Is the heat map true at this moment? The masked frame goes through the classifier again.

A true mask keeps the class's score when only what it shows is left, and its complement loses it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgex.errors import UsageError
from edgex.explain import Explainer
from edgex.selection import scores_of
from edgex.types import FloatArray, Logits, is_whole

__all__ = ["FAINTEST", "Faithfulness", "measure"]
FAINTEST = 0.05  # score below which there is next to nothing that a mask could keep or lose


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How true one class's mask is in one frame.

    Attributes
    ----------
    label : name of the class
    score : probability that the classifier gives it in the whole frame, 0 to 1
    kept : share of the score that is left where only the mask shows the frame, 0 to 1; 1 also where the score rises
    lost : share of the score that is gone where the mask hides the frame, 0 to 1; 0 also where the score rises
    """

    label: str
    score: float
    kept: float
    lost: float


def measure(explainer: Explainer, tensor: FloatArray, logits: Logits, class_index: int) -> Faithfulness | None:
    """Score a class again under its mask and under the mask's complement: two more inferences.

    Hidden pixels are 0 in the network's input, which is the mean color of the manifest: so did training hide them.
    The mask is sampled as compositors do it: bilinearly at pixel centres, edges clamped, then the sigmoid.

    Parameters
    ----------
    explainer : a loaded model with a classifier
    tensor : float32 [1, 3, H, W], the network's input
    logits : class logits that the model gave for `tensor`, and the mask logits that are judged: the model's own or, to
        judge what is shown, the smoothed ones
    class_index : which class, its place in `explainer.labels`

    Returns
    -------
    None where the class scores below FAINTEST: shares of next to nothing say nothing

    Raises
    ------
    UsageError
        If the model has no classifier, or not that class.
    ModelError
        If the engine cannot infer.
    """
    from edgex.compositors.opencv import mask

    if logits.class_logits is None:
        raise UsageError(
            "expected a model with a classifier, which can say what a mask keeps, got an Explainer alone; run without "
            "the monitor, or export a bundle that holds both"
        )
    if not is_whole(class_index) or not 0 <= class_index < len(explainer.labels):
        raise UsageError(f"expected a class index of 0 to {len(explainer.labels) - 1}, got {class_index!r}; choose one")
    score = _score(explainer, logits.class_logits[0], class_index)
    if score < FAINTEST:
        return None
    shown = mask(logits.mask_logits[0, class_index], *tensor.shape[2:])
    under = _again(explainer, tensor * shown, class_index)
    beside = _again(explainer, tensor * (1.0 - shown), class_index)
    return Faithfulness(
        label=explainer.labels[class_index],
        score=score,
        kept=min(1.0, under / score),
        lost=max(0.0, 1.0 - beside / score),
    )


def _score(explainer: Explainer, class_logits: FloatArray, index: int) -> float:
    return float(scores_of(class_logits, explainer.manifest.task)[index])


def _again(explainer: Explainer, tensor: FloatArray, index: int) -> float:
    """Return the score of one class for float32 [1, 3, H, W].

    One picture a call: two are no faster on a CPU, and OpenVINO would compile the model for them in mid-run, 0.5 s.
    """
    class_logits = explainer.infer(tensor).class_logits
    assert class_logits is not None  # as for the whole picture
    return _score(explainer, class_logits[0], index)
