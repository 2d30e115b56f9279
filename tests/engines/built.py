"""What `build` leaves behind, for tests of what opens it: sidecars, and quantised bundles."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from edgex.build_manifest import BuildManifest, sidecar
from edgex.onnx_file import TensorSpec


def write_sidecar(path: Path, backend: str = "onnxruntime", **changes: Any) -> BuildManifest:
    """Write a sidecar that fits the bytes of `path`, but for `changes`, and return it."""
    content = path.read_bytes()
    built = BuildManifest(
        backend=backend,
        backend_version="1.0",
        device="a device",
        precision="fp32",
        achieved={},
        source="tiny.onnx",
        source_sha256="0" * 64,
        product_sha256=hashlib.sha256(content).hexdigest(),
        product_bytes=len(content),
        input=TensorSpec("image", "float32", ("N", 3, 32, 32)),
        outputs=(TensorSpec("mask_logits", "float32", ("N", 3, 4, 4)),),
    )
    built = dataclasses.replace(built, **changes)
    sidecar(path).write_text(built.to_json(), encoding="utf-8")
    return built


def write_quantised(bundle: Path, path: Path, size: int = 32) -> Path:
    """Write the bundle with uint8 activations and int8 weights, as CPUs want them, and return its path."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self) -> None:
            source = np.random.default_rng(0)
            self.left = [source.uniform(-1, 1, (1, 3, size, size)).astype(np.float32) for _ in range(4)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self.left.pop()} if self.left else None

    quantize_static(
        bundle, path, Pictures(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    )
    return path
