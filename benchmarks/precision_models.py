"""The models of benchmarks/precision.py: the shipped bundle, and the paper's and a small Explainer with random weights.

Random weights say nothing of fidelity or masks; the time that a network takes does not depend on them. Its batch-norms
take their statistics from real pictures, so that activations have the sizes that those of a trained network have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgex.explain import shipped_bundle
from edgex.frames import read_frames
from edgex.manifest import METADATA_KEY, InputSpec, Manifest
from edgex.onnx_file import read_onnx
from edgex.preprocess import preprocess

SHIPPED = "shipped"
UNTRAINED = (
    "deeplabv3_resnet50",
    "lraspp_mobilenet_v3_large",
)  # the paper's Explainer, and the smallest of torchvision
NAMES = (SHIPPED, *UNTRAINED)
SIDE = 224
SEED = 0
SETTLING = 16  # pictures that batch-norms take their statistics from
TITLES = {
    SHIPPED: "shipped bundle",
    "deeplabv3_resnet50": "DeepLabV3-ResNet50",
    "lraspp_mobilenet_v3_large": "LR-ASPP MobileNetV3",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model to build engines from.

    Attributes
    ----------
    name : one of NAMES, or any other
    path : its FP32 ONNX file, with a manifest
    frames : folder of pictures to calibrate with
    trained : False for random weights: such a model is not held to any fidelity
    """

    name: str
    path: Path
    frames: Path
    trained: bool

    def manifest(self) -> Manifest:
        """Return what the file says of itself."""
        manifest = read_onnx(self.path).manifest()
        assert manifest is not None, "expected a model with a manifest"
        return manifest


def open_model(name: str, folder: Path, side: int = SIDE) -> Model:
    """Return a model of NAMES; one that is not shipped is exported into `folder`.

    Parameters
    ----------
    name : one of NAMES
    folder : where the export goes, as NAME.onnx
    side : height and width of an exported model's input
    """
    bundle = shipped_bundle()
    frames = bundle.parent / "calibration"
    if name == SHIPPED:
        return Model(name, bundle, frames, trained=True)
    return Model(name, export_untrained(name, folder / f"{name}.onnx", frames, side), frames, trained=False)


def export_untrained(name: str, path: Path, frames: Path, side: int) -> Path:
    """Export a network of UNTRAINED as an Explainer of VOC's 20 classes, with a manifest that says so; return its path.

    Parameters
    ----------
    name : one of UNTRAINED
    path : the ONNX file to write
    frames : pictures that its batch-norms take their statistics from
    side : height and width of its input
    """
    import onnx

    from training.datasets.voc import VOC_LABELS
    from training.export import to_onnx
    from training.models import input_mean_std

    mean, std = input_mean_std(name)
    spec = InputSpec(height=side, width=side, mean=mean, std=std)
    manifest = Manifest(
        labels=VOC_LABELS,
        task="multi-label",
        input=spec,
        explainer=name,
        training_data=f"none: random weights, seed {SEED}",
    )
    model = to_onnx(untrained(name, len(VOC_LABELS), frames, spec), spec, ("mask_logits",))
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def untrained(name: str, classes: int, frames: Path, spec: InputSpec) -> Any:
    """Return a network (torch.nn.Module) with seeded random weights, the same each time, in eval mode."""
    import torch

    from training.models import build_explainer

    torch.manual_seed(SEED)
    network = build_explainer(name, classes, pretrained=False).train()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain mean over what it sees
    pictures = [torch.from_numpy(preprocess(frame.image, spec)) for frame in read_frames(frames, SETTLING)]
    with torch.no_grad():
        network(torch.cat(pictures))
    return network.eval()
