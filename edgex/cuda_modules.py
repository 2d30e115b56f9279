"""Compiles the CUDA kernels for one architecture and keeps what came out; knows neither pycuda nor a GPU.

A module is a cubin, or PTX where the GPU is newer than the compiler. It lies in the user's cache folder under a name
that holds a hash of all sources, architecture and compiler, behind a checksum; it is renamed into place when whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from edgex.cuda_compilers import INSTALL, OPTIONS, Compiler, compilers
from edgex.errors import EdgexError, MissingDependencyError
from edgex.kernel_sources import kernel_sources

MODULES = ("composite", "preprocess")  # one .cu each
ENVIRONMENT = "EDGEX_CACHE"  # another folder for compiled kernels

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where compiled kernels are kept: EDGEX_CACHE, else edgex under XDG_CACHE_HOME, else ~/.cache/edgex."""
    if own := os.environ.get(ENVIRONMENT):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path("~/.cache").expanduser()) / "edgex"


def sources(folder: Path | None = None) -> Mapping[str, str]:
    """Return file name -> text of every .cu, .cuh and .h of the kernels.

    Raises
    ------
    MissingDependencyError
        If a kernel's source is not there.
    """
    folder = kernel_sources() if folder is None else folder
    found = {
        path.name: path.read_text(encoding="utf-8") for path in sorted([*folder.glob("*.cu*"), *folder.glob("*.h")])
    }
    missing = [f"{name}.cu" for name in MODULES if f"{name}.cu" not in found]
    if missing:
        raise MissingDependencyError(f"expected {missing[0]} in {folder}, got no such file; install edgex again")
    return found


def find_compiler(architecture: int, newest: int | None = None) -> Compiler:
    """Return the first compiler that can compile for a GPU.

    Parameters
    ----------
    architecture : compute capability, 87 for 8.7
    newest : highest major version of CUDA that the driver runs, or None for any

    Raises
    ------
    MissingDependencyError
        If there is none; the message holds the command that installs one.
    """
    passed_over = []
    for compiler in compilers():
        if newest is not None and compiler.version[0] > newest:
            passed_over.append(f"{compiler.name} is newer than the driver's CUDA {newest}")
        elif compiler.target(architecture) is None:
            passed_over.append(f"{compiler.name} no longer knows sm_{architecture}")
        else:
            return compiler
    found = "; ".join(passed_over) or "neither NVRTC nor nvcc"
    # An older compiler still serves a newer GPU through PTX; the other way round there is no way.
    package = INSTALL[12 if (newest or 13) < 13 or architecture < 75 else 13]
    raise MissingDependencyError(f"expected a CUDA compiler for sm_{architecture}, got {found}; run: {package}")


def load(module: str, architecture: int, newest: int | None = None) -> bytes:
    """Return a compiled module, from the cache or freshly compiled and then kept there.

    Parameters
    ----------
    module : one of MODULES
    architecture : compute capability, 87 for 8.7
    newest : highest major version of CUDA that the driver runs, or None for any

    Returns
    -------
    cubin or PTX, as the driver takes it

    Raises
    ------
    MissingDependencyError
        If sources or a compiler are missing.
    EdgexError
        If the sources do not compile.
    """
    texts = sources()
    compiler = find_compiler(architecture, newest)
    path = cache_folder() / name_of(module, architecture, compiler, texts)
    kept = read(path)
    if kept is not None:
        return kept
    log.info("compiling %s.cu for sm_%d with %s", module, architecture, compiler.name)
    target = compiler.target(architecture)
    assert target is not None  # find_compiler has asked
    compiled = compiler.compile(f"{module}.cu", texts, target)
    write(path, compiled)
    return compiled


def name_of(module: str, architecture: int, compiler: Compiler, texts: Mapping[str, str]) -> str:
    """Return the file name of a compiled module."""
    digest = hashlib.sha256()
    for part in (
        compiler.name,
        str(compiler.target(architecture)),
        *OPTIONS,
        *(x for pair in texts.items() for x in pair),
    ):
        digest.update(part.encode() + b"\0")
    return f"{module}-sm{architecture}-{digest.hexdigest()[:32]}.bin"


def read(path: Path) -> bytes | None:
    """Return what `write` wrote to a file, or None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, compiled = content[:32], content[32:]
    if not compiled or hashlib.sha256(compiled).digest() != checksum:
        log.warning("expected a whole compiled kernel in %s, got a damaged one; it is compiled again", path)
        return None
    return compiled


def write(path: Path, compiled: bytes) -> None:
    """Keep a compiled module; where the folder cannot be written to, say so and do without."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(compiled).digest() + compiled)
        os.replace(temporary, path)  # whoever reads sees the old file or the whole new one
    except OSError as error:
        log.warning("compiled kernels cannot be kept (%s) and are compiled at each start; set %s", error, ENVIRONMENT)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def check(architecture: int | None = None, newest: int | None = None) -> tuple[Literal["ok", "gap"], str, str | None]:
    """Return state ("ok" or "gap"), finding and mend of the compiler for `edgex doctor`; compiles nothing."""
    try:
        texts = sources()
        compiler = find_compiler(architecture or 87, newest)
    except EdgexError as error:
        found, _, mend = str(error).rpartition("; ")
        return "gap", found, mend.removeprefix("run: ")
    if architecture is None:
        return "ok", f"compiled by {compiler.name}", None
    kept = [read(cache_folder() / name_of(module, architecture, compiler, texts)) is not None for module in MODULES]
    when = "are compiled" if all(kept) else "compile at the first use"
    return "ok", f"kernels {when} for sm_{architecture} by {compiler.name}, kept in {cache_folder()}", None
