"""What makes an ONNX file a bundle that `run` can use: graph and manifest are checked before any backend loads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from edgex.errors import ModelError
from edgex.manifest import Manifest
from edgex.onnx_file import CLASS_LOGITS, IMAGE, MASK_LOGITS, Axis, OnnxFile, TensorSpec

EXPORT = "export the model with python -m training export"
LARGEST_SIDE = 8192  # of the network's input, in pixels, and of its masks


def check_bundle(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], manifest: Manifest | None
) -> tuple[int | None, int, int, int]:
    """Return [N or None, 3, H, W] of the input `image` of a model that `run` can use, in whatever format it stands.

    Parameters
    ----------
    path : the file, for the message
    inputs, outputs : of the network
    manifest : what the file says of itself, or None

    Raises
    ------
    ModelError
        If it is no bundle and no Explainer, or its manifest contradicts it.
    """
    check_masks(path, outputs)
    shape = input_shape(path, inputs)
    if manifest is not None:
        check_manifest(path, inputs, outputs, manifest)
    return shape


def input_shape(path: Path, inputs: Sequence[TensorSpec]) -> tuple[int | None, int, int, int]:
    """Return [N or None, 3, H, W] of the input `image`, N None where any batch goes.

    Raises
    ------
    ModelError
        If the graph has no such input, or others besides.
    """
    spec = _named(inputs, IMAGE)
    if spec is None or len(inputs) != 1:
        names = ", ".join(str(found) for found in inputs) or "no input"
        raise ModelError(f"expected one input named {IMAGE} in {path}, got {names}; {EXPORT}")
    batch, channels, height, width = _float_axes(path, spec, "[N, 3, H, W]")
    if channels == 3 and _side(height) and _side(width):
        if not isinstance(batch, int):
            return None, 3, height, width
        if batch > 0:
            return batch, 3, height, width
    raise ModelError(
        f"expected {IMAGE} [N, 3, H, W] with H and W of 1 to {LARGEST_SIDE} in {path}, got {spec}; {EXPORT}"
    )


def check_masks(path: Path, outputs: Sequence[TensorSpec]) -> None:
    """Raise ModelError unless the graph gives `mask_logits` [N, C, h, w] and, if at all, `class_logits` [N, C]."""
    spec = _named(outputs, MASK_LOGITS)
    if spec is None:
        names = ", ".join(str(found) for found in outputs)
        raise ModelError(
            f"expected an output {MASK_LOGITS} in {path}, got {names}; an Explainer is needed: train one for this "
            "model with python -m training explainer"
        )
    _, classes, *sides = _float_axes(path, spec, "[N, C, h, w]")
    if any(isinstance(side, int) and not _side(side) for side in sides):
        raise ModelError(f"expected masks of 1 to {LARGEST_SIDE} a side in {path}, got {spec}; {EXPORT}")
    scores = _named(outputs, CLASS_LOGITS)
    if scores is not None and _differ(classes, _float_axes(path, scores, "[N, C]")[1]):
        raise ModelError(f"expected as many masks as classes in {path}, got {spec} and {scores}; {EXPORT}")


def check_manifest(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], manifest: Manifest) -> None:
    """Raise ModelError where the manifest contradicts the graph."""
    shape = input_shape(path, inputs)
    size = manifest.input
    if shape[2:] != (size.height, size.width):
        raise ModelError(
            f"expected an input of {size.height} x {size.width} as the manifest says, got {shape[2]} x {shape[3]} in "
            f"{path}; {EXPORT}"
        )
    for spec in (_named(outputs, MASK_LOGITS), _named(outputs, CLASS_LOGITS)):
        if spec is not None and spec.shape is not None and _differ(spec.shape[1], len(manifest.labels)):
            raise ModelError(
                f"expected one channel for each of the {len(manifest.labels)} labels of the manifest, got {spec} in "
                f"{path}; {EXPORT}"
            )


def lacks_manifest(path: object) -> ModelError:
    """Return the error for a model without manifest."""
    return ModelError(
        f"expected a manifest (labels, task, normalisation) in the metadata of {path}, got none; export the model with "
        "python -m training export"
    )


def shortcomings(file: OnnxFile) -> tuple[str, ...]:
    """Return what keeps `run` from using the file, one sentence each; nothing for a bundle."""
    found: list[str] = []
    try:
        manifest = file.manifest()
        if manifest is None:
            raise lacks_manifest(file.path)
    except ModelError as error:
        manifest = None
        found.append(str(error))
    path, inputs, outputs = file.path, file.inputs, file.outputs
    rules: list[Callable[[], object]] = [lambda: check_masks(path, outputs), lambda: input_shape(path, inputs)]
    if manifest is not None:
        rules.append(lambda: check_manifest(path, inputs, outputs, manifest))
    for rule in rules:
        try:
            rule()
        except ModelError as error:
            if str(error) not in found:
                found.append(str(error))
    return tuple(found)


def _named(specs: Sequence[TensorSpec], name: str) -> TensorSpec | None:
    return next((spec for spec in specs if spec.name == name), None)


def _float_axes(path: Path, spec: TensorSpec, expected: str) -> tuple[Axis, ...]:
    rank = expected.count(",") + 1
    if spec.dtype != "float32" or spec.shape is None or len(spec.shape) != rank:
        raise ModelError(f"expected {spec.name} float32 {expected} in {path}, got {spec}; {EXPORT}")
    return spec.shape


def _differ(one: Axis, other: Axis) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _side(axis: Axis) -> TypeGuard[int]:
    return isinstance(axis, int) and 0 < axis <= LARGEST_SIDE
