"""What is in a model file and where it can run, without loading it into a backend."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgex.bundle import shortcomings
from edgex.engines import BACKENDS
from edgex.errors import ModelError
from edgex.manifest import METADATA_KEY, Manifest
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS, OnnxFile, read_onnx

Kind = Literal["bundle", "explainer", "onnx"]
DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operators that ONNX Runtime's wheel brings


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a model file.

    Attributes
    ----------
    file : inputs, outputs, operators, weights, hash, ... as read
    kind : "bundle" (classifier and Explainer), "explainer" (masks alone) or "onnx" (anything else)
    manifest : what the file says of itself, or None
    missing : what keeps `edgex run` from using it, one sentence each
    runs_on : backends of edgex that can run it
    """

    file: OnnxFile
    kind: Kind
    manifest: Manifest | None
    missing: tuple[str, ...]
    runs_on: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where the file does not say."""
        return () if self.manifest is None else self.manifest.labels

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, flat, in JSON types."""
        tree = dataclasses.asdict(self)
        if self.manifest is not None:  # stands there as its own entry, read
            del tree["file"]["metadata"][METADATA_KEY]
        flat = {**tree.pop("file"), "labels": self.labels, **tree}
        plain: dict[str, Any] = json.loads(json.dumps(flat, default=str))
        return plain


def inspect(path: str | Path) -> Inspection:
    """Look into an ONNX file.

    Parameters
    ----------
    path : any ONNX file, a bundle or not

    Raises
    ------
    ModelError
        If it is no ONNX file.
    """
    file = read_onnx(Path(path))
    missing = shortcomings(file)
    try:
        manifest = file.manifest()
    except ModelError:  # `missing` says it
        manifest = None
    masks, scores = file.output(MASK_LOGITS), file.output(CLASS_LOGITS)
    kind: Kind = "onnx" if masks is None else "explainer" if scores is None else "bundle"
    runs_on = BACKENDS if not missing and set(file.opset) <= DOMAINS else ()
    return Inspection(file, kind, manifest, missing, runs_on)
