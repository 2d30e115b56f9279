"""What `build` asks TensorRT for: the user's words for a plan, and the plan made of a typed graph."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edgex.errors import UsageError
from edgex.types import Observe, is_whole

Triple = tuple[int, int, int]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the user asks of a TensorRT plan; the CPU's backends need none of it.

    Attributes
    ----------
    batch : smallest, most usual and largest batch; None is 1, or as the model has it
    size : smallest, most usual and largest (height, width) of a model with a dynamic size, or None
    workspace_mb : most memory for one layer's work, in MiB, or None
    timing_cache : file of earlier measurements, or None
    version_compatible : whether later versions may run the plan
    optimisation_level : 0 to 5, or None
    compute_capabilities : GPUs that a plan of tensorrt-rtx is for
    log_file : where all that TensorRT says is written to, or None
    """

    batch: Triple | None = None
    size: tuple[Size, Size, Size] | None = None
    workspace_mb: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    optimisation_level: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    log_file: Path | None = None

    def __post_init__(self) -> None:
        if self.workspace_mb is not None and not (is_whole(self.workspace_mb) and self.workspace_mb > 0):
            raise UsageError(
                f"expected a workspace of at least 1 MiB, got {self.workspace_mb}; leave it out for no limit"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from nothing asked for, as JSON types."""
        asked = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, False, ())}
        return {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}


def planned(graph: Any, backend: str, request: PlanRequest, observe: Observe) -> Any:
    """Return the plan (edgex.engines.tensorrt_build.Plan) of a typed graph, its precisions named as edgex names them.

    Parameters
    ----------
    graph : onnx.ModelProto whose types say the precision
    backend : "tensorrt" or "tensorrt-rtx"
    request : what the user asks for
    observe : is told of progress
    """
    from edgex.engines.network import PRECISIONS
    from edgex.engines.tensorrt_build import PlanOptions, build_plan

    options = PlanOptions(
        flavour=cast(Any, backend),
        batch=request.batch,
        size=request.size,
        workspace_bytes=None if request.workspace_mb is None else request.workspace_mb * 2**20,
        timing_cache=request.timing_cache,
        version_compatible=request.version_compatible,
        optimisation_level=request.optimisation_level,
        compute_capabilities=request.compute_capabilities,
        log_file=request.log_file,
    )
    plan = build_plan(graph.SerializeToString(), options, observe)
    layers = {
        kind: {PRECISIONS.get(dtype, dtype): count for dtype, count in counts.items()}
        for kind, counts in plan.layer_types.items()
    }
    return dataclasses.replace(plan, layer_types=layers)


def batch_profile(text: str | None) -> Triple | None:
    """Read "8" or "1,8,16": smallest, most usual and largest batch. Raises UsageError if it is neither."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (1, 3) or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"expected a batch such as 8, or smallest,usual,largest such as 1,8,16, got {text!r}; write it so"
        )
    numbers = [int(part) for part in parts]
    return (numbers[0], numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def size_profile(text: str | None) -> tuple[Size, Size, Size] | None:
    """Read "480x640", or three of them with commas between (height first). Raises UsageError if it is neither."""
    if text is None:
        return None
    pairs = [tuple(part.lower().strip().split("x")) for part in text.split(",")]
    if len(pairs) not in (1, 3) or not all(
        len(pair) == 2 and all(side.isascii() and side.isdigit() for side in pair) for pair in pairs
    ):
        raise UsageError(
            f"expected sizes such as 480x640, or three of them with commas between, got {text!r}; write it so"
        )
    sizes = [(int(height), int(width)) for height, width in pairs]
    return (sizes[0], sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])
