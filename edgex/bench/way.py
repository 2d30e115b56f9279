"""The way of a frame from picture to drawing, as edgex/frame_path.py chooses it: how it begins, and in words."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from edgex.bench.track import Clock
from edgex.explain import Explainer
from edgex.frame_path import open_path
from edgex.types import Image

_WAITS = "infer waits for the GPU until the logits are in host memory, compose until the picture is"
_NOT_OPENED = "whether a CUDA graph was replayed is not known, as it came to no first inference"


@dataclass(frozen=True, slots=True)
class Begin:
    """How the path began.

    Attributes
    ----------
    first_ms : from nothing to the logits of the first picture
    launches : how the path on the GPU starts its engine: "graph", "runtime" or "plain"; "" on the host
    plain_because : why it does that without a CUDA graph, or ""
    """

    first_ms: float
    launches: str = ""
    plain_because: str = ""


def stays_on_gpu(explainer: Explainer) -> bool:
    """Tell whether frames stay on the GPU between upload and picture."""
    from edgex.explain_cuda import reason_missing

    return not reason_missing(explainer)


def begin(explainer: Explainer, image: Image, clock: Clock) -> Begin:
    """Open a path as a run does, and bring a picture as far as its logits. Raises EdgexError where that fails."""
    began_ns = clock.now_ns()
    with contextlib.closing(open_path(explainer)) as path:
        path.upload(image)
        path.infer(tensor=True)
        first_ms = (clock.now_ns() - began_ns) / 1e6
        return Begin(first_ms, path.launches, path.plain_because)


def launches_of(begun: Begin | None) -> tuple[str, bool | None]:
    """Return how the end of an inference is known on the GPU's path, and whether a CUDA graph was replayed there."""
    if begun is None:
        return f"{_WAITS}; {_NOT_OPENED}", None
    why = f"; no CUDA graph: {begun.plain_because}" if begun.plain_because else ""
    return _WAITS + why, begun.launches in ("graph", "runtime")


def stages_on_gpu(classes: int, smoothing: str) -> str:
    """Return what the stages from picture to drawing hold where frames stay on the GPU.

    Parameters
    ----------
    classes : so many are drawn
    smoothing : that stage, in words
    """
    return (
        "preprocessing, which begins with the upload of the frame and returns before the GPU is done; inference, which "
        f"waits for the GPU and brings the logits and the network's input down; {smoothing}, on the host; composing, "
        f"which brings smoothed masks up, draws {classes} classes on the GPU and brings the picture down; their legend"
    )
