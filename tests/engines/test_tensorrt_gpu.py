"""Plans on a real GPU, against ONNX Runtime: every batch, CUDA graphs, the inspector, plans of elsewhere."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex import cuda
from edgex.cuda_memory import Buffer
from edgex.engines import onnxruntime, tensorrt, tensorrt_api
from edgex.engines.tensorrt_build import PlanOptions, build_plan
from edgex.engines.tensorrt_cache import Owner, read_cache
from edgex.errors import ModelError, UsageError
from edgex.explain import shipped_bundle
from tests.gpus import require_gpu

pytestmark = pytest.mark.gpu
BATCHES = (1, 2, 4)


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def flavour(request: pytest.FixtureRequest) -> str:
    require_gpu()
    if reason := tensorrt.reason_missing(request.param):
        pytest.skip(reason)
    return str(request.param)


def built(model: Path, folder: Path, flavour: str, **options: Any) -> Path:
    path = folder / f"{model.stem}.{flavour}.engine"
    path.write_bytes(build_plan(model, PlanOptions(flavour=flavour, **{"batch": BATCHES, **options})).plan)  # type: ignore[arg-type]
    return path


def noise(batch: int, side: int) -> np.ndarray:
    return np.random.default_rng(batch).uniform(-1, 1, (batch, 3, side, side)).astype(np.float32)


def test_every_batch_gives_what_onnxruntime_gives(bundle: Path, tmp_path: Path, flavour: str) -> None:
    network, reference = tensorrt.open(built(bundle, tmp_path, flavour), None, flavour), onnxruntime.open(bundle)
    for batch in (1, 3, 4, 2, 1, 3, 4, 2):
        image = noise(batch, 32)
        found, expected = network.run(image), reference.run(image)
        assert set(found) == set(expected)
        for name, values in expected.items():
            assert found[name].shape == values.shape
            np.testing.assert_allclose(found[name], values, atol=0.05)  # TF32
    with pytest.raises(UsageError, match="1 to 4"):
        network.run(noise(5, 32))
    network.close()
    with pytest.raises(ModelError, match="closed"):
        network.run(noise(1, 32))


def test_the_shipped_bundle_and_how_it_is_launched(tmp_path: Path, flavour: str) -> None:
    network = tensorrt.open(built(shipped_bundle(), tmp_path, flavour), None, flavour)
    image = noise(1, 224)
    first = network.run(image)
    for _ in range(3):
        again = network.run(image)
        assert all(np.array_equal(first[name], again[name]) for name in first)
    assert (network.launches, network.plain_because) in (("graph", ""), ("runtime", ""))
    expected = onnxruntime.open(shipped_bundle()).run(image)
    for name, values in expected.items():
        np.testing.assert_allclose(first[name], values, atol=0.1)


def test_the_inspector_tells_the_precision(bundle: Path, tmp_path: Path, flavour: str) -> None:
    counts = tensorrt.achieved(tensorrt.open(built(bundle, tmp_path, flavour), None, flavour))
    assert counts
    assert all(number > 0 for kinds in counts.values() for number in kinds.values())
    assert any("fp32" in kinds for kinds in counts.values())


def test_work_on_memory_of_the_caller_in_its_stream(bundle: Path, tmp_path: Path, flavour: str) -> None:
    network, gpu = tensorrt.open(built(bundle, tmp_path, flavour), None, flavour), cuda.device()
    stream, image = cuda.Stream(gpu), noise(2, 32)
    expected = network.run(image)
    buffers = {name: Buffer(gpu) for name in (network.input.name, *expected)}
    view = buffers[network.input.name].host(image.shape, np.float32)
    view[:] = image
    addresses = {network.input.name: buffers[network.input.name].upload(stream, view)}
    addresses |= {name: buffers[name].address(values.nbytes) for name, values in expected.items()}
    lane = network.lane(addresses, 2, stream)
    assert (lane.launches, lane.plain_because) in (("graph", ""), ("runtime", ""))
    lane.launch()
    views = {name: buffers[name].host(values.shape, values.dtype) for name, values in expected.items()}
    for name in views:
        buffers[name].download(stream, views[name])
    stream.synchronize()
    for name, values in expected.items():
        np.testing.assert_allclose(views[name], values, atol=1e-5)


def test_networks_come_and_go(bundle: Path, tmp_path: Path, flavour: str) -> None:
    path = built(bundle, tmp_path, flavour)
    for _ in range(5):
        tensorrt.open(path, None, flavour).run(noise(1, 32))
    gc.collect()


def test_a_damaged_plan_is_built_again_here(bundle: Path, tmp_path: Path, flavour: str) -> None:
    path = built(bundle, tmp_path, flavour)
    path.write_bytes(path.read_bytes()[:64] + bytes(5000))
    with pytest.raises(ModelError, match="build it again here") as caught:
        tensorrt.open(path, None, flavour)
    assert "\n" not in str(caught.value)


def test_a_timing_cache_is_read_again(bundle: Path, tmp_path: Path, flavour: str) -> None:
    cache = tmp_path / "timing.cache"
    for _ in range(2):
        options = PlanOptions(flavour=flavour, timing_cache=cache)  # type: ignore[arg-type]
        assert not [line for line in build_plan(bundle, options).warnings if "timing cache" in line]
    owner = Owner(flavour, tensorrt_api.version(flavour), tensorrt_api.device())
    assert read_cache(cache, owner)[0]
