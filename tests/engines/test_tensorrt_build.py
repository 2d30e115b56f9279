"""ONNX to plan, with the real builder of TensorRT-RTX, which needs no GPU; nothing is deserialised here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgex.engines import tensorrt_api
from edgex.engines.tensorrt_build import PARSING, Plan, PlanOptions, build_plan, parse_types
from edgex.engines.tensorrt_cache import Owner, TimingCache, read_cache, write_cache
from edgex.errors import EdgexError, MissingDependencyError, ModelError, UsageError
from edgex.explain import shipped_bundle
from tests.bundles import write_bundle

RTX = "tensorrt-rtx"
ROOT = Path(__file__).resolve().parents[2]
if reason := tensorrt_api.reason_missing_build(RTX):
    pytest.skip(reason, allow_module_level=True)


def plan_of(model: Path | bytes, **options: Any) -> Plan:
    return build_plan(model, PlanOptions(flavour=RTX, **options))


def halved(model: Path) -> bytes:
    """Return the model with FP16 arithmetic, its nodes out of order as onnxruntime leaves them."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: bytes = convert_float_to_float16(onnx.load(model), keep_io_types=True).SerializeToString()
    return found


def quantised(folder: Path, signed: bool = True, bias: bool = False) -> Path:
    """Write a tiny bundle whose convolution has Q/DQ on its input and weights."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            noise = np.random.default_rng(0)
            self._left = [noise.uniform(-0.5, 1, (1, 3, 32, 32)).astype(np.float32) for _ in range(2)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self._left.pop()} if self._left else None

    path = folder / f"quantised-{signed}-{bias}.onnx"
    quantize_static(
        write_bundle(folder / "float.onnx", batch=1),
        path,
        Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options={"ActivationSymmetric": signed, "WeightSymmetric": True, "QuantizeBias": bias},
    )
    return path


def changed(bundle: Path, **fields: str) -> onnx.ModelProto:
    """Return the bundle with fields of its convolution changed."""
    model = onnx.load(bundle)
    (node,) = [node for node in model.graph.node if node.op_type == "Conv"]
    for name, value in fields.items():
        if name == "first_input":
            node.input[0] = value
        else:
            setattr(node, name, value)
    return model


def test_a_float_bundle_becomes_a_plan(bundle: Path) -> None:
    made = plan_of(bundle)
    assert tensorrt_api.plan_origin(made.plan) == (RTX, tensorrt_api.version(RTX))
    assert made.layer_types["convolution"] == {"float32": 1}
    assert set(made.tensor_types) == {"float32", "int64"}  # int64: of shapes
    assert [str(spec) for spec in made.inputs] == ["image float32 [N, 3, 32, 32]"]
    assert {spec.name for spec in made.outputs} == {"mask_logits", "class_logits"}
    assert made.seconds > 0
    assert made.warnings == ()


def test_the_shipped_bundle_becomes_a_plan() -> None:
    made = plan_of(shipped_bundle(), batch=(1, 1, 4))
    assert sum(made.layer_types["convolution"].values()) > 100
    assert len(made.plan) > 1_000_000


def test_what_is_typed_as_half_stays_half(bundle: Path) -> None:
    model = halved(bundle)
    assert parse_types(model, RTX).layer_types["convolution"] == {"float16": 1}
    made = plan_of(model)
    assert made.tensor_types["float16"] >= 5
    assert [spec.dtype for spec in (*made.inputs, *made.outputs)] == ["float32"] * 3


def test_quantised_tensors_are_int8_and_the_rest_is_half(tmp_path: Path) -> None:
    made = plan_of(halved(quantised(tmp_path)))
    assert made.tensor_types["int8"] >= 3  # image, weights, logits
    assert made.tensor_types["float16"] >= 5
    assert made.layer_types["convolution"] == {"int8": 1}
    assert made.layer_types["pooling"] == {"float16": 1}


@pytest.mark.parametrize(
    ("signed", "bias", "said"),
    [
        (True, True, r"bias_DequantizeLinear.*Int32.*; quantise no bias"),
        (False, False, r"zero point.*; quantise .*signed"),
    ],
)
def test_q_dq_that_tensorrt_does_not_take(tmp_path: Path, signed: bool, bias: bool, said: str) -> None:
    with pytest.raises(ModelError, match=f"expected TensorRT-RTX to parse .*node .*{said}") as caught:
        plan_of(quantised(tmp_path, signed, bias))
    assert "\n" not in str(caught.value)


def test_what_is_no_model(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    for broken in (np.random.default_rng(0).bytes(1000), content[:-40], b"", b"\x08\x0a"):
        (tmp_path / "broken.onnx").write_bytes(broken)
        for form in (broken, tmp_path / "broken.onnx"):
            with pytest.raises(ModelError, match=r"^expected an? .*; .*export"):
                plan_of(form)
    with pytest.raises(ModelError, match="got no file"):
        plan_of(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"op_type": "Frobnicate", "name": "frob"}, "Frobnicate"),
        ({"op_type": "Frobnicate", "name": "frob", "domain": "acme"}, r"node 1 \(Frobnicate frob\).*knows"),
        ({"first_input": "class_logits"}, "nodes that need one another"),
        ({"first_input": "nowhere"}, "nowhere"),
    ],
)
def test_a_broken_graph(bundle: Path, capfd: pytest.CaptureFixture[str], fields: dict[str, str], said: str) -> None:
    model = changed(bundle, **fields)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    with pytest.raises(ModelError, match=said) as caught:
        plan_of(model.SerializeToString())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_names_that_are_not_utf_8_do_not_reach_tensorrt(bundle: Path) -> None:
    content = bundle.read_bytes().replace(b"pooled", b"p\xff\xfeled")
    with pytest.raises(ModelError, match=r"UTF-8|cut off"):
        plan_of(content)


def resizable(path: Path) -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "rows", "columns"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 3, "rows", "columns"])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "resizable", [image], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_dynamic_size_takes_a_profile(tmp_path: Path) -> None:
    path = resizable(tmp_path / "resizable.onnx")
    with pytest.raises(UsageError, match=r"dynamic height \(rows\) of image .*; give a size profile \(--size\)"):
        plan_of(path)
    assert plan_of(path, batch=(1, 1, 2), size=((16, 16), (32, 48), (64, 64))).plan


def test_another_batch_than_the_fixed_one(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "fixed.onnx", batch=2)
    assert plan_of(path, batch=(2, 2, 2)).plan
    with pytest.raises(UsageError, match="leave the batch profile out"):
        plan_of(path, batch=(1, 2, 4))


def test_workspace_and_level_reach_the_builder(bundle: Path) -> None:
    assert plan_of(bundle, optimisation_level=0, workspace_bytes=2**30).plan
    with pytest.raises(ModelError, match=r"workspace limit.*; give a larger workspace"):
        plan_of(bundle, workspace_bytes=1000)


def test_target_compute_capabilities(bundle: Path) -> None:
    two, one = plan_of(bundle, compute_capabilities=("sm86", "sm120")), plan_of(bundle, compute_capabilities=("sm75",))
    assert two.plan != one.plan
    with pytest.raises(UsageError, match=r"sm89, .*got 'sm99'"):
        plan_of(bundle, compute_capabilities=("sm99",))


def test_version_compatibility_is_built_or_says_what_it_lacks(bundle: Path) -> None:
    plain = plan_of(bundle).plan
    try:
        assert plan_of(bundle, version_compatible=True).plan != plain
    except ModelError:  # the wheels of TensorRT-RTX have no lean runtime
        with pytest.raises(ModelError, match="; install TensorRT's lean runtime, or build without"):
            plan_of(bundle, version_compatible=True)


def test_the_log_has_all_that_tensorrt_said(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan_of(bundle, log_file=tmp_path / "build.log")
    lines = (tmp_path / "build.log").read_text().splitlines()
    assert len([line for line in lines if line.startswith("VERBOSE: ")]) > 50
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="log file that can be written"):
        plan_of(bundle, log_file=tmp_path / "none" / "build.log")


def test_progress_moves_in_the_caller_s_thread(bundle: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    threads = set()

    def observe(*event: Any) -> None:
        threads.add(threading.get_ident())
        seen.append(event)

    build_plan(bundle, PlanOptions(flavour=RTX), observe)
    assert threads == {threading.get_ident()}
    assert seen[:2] == [(PARSING, 0, 1), (PARSING, 1, 1)]
    assert len({phase for phase, _, _ in seen}) > 3
    assert all(0 <= done <= total for _, done, total in seen)
    outermost = [done for phase, done, _ in seen if phase == seen[2][0]]
    assert outermost == sorted(outermost)
    assert outermost[-1] > outermost[0]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, False])
def test_the_caller_stops_a_build(bundle: Path, stop: Any) -> None:
    def observe(phase: str, done: int, total: int) -> Any:
        if phase != PARSING:
            if stop is False:
                return False
            raise stop
        return None

    with pytest.raises(KeyboardInterrupt):
        build_plan(bundle, PlanOptions(flavour=RTX), observe)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgex-tensorrt")]
    assert plan_of(bundle).plan


def test_a_signal_stops_a_build() -> None:
    program = (
        "import os, signal, sys\n"
        "from edgex.explain import shipped_bundle\n"
        "from edgex.engines.tensorrt_build import PARSING, PlanOptions, build_plan\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def observe(phase, done, total):\n"
        "    phase == PARSING or os.write(1, b'.')\n"
        "try:\n"
        "    build_plan(shipped_bundle(), PlanOptions(flavour='tensorrt-rtx'), observe)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.read(1) == b"."
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (130, b"")


def test_two_processes_build_at_once_with_one_timing_cache(bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from edgex.engines.tensorrt_build import PlanOptions, build_plan\n"
        "cache = pathlib.Path(sys.argv[2])\n"
        "for _ in range(3):\n"
        "    made = build_plan(pathlib.Path(sys.argv[1]), PlanOptions(flavour='tensorrt-rtx', timing_cache=cache))\n"
        "    assert made.plan and not made.warnings, made.warnings\n"
    )
    cache = tmp_path / "timing.cache"
    command = [sys.executable, "-c", program, str(bundle), str(cache)]
    children = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [(child.returncode, text) for child, text in zip(children, said, strict=True)] == [(0, b"")] * 2
    assert read_cache(cache, owner()) != (b"", None)
    assert set(os.listdir(tmp_path)) == {bundle.name, cache.name}


def owner(**fields: str) -> Owner:
    names = {"backend": RTX, "version": tensorrt_api.version(RTX), "device": tensorrt_api.device(), **fields}
    return Owner(**names)


def test_a_timing_cache_is_kept_and_read_again(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "caches" / "timing.cache"
    assert plan_of(bundle, timing_cache=cache).warnings == ()
    measured, reason = read_cache(cache, owner())
    assert measured
    assert reason is None
    assert plan_of(bundle, timing_cache=cache).warnings == ()


@pytest.mark.parametrize("broken", ["version", "device", "damaged", "other"])
def test_a_foreign_or_broken_timing_cache_is_not_used_and_written_anew(
    bundle: Path, tmp_path: Path, broken: str
) -> None:
    cache = tmp_path / "timing.cache"
    if broken == "other":
        cache.write_bytes(np.random.default_rng(0).bytes(500))
    else:
        foreign = owner(**{broken: "another"}) if broken != "damaged" else owner()
        assert write_cache(cache, foreign, b"measured") is None
        if broken == "damaged":
            cache.write_bytes(cache.read_bytes()[:-1])
    (warning,) = plan_of(bundle, timing_cache=cache).warnings
    assert "it is not used and written anew" in warning
    assert read_cache(cache, owner())[1] is None


def test_a_timing_cache_that_tensorrt_refuses(tmp_path: Path) -> None:
    trt, log = tensorrt_api.load(RTX), tensorrt_api.logger(RTX)
    cache, mine = tmp_path / "timing.cache", owner(device="a GPU")
    write_cache(cache, mine, b"of our header, but none of TensorRT's")
    with tensorrt_api.listening() as journal:
        builder = trt.Builder(log)
        used = TimingCache(builder.create_builder_config(), cache, mine, journal)
        (warning,) = journal.warnings
        assert "one that TensorRT refuses" in warning
        used.keep()
    measured, reason = read_cache(cache, mine)
    assert measured != b"of our header, but none of TensorRT's"
    assert reason is None


def test_a_timing_cache_that_cannot_be_written_is_a_warning(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = plan_of(bundle, timing_cache=tmp_path / "file" / "timing.cache")
    assert made.plan
    assert any("expected to keep the timing cache" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flavour": "cuda"}, "flavour"),
        ({"batch": (4, 2, 1)}, "batch profile"),
        ({"batch": (0, 1, 1)}, "batch profile"),
        ({"batch": (1, 2)}, "batch profile"),
        ({"size": ((32, 32), (16, 64), (64, 64))}, "size profile"),
        ({"size": (32, 32, 32)}, "size profile"),
        ({"workspace_bytes": 0}, "workspace"),
        ({"optimisation_level": 6}, "level of 0 to 5"),
        ({"flavour": "tensorrt", "compute_capabilities": ("sm89",)}, "tensorrt-rtx only"),
        ({"compute_capabilities": ("8.9",)}, "such as sm89"),
        ({"compute_capabilities": ("current", "sm89")}, "not both"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PlanOptions(**{"flavour": RTX, **options})


def test_a_flavour_that_is_not_installed_is_named_with_its_command(bundle: Path) -> None:
    if not tensorrt_api.reason_missing_build("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EdgexError, match=r"tensorrt") as caught:
        build_plan(bundle, PlanOptions(flavour="tensorrt"))
    if isinstance(caught.value, MissingDependencyError):
        assert "pip install 'edgex[tensorrt]'" in str(caught.value)
