"""Export: an Explainer and its Explanandum as one ONNX bundle that says what it is and was compared to PyTorch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgex.errors import DataError, FidelityError, ModelError, UsageError
from edgex.manifest import METADATA_KEY, InputSpec, Manifest
from edgex.preprocess import preprocess
from edgex.types import FloatArray
from training.datasets import open_dataset
from training.models.classifier import Classifier
from training.models.frozen import ForeignInput
from training.models.onnx_explanandum import OneByOne, classifier_graph
from training.onnx_graph import halve_weights, join, simplify
from training.pair import load_pair
from training.report import main_scores
from training.staged import staged

OPSET = 20
TOLERANCE = 1e-3  # largest absolute difference of any logit between PyTorch and ONNX Runtime


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export.

    Attributes
    ----------
    explainer : checkpoint of an Explainer
    output : the bundle to write, NAME.onnx
    data : a dataset as `open_dataset` takes it; some of its images go through PyTorch and ONNX Runtime
    explanandum : checkpoint or onnx:FILE; None for the one that the Explainer was trained against
    split : of the data
    images : how many of them, evenly spaced
    fp16 : store large weights in float16; input, output and arithmetic stay float32
    evaluation : report that `evaluate` wrote for these very checkpoints; its main scores go into the manifest
    training_data : name of the data both networks were trained on
    licence : SPDX expression of the weights
    calibration : path of calibration frames relative to the bundle
    foreign : labels and normalisation of an ONNX classifier without a manifest
    """

    explainer: Path
    output: Path
    data: str
    explanandum: str | None = None
    split: str = "val"
    images: int = 16
    fp16: bool = False
    evaluation: Path | None = None
    training_data: str | None = None
    licence: str | None = None
    calibration: str | None = None
    foreign: ForeignInput = field(default_factory=ForeignInput)

    def __post_init__(self) -> None:
        if self.output.suffix != ".onnx":
            raise UsageError(f"expected an output named NAME.onnx, got {self.output.name!r}; rename it")
        if self.images < 1:
            raise UsageError(f"expected images of 1 or more, got {self.images}; parity needs pictures")


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest absolute differences from PyTorch over the compared images, of either output."""

    class_logits: float
    mask_logits: float

    @property
    def largest(self) -> float:
        """The larger of the two; NaN if either is."""
        return float(np.max([self.class_logits, self.mask_logits]))


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : the bundle
    size_bytes : its size
    images : how many pictures were compared
    float32 : differences before any rounding of weights, below TOLERANCE
    rounded : differences of the file as written with fp16, or None without
    manifest : what the file says of itself
    """

    path: Path
    size_bytes: int
    images: int
    float32: Difference
    rounded: Difference | None
    manifest: Manifest


class Bundle(nn.Module):
    """Both networks over one image: class logits [N, C] and low-resolution mask logits [N, C, h, w]."""

    def __init__(self, explanandum: nn.Module, explainer: nn.Module) -> None:
        super().__init__()
        self.explanandum = explanandum
        self.explainer = explainer

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.explanandum(image), self.explainer(image)


def export(options: ExportOptions) -> Exported:
    """Write a bundle; nothing is written unless ONNX Runtime agrees with PyTorch on real images.

    Raises
    ------
    FidelityError
        If a logit differs by TOLERANCE or more.
    ModelError
        If a network cannot be loaded, or ONNX cannot express it.
    UsageError
        If the two networks do not fit together, or the report is of others.
    """
    pair = load_pair(options.explainer, options.explanandum, options.foreign)
    explainer, explanandum = pair.explainer, pair.explanandum
    manifest = Manifest(
        labels=explainer.labels,
        task=explainer.task,
        input=explainer.input,
        explanandum=explanandum.architecture,
        explainer=explainer.architecture,
        training_data=options.training_data,
        evaluation=main_scores(options.evaluation, pair.files()) if options.evaluation else {},
        licence=options.licence,
        calibration=options.calibration,
    )
    bundle = Bundle(explanandum.module, explainer.module).eval()
    images = _images(options, explainer.input)
    if isinstance(explanandum.module, Classifier):
        model = to_onnx(bundle, explainer.input, ("class_logits", "mask_logits"))
    else:  # a foreign ONNX: its own graph goes into the bundle, not what was made of it for PyTorch
        free_batch = not isinstance(explanandum.module, OneByOne)
        masks = to_onnx(explainer.module, explainer.input, ("mask_logits",), free_batch)
        model = join(classifier_graph(pair.explanandum_file), masks)
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    model, float32, rounded = checked(bundle, model, images, options.fp16)
    onnx.checker.check_model(model, full_check=True)
    with staged(options.output) as part:
        part.write_bytes(model.SerializeToString())
    return Exported(options.output, options.output.stat().st_size, len(images), float32, rounded, manifest)


