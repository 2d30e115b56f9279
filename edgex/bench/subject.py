"""What is measured: each model on each backend at each batch, opened, and what is said of it in the report."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgex.bench.facts import Facts, read_facts, stamp_of
from edgex.bench.options import BenchOptions
from edgex.build_manifest import BuildManifest, read_sidecar
from edgex.compositors import open_compositor
from edgex.cores import usable_cores
from edgex.engines import AUTO, Engine, Network, open_network
from edgex.engines.choose import (
    TENSORRT,
    backend_for,
    cpu_share,
    is_engine,
    module_of,
    reason_missing,
    version_of,
)
from edgex.errors import ModelError, UsageError
from edgex.explain import Explainer, shipped_bundle
from edgex.image_input import ImageInput, image_input
from edgex.input_options import InputOptions
from edgex.onnx_file import MASK_LOGITS, OnnxFile, read_onnx

_UNKNOWN_NORMALISATION = "{} does not say how pixels are normalised: it got pixels / 255, which changes no time"
_CHANGED = "{} was changed or removed while it was measured: hash and precision are those of when it was opened"
_SYNC = "blocking call, which returns when the outputs are in host memory"


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is open to be measured.

    Attributes
    ----------
    name : of the run, unique
    path : the file
    networks : the model in its backend; several where one has fewer streams than are asked for
    image : how a picture becomes its input
    batch, threads : as it runs; threads is None where the backend chose
    load_ms : time of opening the first network, its backend's package already imported
    facts : what its files said when it was opened
    explainer : for the whole path, or None where the engine alone is measured
    warnings : one sentence each
    """

    name: str
    path: Path
    networks: tuple[Network, ...]
    image: ImageInput
    batch: int
    threads: int | None
    load_ms: float
    facts: Facts
    explainer: Explainer | None
    warnings: tuple[str, ...]

    @property
    def calls(self) -> list[Callable[[NDArray[Any]], object]]:
        """What infers a batch, once for each stream."""
        return [network.run for network in self.networks for _ in range(network.streams)]

    def about(self) -> dict[str, Any]:
        """Return what is said of it in the report, by field of Run; ask when all is measured."""
        network = self.networks[0]
        launches = getattr(network, "launches", None)
        on_gpu = network.backend in TENSORRT
        sync = _SYNC
        if len(self.calls) > 1:
            engines = "one engine" if len(self.networks) == 1 else f"{len(self.networks)} engines"
            sync += f"; {len(self.calls)} streams of {engines}, a thread each"
        return {
            "model": self.path.name,
            "engine_sha256": self.facts.sha256,
            "backend": network.backend,
            "backend_version": version_of(network.backend),
            "device": str(module_of(network.backend).device()),
            "precision": self.facts.precision,
            "achieved": self.facts.achieved(network),
            "batch": self.batch,
            "threads": self.threads,
            "streams": len(self.calls),
            "sync": sync,
            "cuda_graph": None if not on_gpu else launches in ("graph", "runtime"),
            "load_ms": self.load_ms,
        }

    def told(self) -> tuple[str, ...]:
        """Return what is said against it, one sentence each; ask when all is measured."""
        changed = self.facts.changed
        return (*self.warnings, _CHANGED.format(changed)) if changed else self.warnings


def open_subjects(stack: contextlib.ExitStack, options: BenchOptions) -> Iterator[Subject]:
    """Open everything that is asked for, one whenever the next is asked for; the stack closes them.

    Raises
    ------
    EdgexError
        If one cannot be opened: nothing is measured then.
    """
    names: set[str] = set()
    models = options.models or (shipped_bundle(),)
    for path, backend, batch in itertools.product(models, options.backends, options.batches or (None,)):
        subject = _opened(stack, options, path, backend, batch)
        name = next(each for each in _names(subject.name) if each not in names)
        names.add(name)
        yield dataclasses.replace(subject, name=name)


def count_subjects(options: BenchOptions) -> int:
    """Return how many there will be."""
    return max(1, len(options.models)) * len(options.backends) * max(1, len(options.batches))


def _opened(stack: contextlib.ExitStack, options: BenchOptions, path: Path, backend: str, batch: int | None) -> Subject:
    threads, at_once = options.threads, options.streams
    if threads is None and options.streams > 1:
        threads = max(1, len(usable_cores()) // options.streams)
    if options.mode == "pipeline":
        threads, at_once = cpu_share(threads, live=False)
    before = stamp_of(path)
    built = read_sidecar(path) if path.name else None
    chosen = backend_for(path, built, backend, options.trust)
    for each in AUTO if chosen == "auto" else (chosen,):
        reason_missing(each)  # imports its package, which is no part of opening an engine
    networks: list[Network] = []
    load_ms = 0.0
    while sum(network.streams for network in networks) < options.streams:
        began_ns = time.perf_counter_ns()
        networks.append(open_network(path, backend, threads, options.trust, at_once))
        load_ms = load_ms or (time.perf_counter_ns() - began_ns) / 1e6
        stack.callback(networks[-1].close)
    network = networks[0]
    facts = read_facts(path, built)
    if stamp_of(path) != before:
        raise ModelError(f"expected {path} to stay as it is while it is opened, got other bytes; measure it again")
    image, warnings = _image(network, built, options.input)
    if image.batch is not None and batch not in (None, image.batch):
        raise UsageError(f"expected batch {image.batch}, which {path} is made for, got {batch}; leave --batch out")
    batch = batch or image.batch or 1
    explainer = None
    if options.mode == "pipeline" or (options.mode == "paced" and _is_bundle(network)):
        explainer = Explainer(Engine(network), open_compositor("auto"))
    name = f"{path.name} · {network.backend}"
    if options.mode == "engine":
        name += f" · batch {batch}" + (f" · {options.streams} streams" if options.streams > 1 else "")
    return Subject(name, path, tuple(networks), image, batch, threads, load_ms, facts, explainer, warnings)


def _names(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        yield f"{name} ({number})"


def _is_bundle(network: Network) -> bool:
    return network.manifest is not None and MASK_LOGITS in {spec.name for spec in network.outputs}


def _image(network: Network, built: BuildManifest | None, given: InputOptions) -> tuple[ImageInput, tuple[str, ...]]:
    """Return how a picture becomes the input; where nobody says how it is normalised, any will do to take times."""
    if built is not None and built.image is not None:
        return built.image, ()
    file = _as_file(network) if is_engine(network.path, built) else read_onnx(network.path)
    lacks = given.mean is None and given.std is None and file.manifest() is None
    if not lacks or network.input.dtype == "uint8":
        return image_input(file, given), ()
    any_will_do = dataclasses.replace(given, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return image_input(file, any_will_do), (_UNKNOWN_NORMALISATION.format(network.path.name),)


def _as_file(network: Network) -> OnnxFile:
    """Return what an engine that came without a word tells by its input, in the words of an ONNX file."""
    inputs, outputs, nothing = (network.input,), network.outputs, {}  # type: ignore[var-annotated]
    return OnnxFile(network.path, 0, "", 0, nothing, "", inputs, outputs, nothing, nothing, (), nothing)
