"""Any ONNX classifier as an Explanandum: converted to torch, because the Explainer's gradients flow through it."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnx.utils
import onnx.version_converter
import torch
from torch import Tensor, nn

from edgex.errors import EdgexError, ModelError, UsageError
from edgex.manifest import METADATA_KEY, InputSpec, Manifest, Task
from training.datasets import read_labels
from training.models.frozen import ForeignInput, LoadedNetwork, freeze
from training.torchvision_shim import torchvision  # noqa: F401  # onnx2torch imports torchvision

CLASS_LOGITS = "class_logits"  # this output of a bundle is the classifier's
LAST_ACTIVATIONS = ("Softmax", "Sigmoid", "LogSoftmax")  # the losses want what goes into them
OLDER_OPSET = 17  # onnx2torch knows hardly any operator of a newer one
log = logging.getLogger(__name__)


def load_onnx_explanandum(path: Path, foreign: ForeignInput) -> LoadedNetwork:
    """Load an ONNX classifier with one image input, frozen.

    Parameters
    ----------
    path : ONNX file; of a bundle the output `class_logits` is used; a last softmax or sigmoid is cut off
    foreign : labels, task, normalisation and size, where the file has no manifest

    Raises
    ------
    ModelError
        If the file is not an image classifier or has an operator that cannot be converted, which is named.
    UsageError
        If it has no manifest and no labels are given.
    """
    model = _read(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    if len(inputs) != 1:
        raise ModelError(f"expected one input (the image) in {path}, got {len(inputs)}; export the classifier alone")
    shape = [d.dim_value if d.HasField("dim_value") else None for d in inputs[0].type.tensor_type.shape.dim]
    if len(shape) != 4 or shape[1] not in (3, None):
        raise ModelError(f"expected an input [N, 3, H, W] in {path}, got {shape}; export the classifier channels-first")
    labels, task, spec = _described(model, path, foreign, shape[2], shape[3])
    module: nn.Module = freeze(_convert(_classifier_alone(model, inputs[0].name), path))
    if shape[0] not in (None, 0):
        module = freeze(OneByOne(module))
    _try(module, path, spec, len(labels))
    return LoadedNetwork(module, path.name, labels, task, spec)


def classifier_graph(path: Path) -> onnx.ModelProto:
    """Return the graph of an ONNX classifier cut to one input and one output, the class logits; otherwise as it is."""
    model = _read(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    return _classifier_alone(model, next(entry.name for entry in model.graph.input if entry.name not in weights))


class OneByOne(nn.Module):
    """Runs a network of fixed batch 1 over a batch; slower, but gradients are the same."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.network(one) for one in image.split(1)])


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f"expected an ONNX file at {path}, got no such file; check the path")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx and protobuf raise many kinds for a damaged file
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise ModelError(f"expected an ONNX model in {path}, got {reason}; export it again") from error
    return model


def _described(
    model: onnx.ModelProto, path: Path, foreign: ForeignInput, height: int | None, width: int | None
) -> tuple[tuple[str, ...], Task, InputSpec]:
    """Return labels, task and input as the manifest says, or as `foreign` does."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            manifest = Manifest.from_json(entry.value)
            return manifest.labels, manifest.task, manifest.input
    if foreign.labels is None:
        raise UsageError(
            f"expected a manifest in {path} or the option --labels, got neither; give --labels FILE, one class a line"
        )
    size = foreign.size or 224
    spec = InputSpec(height or size, width or size, foreign.mean, foreign.std)
    return read_labels(foreign.labels), foreign.task, spec


def _classifier_alone(model: onnx.ModelProto, image: str) -> onnx.ModelProto:
    """Cut the graph down to the class logits: no masks of a bundle, no softmax or sigmoid at the end."""
    outputs = [entry.name for entry in model.graph.output]
    wanted = CLASS_LOGITS if CLASS_LOGITS in outputs else outputs[0]
    for node in model.graph.node:
        if wanted in node.output and node.op_type in LAST_ACTIVATIONS:
            wanted = node.input[0]
            break
    if outputs == [wanted]:
        return model
    inferred = onnx.shape_inference.infer_shapes(model)
    return onnx.utils.Extractor(inferred).extract_model([image], [wanted])


def _convert(model: onnx.ModelProto, path: Path) -> nn.Module:
    from onnx2torch import convert

    plain = _simplified(_older(model))
    unknown = _unknown_operators(plain)
    if unknown:
        raise ModelError(
            f"expected operators that onnx2torch can convert in {path}, got {', '.join(unknown)}; "
            f"export the classifier with opset {OLDER_OPSET} or without them"
        )
    try:
        module: nn.Module = convert(plain)
    except Exception as error:  # onnx2torch raises whatever its converters stumble over
        raise ModelError(
            f"expected a classifier that onnx2torch can convert in {path}, got {type(error).__name__}: "
            f"{str(error)[:160]}; "
            f"export it with opset {OLDER_OPSET}"
        ) from error
    return module


def _older(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in an opset whose operators onnx2torch knows, or as it is where that cannot be expressed."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset <= OLDER_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDER_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own ConvertError
        log.info("the graph stays at opset %d: %s", opset, error)
        return model


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite two habits of exporters that onnx2torch does not take.

    Identity nodes, through which equal weights are shared: it wants weights in place. Reshape with allowzero=1:
    that differs from 0 only for a shape that holds a 0, which no classifier of real images has.
    """
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    outputs = {entry.name for entry in kept.graph.output}
    source: dict[str, str] = {}
    nodes = []
    for node in kept.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = source.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            source[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
        if node.op_type == "Reshape":
            rest = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(rest)
    del kept.graph.node[:]
    kept.graph.node.extend(nodes)
    return kept


def _unknown_operators(model: onnx.ModelProto) -> list[str]:
    """Name the operators, with their version, for which onnx2torch has no converter."""
    from onnx2torch.node_converters import get_converter

    opsets = {entry.domain or "": entry.version for entry in model.opset_import}
    missing = set()
    for node in model.graph.node:
        version = opsets.get(node.domain, 1)
        try:
            get_converter(operation_type=node.op_type, version=version, domain=node.domain)
        except NotImplementedError:
            missing.add(f"{node.domain + '.' if node.domain else ''}{node.op_type} (opset {version})")
    return sorted(missing)


def _try(module: nn.Module, path: Path, spec: InputSpec, classes: int) -> None:
    """Run it once on two images, so that a wrong file fails now and not after the data has been read."""
    image = torch.zeros(2, 3, spec.height, spec.width, requires_grad=True)
    try:
        answer = module(image)
        if tuple(answer.shape) != (2, classes):
            raise ModelError(
                f"expected class logits [N, {classes}] of {path}, one a label, got {list(answer.shape)[1:]} an image; "
                "give the labels that belong to it"
            )
        answer.sum().backward()
    except EdgexError:
        raise
    except Exception as error:
        raise ModelError(
            f"expected a classifier for images of {spec.height} x {spec.width} in {path}, got "
            f"{type(error).__name__}: {str(error).splitlines()[0][:120]}; set --size or export it with a free batch"
        ) from error
