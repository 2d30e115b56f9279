"""The trial of a new engine, where it can run here: the precision it achieves, what it explains, and how fast it is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgex.build_manifest import BuildManifest, Precision, sidecar
from edgex.engines import Network, open_network
from edgex.engines.choose import TENSORRT, module_of, reason_missing
from edgex.errors import FidelityError, ModelError
from edgex.fidelity import Budget, Reference, shortfalls
from edgex.latency import side_by_side
from edgex.product import Product, write_text
from edgex.types import Observe

WEIGHTED_WORDS = ("conv", "gemm", "matmul", "fullyconnected", "matrix")  # in any backend's name of a layer with weights
MODEL, ENGINE = "model", "engine"  # keys of the measured times
WORTH = 1.05  # times faster than the model, below which the model is recommended


def tried(
    product: Product,
    manifest: BuildManifest,
    model: Path,
    tensors: Sequence[tuple[str, Any]],
    budget: Budget,
    threads: int | None,
    observe: Observe,
) -> BuildManifest:
    """Run an engine that is not published yet and return its manifest with what came of it.

    Parameters
    ----------
    product : the engine file
    manifest : what is known of it
    model : the FP32 ONNX file that it was built from
    tensors : name and network input [1, ...] of each frame to check on; none leaves the check out
    budget : what the check has to reach

    Raises
    ------
    ModelError
        If it cannot run, or not in the precision that was asked for.
    FidelityError
        If it does not explain what the model explains.
    """
    reason, staged = reason_missing(manifest.backend), product.staged
    if reason:
        note = f"the engine was not run here, so its precision is that of the typed graph: {reason}"
        return replace(manifest, warnings=(*manifest.warnings, note))
    with contextlib.ExitStack() as stack:
        write_text(sidecar(staged), manifest.to_json())
        stack.callback(sidecar(staged).unlink, missing_ok=True)
        try:
            engine = _opened(stack, staged, manifest.backend, threads)
        except ModelError as error:  # the name that it has meanwhile says nothing to anybody
            raise ModelError(str(error).replace(str(staged), str(product.path))) from error
        achieved = module_of(manifest.backend).achieved(engine)
        require_precision(achieved, manifest.precision, manifest.backend)
        manifest = replace(manifest, achieved=achieved)
        if not tensors:
            note = "the engine was not held against the model: no frames, or --unchecked; edgex verify does it"
            return replace(manifest, warnings=(*manifest.warnings, note))
        reference = _opened(stack, model, "onnxruntime", threads)
        fidelity = Reference(reference, tensors).compare(
            engine, lambda done: observe("checking the engine", done, len(tensors))
        )
        missed = shortfalls(fidelity, budget)
        if missed:
            raise FidelityError(f"{'; '.join(missed)}; build in a higher precision, or give frames of what it knows")
        plain = reference if manifest.backend in (*TENSORRT, "onnxruntime") else None
        plain = plain or _opened(stack, model, manifest.backend, threads)
        observe("timing", 0, 1)
        times = _times(plain, engine, tensors[0][1])
        observe("timing", 1, 1)
        return replace(manifest, fidelity={**fidelity.to_dict(), "simulated": False}, latency_ms=times)


def require_precision(achieved: Mapping[str, Mapping[str, int]], asked: Precision, backend: str) -> None:
    """Raise ModelError where an engine computes in another precision than was asked for.

    Parameters
    ----------
    achieved : layer kind to precision to count, as the backend tells
    asked : INT8 must be in some layer with weights; FP16 in some, and FP32 in none
    """
    counts: dict[str, int] = {}
    weighted = [kind for kind in achieved if any(word in kind.lower() for word in WEIGHTED_WORDS)]
    for kind in weighted or achieved:
        for precision, count in achieved[kind].items():
            counts[precision] = counts.get(precision, 0) + count
    if asked == "fp32" or (counts.get(asked) and not (asked == "fp16" and counts.get("fp32"))):
        return
    found = ", ".join(f"{count} layers in {name}" for name, count in sorted(counts.items())) or "no layer"
    raise ModelError(
        f"expected an engine that computes in {asked}, got {found} from {backend} on this machine; build with another "
        "precision or backend, edgex doctor tells what runs here"
    )


def advice(manifest: BuildManifest) -> str | None:
    """Return what to use instead of an engine that is hardly faster than its model; None where it pays."""
    times = manifest.latency_ms
    if manifest.precision == "fp32" or times.get(ENGINE, 0.0) * WORTH <= times.get(MODEL, 0.0) or not times:
        return None
    return (
        f"{manifest.precision} does not pay here: {times[ENGINE]:.2f} ms an inference, {manifest.source} takes "
        f"{times[MODEL]:.2f} ms; use that"
    )


def _opened(stack: contextlib.ExitStack, path: Path, backend: str, threads: int | None) -> Network:
    network = open_network(path, backend, threads)
    stack.callback(network.close)
    return network


def _times(plain: Network, engine: Network, tensor: Any) -> dict[str, float]:
    def filled(network: Network) -> Any:
        import numpy as np

        batch = network.input.shape[0] if network.input.shape else None
        return np.repeat(tensor, batch, axis=0) if isinstance(batch, int) and batch > 1 else tensor

    inputs = filled(plain), filled(engine)
    times = side_by_side({MODEL: lambda: plain.run(inputs[0]), ENGINE: lambda: engine.run(inputs[1])})
    return {name: round(value, 3) for name, value in times.items()}
