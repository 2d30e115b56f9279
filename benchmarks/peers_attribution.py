"""Grad-CAM by pytorch-grad-cam and by captum for the same classifier and classes, with each one's own overlay.

Both get the three classes in one batched call, which their documentation has, and was quicker than three calls. One
overlay is drawn, of the largest value over the classes: three overlays would cost more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.drawing_peers import opencv_input
from benchmarks.peers_rounds import Rival
from benchmarks.peers_scene import Scene, correlation
from benchmarks.peers_torch import classifier_of
from edgex.engines import open_engine
from edgex.types import FloatArray
from training.torchvision_shim import torchvision  # noqa: F401  # pytorch_grad_cam imports torchvision


def last_maps(network: nn.Module, image: torch.Tensor) -> nn.Module:
    """Return the module whose output is the last feature map [N, F, h, w] with more than one place."""
    found: list[nn.Module] = []

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] * output.shape[-2] > 1:
            found.append(module)

    hooks = [each.register_forward_hook(keep) for each in network.modules() if not list(each.children())]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise SystemExit("expected a classifier with feature maps for Grad-CAM, got none; use another model")
    return found[-1]


def grad_cam(scene: Scene, thrifty: bool) -> tuple[Rival, dict[str, Any]]:
    """Return pytorch-grad-cam as contender, and how its maps look.

    Parameters
    ----------
    scene : the work
    thrifty : let gradients end at the last layer with weights before the maps, which the package does not mention; else
        all weights take gradients, as those of a network that was just loaded do
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, layer, prepare = _prepared(scene)
    if thrifty:
        weights = _maker_of(network, layer).parameters()
        network.requires_grad_(False)
        for each in weights:
            each.requires_grad_(True)
    cam = GradCAM(model=network, target_layers=[layer])
    targets = [ClassifierOutputTarget(index) for index in scene.classes]
    size = (scene.image.shape[1], scene.image.shape[0])

    def maps() -> FloatArray:
        return np.asarray(cam(input_tensor=prepare(), targets=targets), np.float32)  # [K, 224, 224], 0 to 1

    def call() -> Any:
        heat = cv2.resize(maps().max(axis=0), size)
        return show_cam_on_image(scene.image.astype(np.float32) / 255, heat)

    note = "GradCAM, three targets in a batch, show_cam_on_image" + (
        "; only the last layer's weights take gradients" if thrifty else ""
    )
    return Rival(call, note=note), _looked_at("grad-cam", scene, maps(), call())


def captum_grad_cam(scene: Scene) -> tuple[Rival, dict[str, Any]]:
    """Return captum's LayerGradCam as contender, and how its maps look."""
    from captum.attr import LayerAttribution, LayerGradCam
    from captum.attr import visualization as visual
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    network, layer, prepare = _prepared(scene)
    method = LayerGradCam(network, layer)
    height, width = scene.image.shape[:2]

    def maps() -> FloatArray:
        found = method.attribute(prepare(), target=list(scene.classes), relu_attributions=True).detach()
        side = (scene.manifest.input.height, scene.manifest.input.width)
        large = LayerAttribution.interpolate(found, side, "bilinear")[:, 0]
        return np.asarray(large / large.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12), np.float32)

    def call() -> Any:
        heat = cv2.resize(maps().max(axis=0), (width, height))[..., None]
        figure, _ = visual.visualize_image_attr(
            heat,
            scene.image[..., ::-1],
            method="blended_heat_map",
            sign="positive",
            fig_size=(width / 100, height / 100),
            use_pyplot=False,
        )
        figure.subplots_adjust(0, 0, 1, 1)  # or else it leaves margins around a smaller picture
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3]

    note = "LayerGradCam, three targets in a batch, visualize_image_attr drawn by matplotlib"
    return Rival(call, note=note), _looked_at("captum", scene, maps(), call())


def _prepared(scene: Scene) -> tuple[nn.Module, nn.Module, Callable[[], torch.Tensor]]:
    """Return the classifier, its last maps, and what makes one input for each class."""
    scene.set_threads()
    network = classifier_of(scene).eval().requires_grad_(True)
    ready = opencv_input(scene.image, scene.manifest.input)
    count = len(scene.classes)
    layer = last_maps(network, torch.from_numpy(ready()))
    return network, layer, lambda: torch.from_numpy(ready()).repeat(count, 1, 1, 1)


def _maker_of(network: nn.Module, layer: nn.Module) -> nn.Module:
    """Return the last module with weights that runs no later than `layer`."""
    ahead = []
    for module in network.modules():
        if not list(module.children()) and any(True for _ in module.parameters(recurse=False)):
            ahead.append(module)
        if module is layer:
            break
    return ahead[-1]


def _looked_at(name: str, scene: Scene, maps: FloatArray, picture: Any) -> dict[str, Any]:
    """Raise SystemExit unless maps and picture are what they should be; return how the maps go with edgex's masks."""
    if len(maps) != len(scene.classes) or not np.isfinite(maps).all() or maps.min() < 0.0 or maps.max() > 1.0 + 1e-5:
        raise SystemExit(f"{name}: expected {len(scene.classes)} maps of 0 to 1, got {maps.shape}, not all in it")
    if picture.shape != scene.image.shape or picture.dtype != np.uint8:
        raise SystemExit(f"{name}: expected a picture of {scene.image.shape}, got {picture.dtype} {picture.shape}")
    engine = open_engine(scene.bundle, "onnxruntime", scene.threads)
    try:
        masks = engine.infer(opencv_input(scene.image, scene.manifest.input)()).mask_logits[0]
    finally:
        engine.close()
    side = (maps.shape[2], maps.shape[1])
    ours = [cv2.resize(1.0 / (1.0 + np.exp(-masks[index])), side) for index in scene.classes]
    return {"correlation_with_masks": [correlation(one, other) for one, other in zip(maps, ours, strict=True)]}
