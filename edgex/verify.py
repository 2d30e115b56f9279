"""Verify: any two model files held against each other over real frames; the figures are those of `build`'s gate."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from edgex.build_manifest import read_sidecar
from edgex.engines import open_network
from edgex.engines.choose import is_engine
from edgex.errors import UsageError
from edgex.fidelity import Fidelity
from edgex.fidelity_picture import verify as compare
from edgex.frames import read_frames
from edgex.image_input import ImageInput, InputOptions, image_input
from edgex.onnx_file import read_onnx
from edgex.types import Observe


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What is held against what.

    Attributes
    ----------
    a, b : reference and candidate: models or engines
    data : folder, glob or video
    frames : how many frames
    picture : PNG of the five worst frames, or None
    backend_a, backend_b : backends, or "auto"
    threads : CPU threads of each
    input : what the models do not say of their input
    trust : open engines that are not as their sidecars say
    """

    a: Path
    b: Path
    data: str
    frames: int = 64
    picture: Path | None = None
    backend_a: str = "auto"
    backend_b: str = "auto"
    threads: int | None = None
    input: InputOptions = field(default_factory=InputOptions)
    trust: bool = False


def verify(options: VerifyOptions, observe: Observe | None = None) -> tuple[Fidelity, tuple[str, ...]]:
    """Compare two model files and return the figures, and warnings, one sentence each.

    Raises
    ------
    ModelError
        If one cannot be opened or run, or they are not two forms of one model.
    SourceError
        If there are no frames.
    """
    picture = options.picture
    if picture is not None and picture.exists() and picture.resolve().parent == Path(options.data).resolve():
        raise UsageError(
            f"expected another file than a frame of {options.data} to write, got {picture}; choose another"
        )
    with contextlib.ExitStack() as stack:
        frames = read_frames(options.data, options.frames)
        image = image_of(options.a, options.input)
        reference = open_network(options.a, options.backend_a, options.threads, options.trust)
        stack.callback(reference.close)
        candidate = open_network(options.b, options.backend_b, options.threads, options.trust)
        stack.callback(candidate.close)
        tell = observe or (lambda stage, done, total: None)
        fidelity = compare(
            reference,
            candidate,
            frames,
            image,
            picture=picture,
            observe=lambda done: tell("comparing", done, frames.expected),
        )
    return fidelity, (*frames.skipped, *frames.warnings)


def image_of(path: Path, given: InputOptions) -> ImageInput:
    """Return how a frame becomes the input of a model or engine.

    Raises
    ------
    UsageError
        If neither the file, nor its sidecar, nor the options say it.
    """
    built = read_sidecar(path)
    if built is not None and built.image is not None:
        return built.image
    if is_engine(path, built):
        raise UsageError(f"expected an engine whose manifest says its input, got {path}; name the model as A instead")
    return image_input(read_onnx(path), given)
