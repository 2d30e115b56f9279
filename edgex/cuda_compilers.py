"""Finds what compiles CUDA: NVRTC, a library that needs no host compiler, or nvcc where there is no NVRTC.

Order: NVRTC of CUDA_HOME or CUDA_PATH, as the loader finds it, of the toolkits under /usr/local (JetPack has it there),
of nvidia-cuda-nvrtc and nvidia-cuda-nvrtc-cu12; then nvcc of CUDA_HOME or CUDA_PATH, of PATH, of those toolkits.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgex.errors import EdgexError
from edgex.nvidia import library_paths, toolkits

OPTIONS = ("-std=c++17",)  # of both
MAJORS = (13, 12)  # of CUDA, newest first
INSTALL = {
    13: f"{sys.executable} -m pip install nvidia-cuda-nvrtc",
    12: f"{sys.executable} -m pip install nvidia-cuda-nvrtc-cu12",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a compiler is asked for: `binary` a cubin for this very architecture, else PTX for it and later ones."""

    architecture: int
    binary: bool


class Compiler(Protocol):
    """Compiles a .cu file."""

    @property
    def name(self) -> str:
        """What it is and its whole version."""
        ...

    @property
    def version(self) -> tuple[int, int]: ...

    def target(self, architecture: int) -> Target | None:
        """Return what to compile for a GPU of this compute capability, or None if it is too old."""
        ...

    def compile(self, file: str, texts: Mapping[str, str], target: Target) -> bytes:
        """Return the compiled file; `texts` has it and all headers. Raises EdgexError if it does not compile."""
        ...


def compilers() -> Iterator[Compiler]:
    """Yield the compilers of this machine, in the order of the file's first words."""
    seen = set()
    for kind, paths in ((Nvrtc, library_paths([f"libnvrtc.so.{major}" for major in MAJORS])), (Nvcc, nvcc_paths())):
        for path in paths:
            try:
                compiler: Compiler = kind(path)
            except (OSError, AttributeError, subprocess.SubprocessError):  # not there, or of another kind
                continue
            if compiler.name not in seen:
                seen.add(compiler.name)
                yield compiler


def nvcc_paths() -> Iterator[str]:
    """Yield where nvcc may be: where CUDA_HOME and CUDA_PATH say, where PATH says, in the usual toolkits."""
    named, usual = toolkits()
    found = [shutil.which(str(folder / "bin/nvcc")) for folder in named]
    found += [shutil.which("nvcc"), *(shutil.which(str(folder / "bin/nvcc")) for folder in usual)]
    yield from dict.fromkeys(path for path in found if path)


def headers(texts: Mapping[str, str]) -> dict[str, str]:
    """Return those of the sources that others include; NVRTC looks for none by itself."""
    return {name: text for name, text in texts.items() if name.endswith((".h", ".cuh"))}


class Nvrtc:
    """NVRTC, through its C interface. Raises OSError or AttributeError if `path` is no such library."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", known)
        self._known = list(known)
        self.name = f"NVRTC {major.value}.{minor.value}"

    def target(self, architecture: int) -> Target | None:
        return _target(architecture, self._known)

    def compile(self, file: str, texts: Mapping[str, str], target: Target) -> bytes:
        included = headers(texts)
        strings = ctypes.c_char_p * len(included)
        program = ctypes.c_void_p()
        self._call(
            *("CreateProgram", ctypes.byref(program), texts[file].encode(), file.encode(), len(included)),
            *(strings(*(text.encode() for text in included.values())), strings(*(name.encode() for name in included))),
        )
        try:
            options = [*OPTIONS, f"--gpu-architecture={'sm' if target.binary else 'compute'}_{target.architecture}"]
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            if self._library.nvrtcCompileProgram(program, len(options), given) != 0:
                log = self._bytes("ProgramLog", program).rstrip(b"\0").decode(errors="replace")
                raise EdgexError(_does_not_compile(file, self.name, log))
            return self._bytes("CUBIN" if target.binary else "PTX", program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, content)
        return content.raw

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{function}")(*arguments)
        if status != 0:
            said = self._library.nvrtcGetErrorString(status).decode()
            raise EdgexError(f"expected NVRTC to do {function}, got {said}; install it again: {INSTALL[MAJORS[0]]}")


class Nvcc:
    """The compiler driver nvcc, which needs a host compiler. Raises OSError or SubprocessError if `path` is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        said = self._run("--version")
        release = re.search(r"release (\d+)\.(\d+), (V[\d.]+)", said)
        if release is None:
            raise OSError(f"expected nvcc at {path}, got: {said[:80]}; install CUDA again")
        major, minor, whole = release.groups()
        self.version = (int(major), int(minor))
        self._known = [int(number) for number in re.findall(r"^sm_(\d+)$", self._run("--list-gpu-code"), re.M)]
        self.name = f"nvcc {whole}"

    def target(self, architecture: int) -> Target | None:
        return _target(architecture, self._known)

    def compile(self, file: str, texts: Mapping[str, str], target: Target) -> bytes:
        kind = ("-cubin", "sm") if target.binary else ("-ptx", "compute")
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            out = Path(folder) / "compiled"
            command = [self._path, kind[0], *OPTIONS, f"-arch={kind[1]}_{target.architecture}", "-o", str(out), file]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise EdgexError(_does_not_compile(file, self.name, done.stderr + done.stdout))
            return out.read_bytes() + (b"" if target.binary else b"\0")  # the driver takes PTX as a C string

    def _run(self, option: str) -> str:
        return subprocess.run([self._path, option], capture_output=True, text=True, check=True, timeout=60).stdout


def _target(architecture: int, known: list[int]) -> Target | None:
    """Return a cubin for the architecture where the compiler knows it, else PTX for the next older one."""
    if architecture in known:
        return Target(architecture, binary=True)
    older = [each for each in known if each < architecture]
    return Target(max(older), binary=False) if older else None


def _does_not_compile(file: str, compiler: str, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
    return f"expected {compiler} to compile {file}, got: {first}; install edgex again or another CUDA compiler"
