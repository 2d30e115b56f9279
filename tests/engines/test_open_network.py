"""Which backend opens what: the written order, the one that is named, sidecars, engine files, and any image model."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgex.build_manifest import sidecar
from edgex.cores import usable_cores
from edgex.engines import AUTO, BACKENDS, cpu, open_engine, open_network
from edgex.engines.choose import MOST_STREAMS, cpu_share
from edgex.errors import ModelError, UsageError
from edgex.explain import load
from tests.bundles import write_bundle
from tests.engines.built import write_sidecar
from tests.foreign import FOREIGN, foreign_model

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
ONNX_BACKENDS = ("onnxruntime", pytest.param("openvino", marks=needs_openvino))
NO_OPENVINO = "import sys, pathlib, logging; sys.modules['openvino'] = None\n"  # its import fails from now on


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def noise(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(batch).normal(0, 1, (batch, 3, 32, 32)).astype(np.float32)


def write_model(path: Path, dtype: int, shape: list[int | str | None], extra_input: bool = False) -> Path:
    """Write a model of an image input `x` with outputs of rank 4, 1 and 0: `y` its double, `top`, `most`."""
    info = helper.make_tensor_value_info
    inputs = [info("x", dtype, shape)]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "z" if extra_input else "f"], ["y"]),
        helper.make_node("ReduceMax", ["y"], ["top"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["y"], ["most"], keepdims=0),
    ]
    if extra_input:
        inputs.append(info("z", TensorProto.FLOAT, shape))
    outputs = [info("y", TensorProto.FLOAT, shape), info("top", TensorProto.FLOAT, [shape[0]])]
    outputs.append(info("most", TensorProto.FLOAT, []))
    graph = helper.make_graph(nodes, "foreign", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_auto_takes_the_first_that_works_in_a_written_order(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert set(AUTO) <= set(BACKENDS)
    caplog.set_level(logging.INFO, logger="edgex")
    backend = open_engine(bundle).backend
    assert backend == ("openvino" if find_spec("openvino") and cpu.is_x86() else "onnxruntime")
    assert f"backend {backend}" in caplog.text or "openvino passed over: expected" in caplog.text


def test_auto_does_without_what_is_not_installed_and_the_log_says_so(bundle: Path) -> None:
    code = NO_OPENVINO + (
        "logging.basicConfig(level=logging.INFO)\n"
        "from edgex.engines import open_engine\n"
        "print(open_engine(pathlib.Path(sys.argv[1])).backend)\n"
    )
    said = python(code, bundle)
    assert said.startswith("onnxruntime\n")
    assert "backend openvino passed over: expected " in said


def test_auto_goes_on_where_openvino_cannot_load_the_file(tmp_path: Path, bundle: Path) -> None:
    named = tmp_path / "model.xml"  # OpenVINO's own format by its name
    shutil.copy(bundle, named)
    assert open_engine(named).infer(noise()).mask_logits.shape == (1, 3, 4, 4)


def test_a_backend_that_is_named_never_falls_back(bundle: Path) -> None:
    code = NO_OPENVINO + (
        "from edgex.engines import open_engine\n"
        "from edgex.errors import MissingDependencyError\n"
        "try: open_engine(pathlib.Path(sys.argv[1]), 'openvino')\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    said = python(code, bundle)
    assert said.startswith("expected the package openvino, got ")
    assert said.endswith("run: pip install 'edgex[openvino]'\n")


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_an_engine_of_several_streams_gives_each_thread_its_own_answer(bundle: Path, backend: str) -> None:
    pictures = [noise(1) * scale for scale in np.linspace(-2.0, 2.0, 24, dtype=np.float32)]
    alone = open_engine(bundle, backend, threads=1)
    engine = open_engine(bundle, backend, threads=1, streams=3)
    assert (alone.streams, engine.streams) == (1, 3)
    with ThreadPoolExecutor(6) as pool:  # more threads than streams: some of them wait
        found = list(pool.map(engine.infer, pictures))
    for picture, logits in zip(pictures, found, strict=True):
        np.testing.assert_allclose(logits.mask_logits, alone.infer(picture).mask_logits, atol=1e-5)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.infer(pictures[0])


def test_files_get_a_stream_a_core_and_a_live_source_every_core() -> None:
    cores = len(usable_cores())
    assert cpu_share(None, live=True) == (None, 1)
    assert [cpu_share(threads, live) for threads in (1, 3) for live in (True, False)] == [(1, 1)] * 2 + [(3, 1)] * 2
    share = cpu_share(None, live=False)
    assert share.streams == min(cores, MOST_STREAMS)
    assert share.threads == cores // share.streams
    with pytest.raises(UsageError, match="streams"):
        open_network(Path("none.onnx"), streams=0)


def test_an_unknown_backend_and_odd_threads_are_wrong_usage(bundle: Path) -> None:
    for opened in (open_network, open_engine):
        with pytest.raises(UsageError, match=r"expected a backend of auto, onnxruntime, openvino.*got 'abacus'"):
            opened(bundle, "abacus")
        with pytest.raises(UsageError, match="1 to 256 threads, got 300"):
            opened(bundle, threads=300)


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "shape", "given"),
    [
        (TensorProto.UINT8, ["N", 4, 5, 3], (2, 4, 5, 3)),
        (TensorProto.FLOAT16, [1, 3, 4, 5], (1, 3, 4, 5)),
        (TensorProto.FLOAT, ["N", 3, "H", "W"], (3, 3, 7, 2)),
        (TensorProto.FLOAT, [-1, 3, -1, None], (1, 3, 2, 9)),
    ],
    ids=["uint8 NHWC", "half", "dynamic", "minus one"],
)
def test_any_image_model_runs(
    tmp_path: Path, backend: str, dtype: int, shape: list[int | str | None], given: tuple[int, ...]
) -> None:
    network = open_network(write_model(tmp_path / "m.onnx", dtype, shape), backend)
    assert (network.backend, network.manifest, network.input.name) == (backend, None, "x")
    assert [spec.name for spec in network.outputs] == ["y", "top", "most"]
    image = np.random.default_rng(0).integers(0, 100, given).astype(network.input.dtype)
    found = network.run(image)
    assert list(found) == ["y", "top", "most"]
    np.testing.assert_array_equal(found["y"], image.astype(np.float32) * 2)
    np.testing.assert_array_equal(found["top"], image.max(axis=(1, 2, 3)).astype(np.float32) * 2)
    assert float(found["most"]) == float(image.max()) * 2
    network.close()
    with pytest.raises(ModelError, match="closed"):
        network.run(image)


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_an_input_that_does_not_fit_is_refused(tmp_path: Path, backend: str) -> None:
    network = open_network(write_model(tmp_path / "m.onnx", TensorProto.UINT8, ["N", 4, 5, 3]), backend)
    for image in (np.zeros((1, 4, 5, 3), np.float32), np.zeros((1, 4, 6, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)):
        with pytest.raises(UsageError, match=r"expected the input x uint8 \[N, 4, 5, 3\], got "):
            network.run(image)
    with pytest.raises(UsageError, match="expected the input"):
        network.run(np.zeros((0, 4, 5, 3), np.uint8))


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_models_of_several_inputs_or_odd_outputs_are_refused(tmp_path: Path, backend: str) -> None:
    several = write_model(tmp_path / "m.onnx", TensorProto.FLOAT, ["N", 3, 4, 5], extra_input=True)
    with pytest.raises(ModelError, match=r"expected one input, an image.*got x float32.*z float32"):
        open_network(several, backend)
    model = onnx.load(write_bundle(tmp_path / "b.onnx"))
    model.graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["list"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None))
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"expected outputs that are arrays.*got list sequence_type"):
        open_network(tmp_path / "b.onnx", backend)


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_model_without_masks_is_a_network_and_no_engine(tmp_path: Path, backend: str) -> None:
    path = write_bundle(tmp_path / "m.onnx", mask_head=False)
    assert list(open_network(path, backend).run(noise())) == ["class_logits"]
    with pytest.raises(ModelError, match="expected an output mask_logits"):
        open_engine(path, backend)


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("model", FOREIGN, ids=lambda model: model.name)
def test_models_of_other_makers_agree_between_backends(model: object) -> None:
    path = foreign_model(model)  # type: ignore[arg-type]
    networks = [open_network(path, backend, threads=1) for backend in ("onnxruntime", "openvino")]
    usual = (1, 3, 320, 320)
    axes = zip(networks[0].input.shape or usual, usual, strict=True)
    shape = [axis if isinstance(axis, int) and axis > 0 else side for axis, side in axes]
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(networks[0].input.dtype)
    one, other = (network.run(image) for network in networks)
    assert list(one) == list(other)
    for name, values in one.items():
        assert other[name].dtype == values.dtype
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(other[name], values, atol=2e-3 * scale)


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_built_file_is_opened_by_what_it_was_built_for(bundle: Path, backend: str) -> None:
    write_sidecar(bundle, backend)
    assert open_engine(bundle).backend == open_engine(bundle, backend).backend == backend
    for other in {"onnxruntime", "openvino", "tensorrt"} - {backend}:
        with pytest.raises(UsageError, match=rf"expected --backend {backend}, which .* was built for, got {other}; "):
            open_network(bundle, other)


def test_a_built_file_that_was_changed_is_refused_unless_trusted(bundle: Path) -> None:
    write_sidecar(bundle, product_sha256="1" * 64)
    for opened in (open_network, open_engine, load):
        with pytest.raises(ModelError, match=r"hash.*--trust"):
            opened(bundle)
    assert open_engine(bundle, trust=True).infer(noise()).mask_logits.shape == (1, 3, 4, 4)
    with load(bundle, trust=True) as explainer:
        assert explainer.engine.backend == "onnxruntime"


def test_a_sidecar_that_is_none_is_refused(bundle: Path) -> None:
    sidecar(bundle).write_text('{"product_sha256": 1}')
    with pytest.raises(ModelError, match=r"expected the JSON of a build manifest.*tiny\.onnx\.json"):
        open_engine(bundle)
    sidecar(bundle).write_text('{"sample_rate": 22050}')  # other programs write NAME.onnx.json too
    open_engine(bundle).close()
    write_sidecar(bundle, "abacus")
    with pytest.raises(ModelError, match=r"name a backend of onnxruntime.*got 'abacus'"):
        open_engine(bundle)


def test_an_engine_file_needs_its_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    with pytest.raises(ModelError, match="no file"):
        open_network(path)
    path.write_bytes(b"ftrt" + bytes(100))
    for backend in ("auto", "tensorrt", "onnxruntime"):
        with pytest.raises(ModelError, match=r"expected m\.engine\.json beside the engine .*--trust"):
            open_network(path, backend)
    for backend in ("auto", "onnxruntime"):
        with pytest.raises(UsageError, match="name it with --backend tensorrt or tensorrt-rtx"):
            open_network(path, backend, trust=True)


def test_an_engine_that_was_changed_never_reaches_its_backend(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"ftrt" + bytes(100))
    write_sidecar(path, "tensorrt")
    path.write_bytes(b"ftrt" + bytes(101))
    with pytest.raises(ModelError, match="hash"):
        open_network(path)


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_an_engine_of_another_version_is_built_again(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"vtrt" + bytes(100))
    write_sidecar(path, "tensorrt-rtx", backend_version="0.9.0")
    with pytest.raises(ModelError, match=r"expected an engine of tensorrt-rtx .* of 0\.9\.0; build it again here"):
        open_network(path)


def test_an_onnx_file_is_no_engine(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"expected an engine for tensorrt, got .*edgex build .* --backend tensorrt"):
        open_network(bundle, "tensorrt")


def test_paths_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("."), Path("/"), Path("..")):
        with pytest.raises(ModelError, match="folder"):
            open_engine(path)


def test_a_backend_tells_version_and_device() -> None:
    from edgex.engines import onnxruntime

    assert onnxruntime.device() == cpu.describe() != ""
    assert onnxruntime.reason_missing() == ""
    assert onnxruntime.version()[0].isdigit()
