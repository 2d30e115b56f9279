"""The GPU's compositor and preprocessor against the oracle, alone and side by side."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgex import cuda
from edgex.compositors import reference
from edgex.compositors.cuda import CudaCompositor
from edgex.compositors.palette import class_color
from edgex.errors import UsageError
from edgex.manifest import InputSpec
from edgex.nvidia import toolkits
from edgex.preprocess import preprocess
from edgex.preprocess_cuda import CudaPreprocessor
from edgex.types import STYLES, Drawing, FloatArray, Style
from tests.compositors.parity import assert_parity
from tests.compositors.test_opencv import BROKEN, NUMBERS, scenes
from tests.gpus import ROOT, STUB, require_gpu

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu() -> cuda.Device:
    return require_gpu()


@pytest.fixture(scope="module", params=[False, True], ids=["copied", "mapped"])
def compositor(gpu: cuda.Device, request: pytest.FixtureRequest) -> CudaCompositor:
    return CudaCompositor(gpu, mapped=request.param)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scene=scenes(st.one_of(NUMBERS, NUMBERS, NUMBERS, BROKEN)), half=st.booleans())
def test_parity(compositor: CudaCompositor, scene: tuple[Any, FloatArray, Drawing], half: bool) -> None:
    image, logits, drawing = scene
    given_logits = logits.astype(np.float16) if half else logits
    exact = given_logits.astype(np.float32)
    assert_parity(compositor.compose(image, given_logits, drawing), image, exact, drawing)
    ours = compositor.masks(given_logits, drawing.classes, *image.shape[:2])
    theirs = reference.open().masks(exact, drawing.classes, *image.shape[:2])
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", [(721, 1279), (541, 5), (1, 1), (64, 1024)])
def test_parity_at_sizes_of_video(compositor: CudaCompositor, shape: tuple[int, int], style: Style) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (5, 28, 28)).astype(np.float32)
    drawing = Drawing((4, 0, 2), tuple(class_color(i) for i in (4, 0, 2)), style)
    assert_parity(compositor.compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("count", [20, 300])
def test_many_classes(compositor: CudaCompositor, count: int) -> None:
    random = np.random.default_rng(4)
    image = random.integers(0, 256, (117, 223, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (count, 16, 17)).astype(np.float32)
    drawing = Drawing(tuple(range(count)), tuple(class_color(i) for i in range(count)), "overlay", 1.0)
    assert_parity(compositor.compose(image, logits, drawing), image, logits, drawing)


def test_what_cannot_be_drawn_is_refused(compositor: CudaCompositor) -> None:
    image, logits = np.zeros((4, 4, 3), np.uint8), np.zeros((2, 3, 3), np.float32)
    drawing = Drawing((0,), ((1, 2, 3),))
    with pytest.raises(UsageError, match="expected classes of 0 to 1"):
        compositor.compose(image, logits, Drawing((2,), ((1, 2, 3),)))
    with pytest.raises(UsageError, match="float32 or float16, got float64"):
        compositor.compose(image, logits.astype(np.float64), drawing)
    with pytest.raises(UsageError, match="expected a uint8 picture"):
        compositor.compose(image[:, :, :2], logits, drawing)
    with pytest.raises(UsageError, match="expected a height and width of 1 to"):
        compositor.masks(logits, (0,), 1 << 29, 1)
    assert compositor.masks(logits, (), 5, 6).shape == (0, 5, 6)


def test_two_streams_that_race_give_what_each_gives_alone(gpu: cuda.Device) -> None:
    random = np.random.default_rng(5)
    image = random.integers(0, 256, (361, 641, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (6, 14, 14)).astype(np.float32)
    drawings = [Drawing((i, 5 - i), (class_color(i), class_color(5 - i)), style) for i in range(3) for style in STYLES]
    alone = [CudaCompositor(gpu).compose(image, logits, drawing) for drawing in drawings]
    shared, own, wrong = CudaCompositor(gpu), [CudaCompositor(gpu) for _ in range(3)], []

    def work(compositors: list[CudaCompositor], seed: int) -> None:
        for pick in np.random.default_rng(seed).integers(0, len(drawings), 40):
            for compositor in compositors:
                if not np.array_equal(compositor.compose(image, logits, drawings[pick]), alone[pick]):
                    wrong.append(drawings[pick])

    threads = [threading.Thread(target=work, args=([one, shared], seed)) for seed, one in enumerate(own)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


SIDE = st.integers(1, 70)


@settings(max_examples=100, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.booleans(), st.booleans(), st.sampled_from(["RGB", "BGR"]))
def test_preprocess_parity(
    rows: int, columns: int, height: int, width: int, half: bool, mapped: bool, color: Any
) -> None:
    gpu = require_gpu()
    image = np.random.default_rng(rows).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    spec = InputSpec(height, width, MEAN, STD, color=color)
    preprocessor = CudaPreprocessor(spec, half, gpu, mapped)
    for view in (image, image[::-1, ::-1]):
        preprocessor.run(view)
        tensor = preprocessor.download()
        assert (tensor.dtype, tensor.shape) == (np.float16 if half else np.float32, (1, 3, height, width))
        # The reference rounds to whole levels between the axes where one shrinks and the other grows.
        one_level = (1.001 + ((height < rows) != (width < columns))) / 255 / min(STD) + (4e-3 if half else 0)
        assert np.abs(tensor.astype(np.float32) - preprocess(view, spec)).max() <= one_level


def test_preprocess_at_sizes_of_video(gpu: cuda.Device) -> None:
    image = np.random.default_rng(6).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    spec = InputSpec(224, 224, MEAN, STD)
    preprocessor = CudaPreprocessor(spec, gpu=gpu)
    assert preprocessor.run(image) == preprocessor.tensor.address(1)
    assert np.abs(preprocessor.download() - preprocess(image, spec)).max() <= 1.001 / 255 / min(STD)


def test_events_measure(gpu: cuda.Device) -> None:
    stream, other, begin, end = cuda.Stream(gpu), cuda.Stream(gpu), cuda.Event(gpu), cuda.Event(gpu)
    stream.record(begin)
    stream.record(end)
    other.wait(end)
    other.synchronize()
    assert end.ms_since(begin) >= 0.0
    assert stream.handle != other.handle


SANITIZED = """
import numpy as np
from edgex import cuda
from edgex.compositors.cuda import open as open_compositor
from edgex.manifest import InputSpec
from edgex.preprocess_cuda import CudaPreprocessor
from edgex.types import STYLES, Drawing
compositor = open_compositor()
for height, width, classes in ((1, 1, 1), (37, 53, 3), (130, 171, 21)):
    image = np.full((height, width, 3), 99, np.uint8)
    for dtype in (np.float32, np.float16):
        logits = np.linspace(-9, 9, classes * 7 * 9).reshape(classes, 7, 9).astype(dtype)
        for style in STYLES:
            compositor.compose(image, logits, Drawing(tuple(range(classes)), ((1, 2, 3),) * classes, style))
        compositor.masks(logits, tuple(range(classes)), height, width)
    for half in (False, True):
        CudaPreprocessor(InputSpec(20, 60, (0.5,) * 3, (0.2,) * 3), half).run(image)
cuda.Stream(cuda.device()).synchronize()
"""


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(gpu: cuda.Device, tool: str) -> None:
    if STUB in os.environ:
        pytest.skip("the stub has no GPU to look at")
    nvidia = importlib.util.find_spec("nvidia")
    packages = [Path(site) / "cu13" for site in (nvidia.submodule_search_locations or ())] if nvidia else []
    named, usual = toolkits()
    places = [str(folder / "bin") for folder in (*named, *usual, *packages)]
    program = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ["PATH"], *places]))
    if program is None:
        pytest.skip("compute-sanitizer is not installed; it comes with the CUDA toolkit")
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SANITIZED]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
