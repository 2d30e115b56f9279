"""An Explainer together with its Explanandum: loaded, required to fit each other, and named by their hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgex.errors import UsageError
from training.checkpoint import load_checkpoint, load_explainer, load_explanandum
from training.models.frozen import ForeignInput, LoadedNetwork


@dataclass(frozen=True, slots=True)
class Pair:
    """Both networks, frozen, and the files they came from."""

    explainer: LoadedNetwork
    explanandum: LoadedNetwork
    explainer_file: Path
    explanandum_file: Path

    def files(self) -> dict[str, dict[str, str]]:
        """Return "explainer" and "explanandum" to the file's path and SHA-256, which tie a report to its networks."""
        files = {"explainer": self.explainer_file, "explanandum": self.explanandum_file}
        return {
            kind: {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            for kind, file in files.items()
        }


def load_pair(explainer_path: Path, explanandum_uri: str | None = None, foreign: ForeignInput | None = None) -> Pair:
    """Load an Explainer and its Explanandum.

    Parameters
    ----------
    explainer_path : checkpoint
    explanandum_uri : checkpoint or onnx:FILE; None for the one that the Explainer was trained against
    foreign : labels and normalisation of an ONNX classifier without a manifest

    Raises
    ------
    ModelError
        If one of them cannot be loaded.
    UsageError
        If input, labels or task differ, or no Explanandum is known.
    """
    explainer = load_explainer(explainer_path)
    uri = explanandum_uri or load_checkpoint(explainer_path, "explainer").get("explanandum")
    if not isinstance(uri, str):
        raise UsageError(
            f"expected the Explanandum of {explainer_path}, got none in its checkpoint; give --explanandum"
        )
    explanandum = load_explanandum(uri, foreign)
    for what in ("labels", "task", "input"):
        ours, theirs = getattr(explainer, what), getattr(explanandum, what)
        if ours != theirs:
            raise UsageError(
                f"expected an Explainer and an Explanandum of one {what}, got {ours} and {theirs}; "
                "train the Explainer against this Explanandum"
            )
    return Pair(explainer, explanandum, explainer_path, Path(uri.removeprefix("onnx:")))