def checked(
    bundle: nn.Module, model: onnx.ModelProto, images: list[FloatArray], fp16: bool
) -> tuple[onnx.ModelProto, Difference, Difference | None]:
    """Require parity with PyTorch, then halve the weights if asked to; return the model, and its difference each time.

    Raises
    ------
    FidelityError
        If a logit differs by TOLERANCE or more before weights are rounded, or is not finite after.
    """
    float32 = compare(bundle, model, images)
    if not float32.largest < TOLERANCE:
        raise FidelityError(
            f"expected logits within {TOLERANCE} of PyTorch on {len(images)} images, got {float32.largest:.2g}; "
            "nothing was written, please report the architectures"
        )
    rounded = None
    if fp16:
        model = halve_weights(model)
        rounded = compare(bundle, model, images)
        if not np.isfinite(rounded.largest):
            raise FidelityError(
                "expected finite logits with weights in float16, got NaN or infinity; export without --fp16"
            )
    return model, float32, rounded


def _images(options: ExportOptions, spec: InputSpec) -> list[FloatArray]:
    """Return real pictures as network inputs, float32 [1, 3, H, W] each."""
    dataset = open_dataset(options.data, options.split)
    if not len(dataset):
        raise DataError(f"expected images in {options.data}, got none in {options.split}; choose another split")
    indices = np.unique(np.linspace(0, len(dataset) - 1, options.images).round().astype(int))
    return [preprocess(dataset.load(int(index)).image, spec) for index in indices]


def to_onnx(network: nn.Module, spec: InputSpec, outputs: tuple[str, ...], free_batch: bool = True) -> onnx.ModelProto:
    """Export one network; the exporter folds batch-norms into their convolutions.

    Parameters
    ----------
    network : image [N, 3, H, W] to `outputs`
    spec : height and width
    outputs : their names
    free_batch : any N, or else N = 1

    Raises
    ------
    ModelError
        If the exporter cannot express the network.
    """
    example = torch.zeros(2 if free_batch else 1, 3, spec.height, spec.width)  # the exporter takes a 1 for a constant
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own deprecations, of no use to who exports
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("N")},) if free_batch else None,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        cause: BaseException = error
        while cause.__cause__ is not None:  # the outermost speaks of the exporter's own steps
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ModelError(
            f"expected a network that ONNX opset {OPSET} expresses, got {reason[:200]}; change the architecture"
        ) from error
    assert program is not None  # None is for the exporter that this is not
    return simplify(program.model_proto)


def compare(bundle: nn.Module, model: onnx.ModelProto, images: list[FloatArray]) -> Difference:
    """Run the same inputs through PyTorch and ONNX Runtime: one by one and, where the batch is free, two at once."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    free_batch = not isinstance(session.get_inputs()[0].shape[0], int)
    pairs = [np.concatenate([images[0], images[-1]])] if free_batch else []
    largest = np.zeros(2)
    for batch in [*images, *pairs]:
        with torch.no_grad():
            expected = bundle(torch.from_numpy(batch))
        for position, got in enumerate(session.run(["class_logits", "mask_logits"], {"image": batch})):
            difference = np.abs(got - expected[position].numpy()).max()
            largest[position] = np.maximum(largest[position], difference)  # NaN stays NaN
    return Difference(float(largest[0]), float(largest[1]))
