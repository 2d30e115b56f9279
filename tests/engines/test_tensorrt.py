"""Running plans, as far as that goes without a GPU: what is read from files and JSON, and the order of the calls.

The calls are made on a stand-in for engine and driver; tests/engines/test_tensorrt_gpu.py makes them on the real ones.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgex import cuda
from edgex.cuda_lifetime import Held
from edgex.engines import tensorrt, tensorrt_api, tensorrt_lane
from edgex.engines.tensorrt_api import plan_origin, shortened
from edgex.engines.tensorrt_layers import precisions
from edgex.engines.tensorrt_plan import deserialised, read_plan, require_within
from edgex.errors import EdgexError, ModelError, UsageError

RTX = "tensorrt-rtx"
HEADER = bytes(24) + bytes((10, 3, 0, 26)) + bytes(36)
TEN = """{"Layers": [
 {"Name": "Reformatting CopyNode for Input Tensor 0 to conv", "LayerType": "Reformat",
  "Inputs": [{"Name": "image", "Location": "Device", "Dimensions": [1,3,224,224],
              "Format/Datatype": "Row major linear FP32"}],
  "Outputs": [{"Name": "r", "Dimensions": [1,3,224,224],
               "Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}]},
 {"Name": "conv + relu", "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "r", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
  "Outputs": [{"Name": "s", "Format/Datatype": "Half"}], "ParameterType": "Convolution",
  "Weights": {"Type": "Int8", "Count": 131072}, "Bias": {"Type": "Float", "Count": 256}},
 {"Name": "head", "LayerType": "CaskConvolution", "Inputs": [{"Name": "s", "Format/Datatype": "Half"}], "Outputs": []},
 {"Name": "sum", "LayerType": "kgen", "Inputs": [{"Name": "t", "Format/Datatype": "BFloat16"}], "Outputs": []},
 {"Name": "c", "LayerType": "Constant", "Inputs": [], "Outputs": [{"Name": "k", "Format/Datatype": "Float"}]},
 {"Name": "n", "LayerType": "gemm", "Inputs": [{"Name": "u", "Format/Datatype": "N/A due to dynamic shapes"}],
  "Outputs": []}
], "Bindings": ["image", "out"]}"""
ELEVEN = """{"Layers": [
 {"Name": "conv", "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "r", "DataType": "Int8", "Format": "Thirty-two wide channel vectorized row major (kCHW32)"}]},
 {"Name": "dense", "LayerType": "MatrixMultiply", "Inputs": [{"Name": "r", "DataType": "Float", "Format": "Linear"}]}
], "I/O Tensors": [{"Name": "image", "IOMode": "Input", "DataType": "Float"}]}"""


def test_the_inspector_of_tensorrt_10_is_counted() -> None:
    assert precisions(TEN) == {
        "convolution": {"fp16": 1, "int8": 1},
        "kgen": {"bf16": 1},
        "matrix_multiply": {"unknown": 1},
        "reformat": {"fp32": 1},
    }


def test_the_inspector_of_tensorrt_11_is_counted() -> None:
    assert precisions(ELEVEN) == {"convolution": {"int8": 1}, "matrix_multiply": {"fp32": 1}}


@pytest.mark.parametrize(
    "text", ['{"Layers": ["conv", "relu"], "Bindings": []}', "", "[]", '{"Layers": 3}', "[" * 9999]
)
def test_an_inspector_that_tells_names_only_tells_no_precision(text: str) -> None:
    assert precisions(text) == {}


def test_the_header_names_flavour_and_version() -> None:
    assert plan_origin(b"ftrt" + HEADER[4:]) == ("tensorrt", "10.3.0.26")
    assert plan_origin(b"vtrt" + HEADER[4:]) == (RTX, "10.3.0.26")
    assert plan_origin(b"vtrt" + HEADER[4:27]) is None
    assert plan_origin(b"ONNX" + HEADER[4:]) is None
    assert plan_origin(b"ftrt\1\0\0\0" + HEADER[8:]) is None


@pytest.mark.parametrize(
    ("told", "short"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has no outputs. In validate at "
            "/_src/optimizer/api/network.cpp:4023)",
            "Network has no outputs",
        ),
        (
            "[runtime.cpp::parsePlan::314] Error Code 1: Serialization (Assertion stdVersionRead failed.)",
            "Assertion stdVersionRead failed",
        ),
        (
            "Assertion failed: (ctx->tensors().count(inputName)): Node input was not registered.",
            "Node input was not registered",
        ),
    ],
)
def test_messages_lose_what_is_about_tensorrt_s_source(told: str, short: str) -> None:
    assert shortened(told) == short


def test_a_plan_of_another_flavour_and_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    with pytest.raises(ModelError, match="got no file"):
        tensorrt.open(path, None, RTX)
    path.write_bytes(b"ftrt" + HEADER[4:])
    assert read_plan(path, "tensorrt") == path.read_bytes()
    with pytest.raises(ModelError, match=r"plan of TensorRT-RTX in .*got one of TensorRT 10\.3\.0\.26; build it again"):
        tensorrt.open(path, None, RTX)
    path.write_bytes(b"vtrt")
    with pytest.raises(ModelError, match="got 4 bytes; build it again here"):
        tensorrt.open(path, None, RTX)
    with pytest.raises(ModelError, match="readable engine file"):
        tensorrt.open(tmp_path, None, RTX)
    with pytest.raises(UsageError, match="flavour"):
        tensorrt.open(path, None, "cuda")
    with pytest.raises(UsageError, match="threads"):
        tensorrt.open(path, 0, RTX)


def test_without_a_gpu_or_the_package_a_plan_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"vtrt" + HEADER[4:])
    if not (reason := tensorrt.reason_missing(RTX)):
        pytest.skip("there are a GPU and TensorRT-RTX")
    with pytest.raises(EdgexError) as caught:
        tensorrt.open(path, None, RTX)
    assert str(caught.value) == reason


def test_the_real_runtime_refuses_what_is_no_plan_in_one_sentence(tmp_path: Path) -> None:
    if reason := tensorrt_api.reason_missing_build(RTX):
        pytest.skip(reason)
    trt = tensorrt_api.load(RTX)
    with (
        tensorrt_api.listening() as journal,
        pytest.raises(
            ModelError, match=r"TensorRT-RTX 10\.3\.0\.26 that it refuses: .*; build it again here"
        ) as caught,
    ):
        deserialised(trt, RTX, tmp_path / "model.engine", b"vtrt" + HEADER[4:] + bytes(1000), journal)
    assert "\n" not in str(caught.value)


def test_a_shape_outside_the_profile() -> None:
    low, high = (1, 3, 32, 32), (4, 3, 32, 32)
    require_within(Path("m"), (1, 3, 32, 32), low, high)
    require_within(Path("m"), (4, 3, 32, 32), low, high)
    for shape in ((5, 3, 32, 32), (0, 3, 32, 32), (1, 3, 32, 33)):
        with pytest.raises(UsageError, match=r"expected \[1 to 4, 3, 32, 32\], as m was built for"):
            require_within(Path("m"), shape, low, high)


class Address(int):
    """Memory of the stand-in's GPU."""

    memory: Any = None


class Gpu:
    """A stand-in for the GPU whose memory is the host's and whose streams work at once."""

    integrated, architecture, name = False, 89, "stand-in"

    def __init__(self) -> None:
        self.allocations = 0

    def require_own_process(self) -> None:
        pass

    @contextmanager
    def active(self) -> Iterator[Any]:
        def move(to: Any, source: Any, stream: Any) -> None:
            if isinstance(to, int):
                ctypes.memmove(to, source.ctypes.data, source.nbytes)
            else:
                ctypes.memmove(to.ctypes.data, source, to.nbytes)

        stream = SimpleNamespace(handle=7, synchronize=lambda: None)
        yield SimpleNamespace(Stream=lambda flags: stream, memcpy_htod_async=move, memcpy_dtoh_async=move)

    def allocate(self, owner: object, size: int) -> Held:
        self.allocations += 1
        memory = ctypes.create_string_buffer(size)
        address = Address(ctypes.addressof(memory))
        address.memory = memory
        return Held(owner, self.active, address)

    def pin(self, owner: object, size: int, mapped: bool) -> tuple[Held, int]:
        self.allocations += 1
        return Held(owner, self.active, np.empty(size, np.uint8)), 0


class Context:
    """A stand-in for an execution context of a network that gives each picture's sum per channel."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.runs, self.works = 0, True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape[:2]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        self.runs += 1
        image = array_at(self.addresses["image"], self.shape)
        array_at(self.addresses["sums"], self.shape[:2])[:] = image.sum(axis=(2, 3))
        return self.works


def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)


class Engine:
    """A stand-in for an engine with the batches 1 to 4."""

    num_io_tensors = 2

    def __init__(self) -> None:
        self.contexts: list[Context] = []

    def get_tensor_name(self, index: int) -> str:
        return ("image", "sums")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, 4, 5) if name == "image" else (-1, 3)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="FLOAT")

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "image" else "out"

    def get_tensor_location(self, name: str) -> str:
        return "device"

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(size, 3, 4, 5) for size in (1, 2, 4)]

    def create_execution_context(self) -> Context:
        self.contexts.append(Context())
        return self.contexts[-1]

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: TEN)


class InstantGraph:
    """A stand-in for a CUDA graph that remembers the work itself."""

    def __init__(self, gpu: Any, stream: Any, work: Callable[[], bool]) -> None:
        self.launch = work


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    modes = SimpleNamespace(INPUT="in")
    module = SimpleNamespace(
        TensorIOMode=modes,
        TensorLocation=SimpleNamespace(DEVICE="device"),
        LayerInformationFormat=SimpleNamespace(JSON=1),
    )
    monkeypatch.setattr(tensorrt, "load", lambda flavour: module)
    monkeypatch.setattr(tensorrt, "deserialised", lambda *arguments: (object(), made))
    return made


def opened() -> tuple[tensorrt.TensorRtNetwork, Gpu]:
    gpu = Gpu()
    return tensorrt.TensorRtNetwork(Path("model.engine"), b"", "tensorrt", gpu, None), gpu  # type: ignore[arg-type]


def pictures(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("graphs", [True, False])
def test_every_batch_of_the_profile_runs_and_a_steady_state_allocates_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, graphs: bool
) -> None:
    if graphs:
        monkeypatch.setattr(tensorrt, "Graph", InstantGraph)
    elif cuda.available():
        pytest.skip("there is a driver that makes graphs")
    network, gpu = opened()
    before = gpu.allocations
    assert (str(network.input), [str(spec) for spec in network.outputs]) == (
        "image float32 [?, 3, 4, 5]",
        ["sums float32 [?, 3]"],
    )
    for batch in (1, 4, 2, 3, 1, 4, 2, 3):
        image = pictures(batch)[:, :, ::-1]  # not contiguous
        np.testing.assert_allclose(network.run(image)["sums"], image.sum(axis=(2, 3)), rtol=1e-5)
    assert gpu.allocations == before
    assert network.launches == ("graph" if graphs else "plain")
    assert bool(network.plain_because) is not graphs
    if graphs:  # each graph's context keeps the shape that it was captured with
        assert sorted(context.shape[0] for context in engine.contexts) == [1, 2, 3, 4]


def test_what_does_not_fit_is_refused(engine: Engine) -> None:
    network, _ = opened()
    for image in (pictures(5), pictures(1).astype(np.float64), pictures(1)[0]):
        with pytest.raises(UsageError, match="expected"):
            network.run(image)


def test_tensorrt_s_refusal_is_an_error(engine: Engine) -> None:
    network, _ = opened()
    engine.contexts[0].works = False
    with pytest.raises(ModelError, match=r"expected TensorRT to infer model\.engine, got: no reason given; see edgex"):
        network.run(pictures(1))


@pytest.mark.parametrize("graph", [True, False])
def test_lanes_work_on_the_caller_s_memory_with_a_context_each(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, graph: bool
) -> None:
    monkeypatch.setattr(tensorrt_lane, "Graph", InstantGraph)
    network, gpu = opened()
    stream: Any = cuda.Stream(gpu)  # type: ignore[arg-type]
    memory = [(pictures(batch), np.zeros((batch, 3), np.float32)) for batch in (2, 4)]
    lanes = []
    for image, sums in memory:
        addresses = {"image": image.ctypes.data, "sums": sums.ctypes.data}
        lanes.append(network.lane(addresses, len(image), stream, graph))
    for lane, (image, sums) in zip(lanes * 2, memory * 2, strict=True):
        sums[:] = 0
        image += 1
        lane.launch()
        np.testing.assert_allclose(sums, image.sum(axis=(2, 3)), rtol=1e-5)
    assert [lane.launches for lane in lanes] == ["graph" if graph else "plain"] * 2
    assert [context.shape for context in engine.contexts] == [(4, 3, 4, 5), (2, 3, 4, 5), (4, 3, 4, 5)]
    with pytest.raises(UsageError, match="expected addresses of image, sums, got image; name each"):
        network.lane({"image": 1}, 2, stream)
    with pytest.raises(UsageError, match="1 to 4"):
        network.lane(addresses, 9, stream)


def test_a_lane_without_graphs_is_plain_and_says_why(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise EdgexError("expected a driver with CUDA graphs, got none; start the work without")

    monkeypatch.setattr(tensorrt_lane, "Graph", refuse)
    network, gpu = opened()
    image, sums = pictures(1), np.zeros((1, 3), np.float32)
    addresses = {"image": image.ctypes.data, "sums": sums.ctypes.data}
    lane = network.lane(addresses, 1, cuda.Stream(gpu))  # type: ignore[arg-type]
    lane.launch()
    assert (lane.launches, lane.plain_because[:35]) == ("plain", "expected a driver with CUDA graphs,")
    np.testing.assert_allclose(sums, image.sum(axis=(2, 3)), rtol=1e-5)
    engine.contexts[-1].works = False
    with pytest.raises(ModelError, match=r"expected TensorRT to infer model\.engine, got: no reason given; see edgex"):
        lane.launch()


def test_a_lane_gives_its_context_back_before_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_lane, "Graph", InstantGraph)
    network, gpu = opened()
    image, sums = pictures(1), np.zeros((1, 3), np.float32)
    addresses = {"image": image.ctypes.data, "sums": sums.ctypes.data}
    stream: Any = cuda.Stream(gpu)  # type: ignore[arg-type]
    dropped, kept = network.lane(addresses, 1, stream), network.lane(addresses, 1, stream)
    contexts = [weakref.ref(context) for context in engine.contexts[1:]]
    engine.contexts.clear()
    del dropped
    gc.collect()
    assert [context() is None for context in contexts] == [True, False]
    network.close()
    gc.collect()
    assert [context() is None for context in contexts] == [True, True]
    with pytest.raises(ModelError, match="closed"):
        kept.launch()
    with pytest.raises(ModelError, match="closed"):
        network.lane(addresses, 1, stream)


def test_threads_share_a_network(engine: Engine) -> None:
    network, _ = opened()
    wrong: list[int] = []

    def work(batch: int) -> None:
        image = pictures(batch)
        for _ in range(50):
            if not np.allclose(network.run(image)["sums"], image.sum(axis=(2, 3)), rtol=1e-4, atol=1e-5):
                wrong.append(batch)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_network_gives_everything_back_and_says_so(engine: Engine) -> None:
    network, _ = opened()
    network.run(pictures(1))
    assert tensorrt.achieved(network)["convolution"] == {"fp16": 1, "int8": 1}
    contexts = [weakref.ref(context) for context in engine.contexts]
    engine.contexts.clear()
    assert None not in [context() for context in contexts]
    network.close()
    network.close()
    gc.collect()
    assert {context() for context in contexts} == {None}
    for act in (lambda: network.run(pictures(1)), lambda: tensorrt.achieved(network)):
        with pytest.raises(ModelError, match="closed"):
            act()
