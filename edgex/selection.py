"""Which classes are shown: scores from logits, the best of them, or those that somebody names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from edgex.errors import UnknownClassError, UsageError
from edgex.manifest import Task
from edgex.types import FloatArray

TOP_K = 3
THRESHOLD = 0.5


def scores_of(class_logits: FloatArray, task: Task) -> FloatArray:
    """Return probabilities float32 [C]: the sigmoid (multi-label) or softmax (single-label) of float32 [C] logits.

    A logit that is not finite counts as minus infinity, so its class scores 0.
    """
    exact = np.where(np.isfinite(class_logits), class_logits, -np.inf).astype(np.float64)
    if task == "multi-label":
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-exact)), np.float32)
    if not np.isfinite(exact).any():
        return np.zeros(exact.shape, np.float32)
    powers = np.exp(exact - exact.max())
    return np.asarray(powers / powers.sum(), np.float32)


def select(
    scores: FloatArray | None, labels: Sequence[str], k: int = TOP_K, threshold: float = THRESHOLD
) -> tuple[int, ...]:
    """Return the indices of at most `k` classes that score at least `threshold`, highest first, ties by index.

    Raises
    ------
    UsageError
        If `k` is below 1, `threshold` not in 0 to 1, or there are no scores to choose by.
    """
    if scores is None:
        raise UsageError(
            f"expected class names, because this model has no classifier that could choose; name some of: "
            f"{', '.join(labels[:10])}"
        )
    if k < 1:
        raise UsageError(f"expected at least 1 class to show, got {k}; ask for 1 or more")
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(f"expected a threshold of 0 to 1, got {threshold}; choose one in between")
    ranked = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    return tuple(i for i in ranked[:k] if scores[i] >= threshold)


def resolve(names: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """Return the index of each name in `labels`, duplicates once, upper and lower case alike where that is unambiguous.

    Raises
    ------
    UnknownClassError
        If a name is not a label; the message holds the nearest labels.
    UsageError
        If there is no name.
    """
    if isinstance(names, str):
        names = [names]
    if not names:
        raise UsageError(f"expected at least one class name, got none; name some of: {', '.join(labels[:10])}")
    exact = {label: index for index, label in enumerate(labels)}
    folded: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        folded.setdefault(label.casefold().strip(), []).append(index)
    found: dict[int, None] = {}
    for name in names:
        alike = folded.get(name.casefold().strip(), [])
        if name in exact:
            found[exact[name]] = None
        elif len(alike) == 1:
            found[alike[0]] = None
        else:
            raise UnknownClassError(_unknown(name, labels, folded))
    return tuple(found)


def _unknown(name: str, labels: Sequence[str], folded: dict[str, list[int]]) -> str:
    near = difflib.get_close_matches(name.casefold().strip(), list(folded), n=3, cutoff=0.5)
    nearest = [labels[index] for key in near for index in folded[key]]
    mend = f"did you mean {' or '.join(nearest)}?" if nearest else f"the model has: {', '.join(labels[:20])}"
    return f"expected a class of the model, got {name!r}; {mend}"
