"""Checkpoints of training: one file of plain types and tensors, written whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgex.errors import EdgexError, ModelError
from edgex.manifest import InputSpec, Task
from training.models import build_explainer, build_explanandum
from training.models.frozen import ForeignInput, LoadedNetwork, freeze

KINDS = ("explanandum", "explainer")
KEYS = ("kind", "architecture", "labels", "task", "input", "config", "model", "step", "epoch", "best_loss")


def describe(kind: str, architecture: str, labels: tuple[str, ...], task: Task, spec: InputSpec) -> dict[str, Any]:
    """Return the part of a checkpoint that says what the network is for."""
    source = {**dataclasses.asdict(spec), "mean": list(spec.mean), "std": list(spec.std)}
    return {"kind": kind, "architecture": architecture, "labels": list(labels), "task": task, "input": source}


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it.

    Raises
    ------
    EdgexError
        If it cannot be written (no space, no permission); a checkpoint that was there before is intact.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(dict(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        before = "the previous checkpoint is intact" if path.exists() else "nothing was written"
        reason = str(error).splitlines()[0]
        raise EdgexError(
            f"expected room to write {path}, got {reason} ({before}); free space or choose another --out"
        ) from error


def load_checkpoint(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Parameters
    ----------
    path : file that `save_checkpoint` wrote
    kind : "explanandum" or "explainer" when only that kind will do

    Raises
    ------
    ModelError
        If the file is missing, is not a checkpoint of this project, or is of another kind.
    """
    if not path.is_file():
        raise ModelError(f"expected a checkpoint at {path}, got no such file; check the path")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"expected a checkpoint at {path}, got an unreadable file ({reason[:120]}); train again"
        ) from error
    missing = [key for key in KEYS if key not in checkpoint] if isinstance(checkpoint, dict) else list(KEYS)
    if missing:
        raise ModelError(
            f"expected a checkpoint of this project at {path}, got one without {missing[0]}; check the path"
        )
    if kind is not None and checkpoint["kind"] != kind:
        raise ModelError(f"expected a checkpoint of an {kind} at {path}, got an {checkpoint['kind']}; check the path")
    return checkpoint


def read_input_spec(tree: Mapping[str, Any]) -> InputSpec:
    """Read the entry `input` of a checkpoint."""
    return InputSpec(**{**tree, "mean": tuple(tree["mean"]), "std": tuple(tree["std"])})


def load_network(path: Path, kind: str) -> LoadedNetwork:
    """Rebuild a trained Explanandum or Explainer from its checkpoint, frozen.

    Raises
    ------
    ModelError
        If the file is not such a checkpoint, or its weights do not fit its architecture.
    """
    checkpoint = load_checkpoint(path, kind)
    labels = tuple(checkpoint["labels"])
    build = build_explanandum if kind == "explanandum" else build_explainer
    module: nn.Module = build(checkpoint["architecture"], len(labels), pretrained=False)
    try:
        module.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        raise ModelError(
            f"expected weights of {checkpoint['architecture']} in {path}, got others; train again"
        ) from error
    spec = read_input_spec(checkpoint["input"])
    return LoadedNetwork(freeze(module), checkpoint["architecture"], labels, checkpoint["task"], spec)


def load_explainer(path: Path) -> LoadedNetwork:
    """Rebuild a trained Explainer from its checkpoint, frozen."""
    return load_network(path, "explainer")


def load_explanandum(uri: str, foreign: ForeignInput | None = None) -> LoadedNetwork:
    """Load an Explanandum, frozen.

    Parameters
    ----------
    uri : path of a checkpoint, or "onnx:FILE" for any ONNX classifier
    foreign : labels and normalisation of an ONNX that has no manifest; ignored for a checkpoint

    Raises
    ------
    ModelError
        If the file cannot be loaded as a classifier.
    UsageError
        If an ONNX without a manifest comes without labels.
    """
    if uri.startswith("onnx:"):
        from training.models.onnx_explanandum import load_onnx_explanandum

        return load_onnx_explanandum(Path(uri.removeprefix("onnx:")), foreign or ForeignInput())
    return load_network(Path(uri), "explanandum")
