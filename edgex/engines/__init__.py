"""Engines: a model loaded into a backend.

A backend is one file of this folder with these functions; both flavours of TensorRT share one:

- `open(path: Path, threads: int | None, streams: int) -> Network`
- `version() -> str`, `device() -> str`: what the precision and speed that were measured hang on
- `reason_missing() -> str`: why it cannot run here, in one sentence; empty where it can
- `achieved(network: Network) -> dict`: layer kind -> precision -> number of layers, as the backend itself tells

A Network takes any model with one image input. An Engine is a Network that holds the contract of a bundle:

>>> engine = open_engine(Path("bundle.onnx"))                                  # doctest: +SKIP
>>> logits = engine.infer(np.zeros((1, 3, 224, 224), np.float32))              # doctest: +SKIP
>>> logits.mask_logits.shape                                                   # doctest: +SKIP
(1, 12, 28, 28)
"""

from __future__ import annotations

import logging
from pathlib import Path

from edgex.build_manifest import BuildManifest, read_sidecar
from edgex.bundle import check_bundle
from edgex.engines.choose import AUTO, BACKENDS, backend_for, is_engine, module_of, reason_passed_over, require_backend
from edgex.engines.engine import Engine
from edgex.engines.network import Network, require_threads
from edgex.errors import EdgexError
from edgex.onnx_file import OnnxFile, read_onnx

__all__ = ["AUTO", "BACKENDS", "Engine", "Network", "open_engine", "open_network"]

log = logging.getLogger(__name__)


def open_network(
    path: Path, backend: str = "auto", threads: int | None = None, trust: bool = False, streams: int = 1
) -> Network:
    """Load any model with one image input into a backend.

    Parameters
    ----------
    path : an ONNX file, or an engine file with its sidecar
    backend : one of BACKENDS, or "auto": the one that the file was built for, else the first of AUTO that works, and
        the log says why one was passed over; a backend named explicitly never falls back
    threads : CPU threads of one inference, or None for the backend's own choice
    streams : inferences at once on a CPU, `threads` each; for throughput
    trust : open an engine file although it has no sidecar, or is not as its sidecar says

    Raises
    ------
    UsageError
        If the backend is not known, or not the one that the file was built for.
    MissingDependencyError
        If the backend is not installed.
    ModelError
        If the file cannot be loaded, or is not as its sidecar says.
    """
    return _open(path, backend, threads, trust, streams, bundle=False)


def open_engine(
    path: Path, backend: str = "auto", threads: int | None = None, trust: bool = False, streams: int = 1
) -> Engine:
    """Load a bundle, an Explainer-only ONNX, or an engine built from one, into a backend.

    Parameters and errors are those of `open_network`; besides, ModelError if the model has no mask logits or its
    manifest contradicts it.
    """
    network = _open(path, backend, threads, trust, streams, bundle=True)
    try:
        return Engine(network)
    except BaseException:
        network.close()
        raise


def _open(path: Path, backend: str, threads: int | None, trust: bool, streams: int, bundle: bool) -> Network:
    require_backend(backend)
    require_threads(threads, streams)
    built = read_sidecar(path) if path.name else None  # "." and "/" have no name to put a suffix to
    backend = backend_for(path, built, backend, trust)
    if is_engine(path, built):
        network: Network = module_of(backend).open(path, threads, backend)
        return network
    file = read_onnx(path)
    if bundle:  # a graph that is none is refused by what it lacks, before a backend meets it
        check_bundle(path, file.inputs, file.outputs, file.manifest())
    if backend != "auto":
        return _load(file, backend, threads, built, streams)
    for each in AUTO[:-1]:
        try:
            reason = reason_passed_over(each)
            if not reason:
                network = _load(file, each, threads, built, streams)
                log.info("backend %s", each)
                return network
        except EdgexError as error:
            reason = str(error)
        log.info("backend %s passed over: %s", each, reason)
    return _load(file, AUTO[-1], threads, built, streams)


def _load(file: OnnxFile, backend: str, threads: int | None, built: BuildManifest | None, streams: int) -> Network:
    network: Network = module_of(backend).load(file, threads, built, streams)
    return network
