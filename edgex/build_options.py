"""What `build` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from edgex.build_manifest import Precision
from edgex.build_plan import PlanRequest
from edgex.engines import BACKENDS
from edgex.errors import UsageError
from edgex.fidelity import Budget
from edgex.image_input import InputOptions

FEWEST_CHECKED = 4  # frames, below which a check says nothing


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What to build.

    Attributes
    ----------
    model : FP32 ONNX file
    precision : "fp32", "fp16" or "int8"
    backend : one of BACKENDS, or "auto": the first that runs here
    calibration : file that `calibrate` wrote, or None
    data : folder, glob or video to calibrate with, where there is no calibration, and to check the engine on
    output : engine to write; None is NAME.PRECISION.BACKEND and a suffix, beside the model
    frames : how many frames calibrate
    checked : how many frames, held back from calibration, the engine is checked on
    budget : what the check has to reach
    unchecked : write the engine without a check; its sidecar says so
    threads : CPU threads of the check
    input : what the model does not say of its input
    plan : what TensorRT is asked for
    """

    model: Path
    precision: Precision = "fp32"
    backend: str = "auto"
    calibration: Path | None = None
    data: str | None = None
    output: Path | None = None
    frames: int = 256
    checked: int = 64
    budget: Budget = field(default_factory=Budget)
    unchecked: bool = False
    threads: int | None = None
    input: InputOptions = field(default_factory=InputOptions)
    plan: PlanRequest = field(default_factory=PlanRequest)

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UsageError(f"expected a precision of fp32, fp16 or int8, got {self.precision!r}; choose one")
        if self.backend != "auto" and self.backend not in BACKENDS:
            raise UsageError(f"expected a backend of auto, {', '.join(BACKENDS)}, got {self.backend!r}; choose one")
        if self.frames < 1 or self.checked < FEWEST_CHECKED:
            raise UsageError(
                f"expected at least 1 frame to calibrate with and {FEWEST_CHECKED} to check on, got {self.frames} and "
                f"{self.checked}; 64 and more are usual"
            )
