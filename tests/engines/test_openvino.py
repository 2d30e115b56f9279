"""OpenVINO with real files: it agrees with ONNX Runtime, computes in the precision that it was told, and refuses."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgex.engines import open_engine, open_network
from edgex.errors import ModelError, UsageError
from edgex.explain import shipped_bundle
from tests.bundles import tiny_manifest, write_bundle
from tests.engines.built import write_quantised, write_sidecar

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")


def noise(batch: int = 1, size: int = 32) -> np.ndarray:
    return np.random.default_rng(batch).normal(0, 1, (batch, 3, size, size)).astype(np.float32)


def refused(path: Path, *words: str) -> None:
    """Open `path`, which must fail with one sentence that holds `words`."""
    with pytest.raises(ModelError) as caught:
        open_engine(path, "openvino")
    message = str(caught.value)
    assert message.startswith("expected ")
    assert "; " in message  # the mend
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_infers_what_the_graph_says(bundle: Path) -> None:
    engine = open_engine(bundle, "openvino", threads=1)
    assert (engine.backend, engine.path, engine.input_shape) == ("openvino", bundle, (None, 3, 32, 32))
    assert engine.manifest == tiny_manifest()
    image = np.zeros((2, 3, 32, 32), np.float32)
    image[1, 0] = 1.0
    logits = engine.infer(image)
    assert (logits.mask_logits.dtype, logits.mask_logits.shape) == (np.float32, (2, 3, 4, 4))
    assert logits.class_logits is not None
    np.testing.assert_allclose(logits.class_logits, [[-2, -2, -2], [6, -6, -6]], atol=1e-5)


def test_the_shipped_bundle_is_computed_in_float32_as_onnx_runtime_does() -> None:
    image = noise(size=224)
    logits = [open_engine(shipped_bundle(), backend).infer(image) for backend in ("openvino", "onnxruntime")]
    # bfloat16, which OpenVINO takes by itself where the CPU has it, is off by 0.05 and more
    np.testing.assert_allclose(logits[0].mask_logits, logits[1].mask_logits, atol=1e-3)
    np.testing.assert_allclose(logits[0].class_logits, logits[1].class_logits, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"half_weights": True}, {"class_head": False}, {"with_manifest": False}])
def test_every_kind_of_bundle_agrees_with_onnx_runtime(tmp_path: Path, options: dict[str, bool]) -> None:
    path = write_bundle(tmp_path / "m.onnx", **options)
    one, other = (open_engine(path, backend) for backend in ("openvino", "onnxruntime"))
    for batch in (1, 3, 1, 2):
        logits = [engine.infer(noise(batch)) for engine in (one, other)]
        np.testing.assert_allclose(logits[0].mask_logits, logits[1].mask_logits, atol=1e-4)
        assert (logits[0].class_logits is None) == ("class_head" in options)


def test_a_picture_gives_the_same_alone_and_in_a_batch(bundle: Path) -> None:
    engine = open_engine(bundle, "openvino")
    batch = noise(3)
    together = engine.infer(batch).mask_logits
    for index in range(3):
        np.testing.assert_allclose(engine.infer(batch[index : index + 1]).mask_logits[0], together[index], atol=1e-5)


def test_what_it_gave_stays_when_it_infers_again(bundle: Path) -> None:
    engine = open_engine(bundle, "openvino")
    first = engine.infer(noise()).mask_logits
    kept = first.copy()
    engine.infer(noise() + 5)
    np.testing.assert_array_equal(first, kept)


def test_fixed_batch_and_strides(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "m.onnx", batch=2), "openvino")
    assert engine.input_shape == (2, 3, 32, 32)
    mirrored = engine.infer(noise(2)[:, :, :, ::-1]).mask_logits
    np.testing.assert_allclose(mirrored, engine.infer(noise(2)).mask_logits[:, :, :, ::-1], atol=1e-5)
    with pytest.raises(UsageError, match=r"expected float32 \[2, 3, 32, 32\], got float32 \[1, 3, 32, 32\]"):
        engine.infer(noise(1))


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "model.bin"), "openvino")
    assert engine.infer(noise()).mask_logits.shape == (1, 3, 4, 4)


def test_threads_may_share_it_and_one_may_close_it(bundle: Path) -> None:
    engine = open_engine(bundle, "openvino")
    images = [noise(batch) for batch in (1, 2, 3)]
    expected = [engine.infer(image).mask_logits for image in images]
    wrong: list[str] = []

    def infer(index: int) -> None:
        try:
            for _ in range(200):
                if not np.array_equal(engine.infer(images[index]).mask_logits, expected[index]):
                    wrong.append(f"{index} differs")
        except ModelError as error:
            wrong.extend([] if "closed" in str(error) else [str(error)])

    workers = [threading.Thread(target=infer, args=(index % 3,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers[:3]:
        worker.join()
    engine.close()
    for worker in workers[3:]:
        worker.join()
    assert wrong == []


def test_closed_engine_says_so(bundle: Path) -> None:
    engine = open_engine(bundle, "openvino")
    engine.close()
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.infer(noise())


def test_precision_achieved_is_told(tmp_path: Path, bundle: Path) -> None:
    from edgex.engines.openvino import achieved

    plain = achieved(open_network(bundle, "openvino"))
    assert {name for counts in plain.values() for name in counts} <= {"fp32", "int32"}
    assert plain["Convolution"] == {"fp32": 1}
    quantised = write_quantised(bundle, tmp_path / "int8.onnx")
    assert achieved(open_network(quantised, "openvino"))["Convolution"] == {"int8": 1}


def test_half_precision_only_where_the_sidecar_says_so_and_the_cpu_can(bundle: Path) -> None:
    import openvino

    from edgex.engines.openvino import achieved

    write_sidecar(bundle, "openvino", precision="fp16")
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        network = open_network(bundle)
        assert achieved(network)["Convolution"] == {"fp16": 1}
        assert network.run(noise())["mask_logits"].dtype == np.float32
    else:
        refused(bundle, "half precision", "--fp32 or --int8")


def test_quantised_bundle_agrees_with_onnx_runtime(tmp_path: Path, bundle: Path) -> None:
    path = write_quantised(bundle, tmp_path / "int8.onnx")
    logits = [open_engine(path, backend).infer(noise()).mask_logits for backend in ("openvino", "onnxruntime")]
    np.testing.assert_allclose(logits[0], logits[1], atol=0.2)  # two steps of the 8-bit scale


def test_files_that_are_none(tmp_path: Path, bundle: Path) -> None:
    refused(tmp_path / "none.onnx", "no file")
    (tmp_path / "bytes.onnx").write_bytes(random.Random(1).randbytes(5000))
    refused(tmp_path / "bytes.onnx")
    for change, words in {
        "operator": ("Convolute",),
        "cycle": ("sound",),
        "weight": ("sound",),
        "stride": ("sound",),
        "arity": ("sound", "Conv"),
    }.items():
        model = onnx.load(bundle)
        if change == "operator":
            model.graph.node[1].op_type = "Convolute"
        elif change == "cycle":
            model.graph.node[0].input[0] = model.graph.node[1].output[0]
        elif change == "weight":
            model.graph.initializer[0].dims[1] = 5
        elif change == "stride":
            model.graph.node[0].attribute[1].ints[0] = 0
        else:  # OpenVINO itself reads past the end of the inputs
            del model.graph.node[1].input[:2]
        (tmp_path / f"{change}.onnx").write_bytes(model.SerializeToString())
        refused(tmp_path / f"{change}.onnx", *words)


def test_external_weights_are_read(tmp_path: Path, bundle: Path) -> None:
    model = onnx.load(write_bundle(tmp_path / "m.onnx"))
    tensor = model.graph.initializer[0]
    (tmp_path / "m.bin").write_bytes(numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="m.bin")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = open_engine(tmp_path / "m.onnx", "openvino")
    expected = open_engine(bundle, "openvino").infer(noise()).mask_logits
    np.testing.assert_array_equal(found.infer(noise()).mask_logits, expected)
    (tmp_path / "m.bin").write_bytes(b"")
    refused(tmp_path / "m.onnx")


def test_flipped_bytes_never_crash(tmp_path: Path, bundle: Path) -> None:
    whole = bundle.read_bytes()
    source = random.Random(3)
    broken = tmp_path / "broken.onnx"
    refusals = 0
    for _ in range(300):
        content = bytearray(whole)
        content[source.randrange(len(content))] = source.randrange(256)
        broken.write_bytes(bytes(content))
        try:
            open_engine(broken, "openvino").infer(noise())
        except (ModelError, UsageError) as error:
            refusals += 1
            assert "\n" not in str(error)  # noqa: PT017 (most changes are refused, some do no harm)
    assert refusals > 100


def test_nothing_is_written_by_openvino(tmp_path: Path, bundle: Path) -> None:
    model = onnx.load(bundle)
    model.graph.node[1].op_type = "Convolute"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    code = (
        "import sys, pathlib, numpy\n"
        "from edgex.engines import open_engine\n"
        "from edgex.errors import ModelError\n"
        "open_engine(pathlib.Path(sys.argv[1]), 'openvino').infer(numpy.zeros((1, 3, 32, 32), numpy.float32))\n"
        "try: open_engine(pathlib.Path(sys.argv[2]), 'openvino')\n"
        "except ModelError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(bundle), str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "Convolute" in done.stdout
