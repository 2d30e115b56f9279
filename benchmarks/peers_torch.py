"""Torch's contenders of benchmarks/peers.py: the shipped bundle and the paper's model, eager and compiled.

The shipped bundle becomes a torch module by onnx2torch, batch-norms folded as in the file, and has to give the bundle's
logits. The paper's Explainer is torchvision's DeepLabV3-ResNet50 with random weights, since its time does not depend on
them; its classifier is left out, to its advantage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from benchmarks.drawing_peers import opencv_input
from benchmarks.peers_rounds import Rival
from benchmarks.peers_scene import Scene, numpy_composite, require_composite
from benchmarks.precision_models import untrained
from edgex.engines import open_engine
from edgex.explain import shipped_bundle
from edgex.manifest import InputSpec
from training.models import onnx_explanandum
from training.models.frozen import ForeignInput

PAPER, PAPER_CLASSES = "deeplabv3_resnet50", 20
PAPER_INPUT = InputSpec(224, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAME = 1e-3  # largest difference of logits between torch and the bundle
COMPILED = {"freezing": True}  # what PyTorch advises for inference on CPUs


def float_file(bundle: Path, path: Path) -> Path:
    """Write a bundle whose weights are stored as float32, without casts, which onnx2torch does not take."""
    model = onnx.load(str(bundle))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            tensor = stored[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, str(path))
    return path


def classifier_of(scene: Scene) -> nn.Module:
    """Return the bundle's classifier, image [N, 3, H, W] to logits [N, C]; SystemExit unless they are the bundle's."""
    with tempfile.TemporaryDirectory() as folder:
        plain = float_file(scene.bundle, Path(folder) / "float.onnx")
        module = onnx_explanandum.load_onnx_explanandum(plain, ForeignInput()).module
    _require_same(scene, lambda image: (module(image), None))
    return module


def whole_of(scene: Scene) -> nn.Module:
    """Return the whole bundle, image to (class logits, mask logits); SystemExit unless they are the bundle's."""
    from onnx2torch import convert

    with tempfile.TemporaryDirectory() as folder:
        model = onnx.load(str(float_file(scene.bundle, Path(folder) / "float.onnx")))
    older = onnx.version_converter.convert_version(model, onnx_explanandum.OLDER_OPSET)
    module: nn.Module = convert(onnx_explanandum._simplified(older)).eval().requires_grad_(False)
    _require_same(scene, module)
    return module


def _require_same(scene: Scene, module: Callable[[torch.Tensor], Any]) -> None:
    image = opencv_input(scene.image, scene.manifest.input)()
    engine = open_engine(scene.bundle, "onnxruntime", scene.threads)
    try:
        expected = engine.infer(image)
    finally:
        engine.close()
    with torch.inference_mode():
        found = module(torch.from_numpy(image))
    for name, one, other in zip(("class", "mask"), found, (expected.class_logits, expected.mask_logits), strict=True):
        if one is not None and not np.abs(one.numpy() - other).max() <= SAME:
            raise SystemExit(f"expected torch to give the bundle's {name} logits, got others; the conversion is wrong")


def shipped_rival(scene: Scene, channels_last: bool) -> tuple[Rival, dict[str, float]]:
    """Return the bundle in torch eager, and how far its picture is from the oracle's."""
    module = whole_of(scene)
    return _rival("the shipped model", scene, module, lambda found: found[1], scene.manifest.input, channels_last)


def paper_rival(scene: Scene, channels_last: bool = False, compiled: bool = False) -> tuple[Rival, dict[str, float]]:
    """Return the paper's Explainer in torch eager or compiled, and how far its picture is from the oracle's."""
    frames = shipped_bundle().parent / "calibration"
    module: Any = untrained(PAPER, PAPER_CLASSES, frames, PAPER_INPUT).requires_grad_(False)
    if compiled:
        module = torch.compile(module, options=dict(COMPILED))
    rival, apart = _rival("the paper's model", scene, module, lambda found: found, PAPER_INPUT, channels_last)
    return (replace(rival, note=f"{rival.note}; torch.compile with freezing") if compiled else rival), apart


def _rival(
    name: str, scene: Scene, module: Any, masks: Callable[[Any], Any], spec: InputSpec, channels_last: bool
) -> tuple[Rival, dict[str, float]]:
    """Return a network as contender: OpenCV's input, inference_mode, NumPy's drawing of the scene's classes."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if channels_last:
        module = module.to(memory_format=layout)
    prepare, drawing = opencv_input(scene.image, spec), scene.drawing

    def logits() -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            tensor = torch.from_numpy(prepare()).contiguous(memory_format=layout)
            found: np.ndarray[Any, Any] = masks(module(tensor))[0].numpy()
            return found

    def call() -> Any:
        return numpy_composite(scene.image, logits(), drawing)

    scene.set_threads()
    apart = require_composite(name, scene, call(), logits())
    settings = "inference_mode" + (", channels_last" if channels_last else "")
    return Rival(call, note=f"cv2 input, torch with {settings}, NumPy and OpenCV drawing"), apart
