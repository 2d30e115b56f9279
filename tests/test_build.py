"""Build: names, sidecars, refusals, engines that run, and nothing half-written whatever happens meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgex.build import BuildOptions, Built, build
from edgex.build_manifest import BuildManifest, read_sidecar, require_untouched, sidecar
from edgex.build_plan import PlanRequest
from edgex.build_trial import ENGINE, MODEL, advice, require_precision
from edgex.calibrate import CalibrateOptions, calibrate
from edgex.calibration import calibration_path
from edgex.engines import open_network, tensorrt_api
from edgex.engines.choose import reason_missing
from edgex.errors import FidelityError, ModelError, SinkError, SourceError, UsageError
from edgex.fidelity import Budget
from edgex.image_input import image_input
from edgex.onnx_file import read_onnx
from edgex.product import staging, write_text
from tests.bundles import write_bundle
from tests.commands import ROOT, start
from tests.foreign import FOREIGN, foreign_model
from tests.small_networks import picture, write_pictures, write_small

ORT = "onnxruntime"
IMPOSSIBLE = Budget(mask_iou_mean=1.0, mask_iou_p5=1.0, mask_difference_mean=0.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its calibration beside it, and frames."""
    folder = tmp_path_factory.mktemp("shared")
    model = write_small(folder / "small.onnx")
    found, _ = calibrate(CalibrateOptions(model, str(write_pictures(folder / "frames")), threads=1))
    calibration_path(model).write_text(found.to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def model(shared: Path, tmp_path: Path) -> Path:
    """The model in a folder of its own, no calibration beside it."""
    return Path(shutil.copy(shared / "small.onnx", tmp_path))


@pytest.fixture
def calibrated(shared: Path, model: Path) -> Path:
    shutil.copy(calibration_path(shared / "small.onnx"), model.parent)
    return model


def built(model: Path, precision: str = "fp32", backend: str = ORT, **fields: object) -> Built:
    return build(BuildOptions(model, precision, backend, threads=1, checked=12, **fields))  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_whole(path: Path) -> BuildManifest:
    """Assert that an engine and its sidecar belong together, and return what the sidecar says."""
    manifest = read_sidecar(path)
    assert manifest is not None
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == manifest.product_sha256
    assert len(content) == manifest.product_bytes
    return manifest


def outputs(path: Path, backend: str = "auto", trust: bool = False) -> dict[str, np.ndarray]:
    network = open_network(path, backend, 1, trust)
    try:
        spec = image_input(read_onnx(path))
        return network.run(spec.tensor(picture(1)))
    finally:
        network.close()


# Names and sidecars


@pytest.mark.parametrize(
    ("precision", "backend", "name"),
    [
        ("fp32", ORT, "small.fp32.onnxruntime.onnx"),
        ("int8", ORT, "small.int8.onnxruntime.onnx"),
        ("int8", "openvino", "small.int8.openvino.onnx"),
    ],
)
def test_an_engine_is_named_after_what_it_is(calibrated: Path, precision: str, backend: str, name: str) -> None:
    if reason := reason_missing(backend):
        pytest.skip(reason)
    before = names(calibrated.parent)
    found = built(calibrated, precision, backend)
    assert found.path == calibrated.with_name(name)
    assert names(calibrated.parent) - before == {name, f"{name}.json"}
    manifest = assert_whole(found.path)
    assert manifest == dataclasses.replace(found.manifest, **_plain(manifest))
    assert (manifest.backend, manifest.precision, manifest.source) == (backend, precision, "small.onnx")
    assert manifest.source_sha256 == read_onnx(calibrated).sha256
    assert outputs(found.path)["mask_logits"].shape == (1, 3, 8, 8)


def _plain(manifest: BuildManifest) -> dict[str, object]:
    """Return the fields that JSON gives back as other containers than were put in."""
    return {name: getattr(manifest, name) for name in ("fidelity", "achieved", "options", "latency_ms")}


def test_a_checked_int8_engine_says_what_it_is(calibrated: Path, shared: Path) -> None:
    stages = []
    options = BuildOptions(calibrated, "int8", ORT, data=None, threads=1, checked=12)
    manifest = assert_whole(build(options, lambda *seen: stages.append(seen[0])).path)
    assert manifest.calibration_sha256 is not None
    assert manifest.achieved["QLinearConv"]["int8"] >= 6
    assert manifest.fidelity is not None
    assert manifest.fidelity["simulated"] is False
    assert manifest.fidelity["frames"] == 12
    assert manifest.fidelity["mask_iou_mean"] >= 0.95
    assert set(manifest.latency_ms) == {MODEL, ENGINE}
    assert manifest.kept == ()
    assert (manifest.input.name, [spec.name for spec in manifest.outputs]) == ("image", ["class_logits", "mask_logits"])
    assert manifest.manifest == read_onnx(calibrated).manifest()
    assert manifest.image == image_input(read_onnx(calibrated))
    assert {"checking", "checking the engine", "reading frames", "timing"} <= set(stages)


def test_the_same_build_twice_gives_the_same_engine(calibrated: Path) -> None:
    one, other = (built(calibrated, "int8", unchecked=True).path.read_bytes() for _ in range(2))
    assert one == other


def test_an_unchecked_engine_says_so(calibrated: Path) -> None:
    manifest = assert_whole(built(calibrated, "int8", unchecked=True).path)
    assert manifest.fidelity is None
    assert manifest.latency_ms == {}
    assert manifest.achieved["QLinearConv"]["int8"] >= 6


def test_calibration_and_data_can_be_named(shared: Path, model: Path, tmp_path: Path) -> None:
    named = Path(shutil.copy(calibration_path(shared / "small.onnx"), tmp_path / "other.calib.json"))
    with_file = assert_whole(built(model, "int8", calibration=named, output=tmp_path / "a.onnx").path)
    with_data = assert_whole(built(model, "int8", data=str(shared / "frames"), output=tmp_path / "b.onnx").path)
    assert with_file.calibration_sha256 == with_data.calibration_sha256
    assert not calibration_path(model).exists()


def test_an_fp32_engine_is_the_model_itself_and_is_checked_with_data(model: Path, shared: Path) -> None:
    found = built(model, data=str(shared / "frames"))
    assert found.path.read_bytes() == model.read_bytes()
    assert found.manifest.fidelity is not None
    assert found.manifest.fidelity["mask_iou_mean"] == 1.0
    assert found.advice is None


def test_texts_of_sidecars_that_are_none_are_refused(model: Path) -> None:
    path = built(model).path
    tree = json.loads(sidecar(path).read_text(encoding="utf-8"))
    assert BuildManifest.from_json(json.dumps(tree)).to_json() == json.dumps(tree, ensure_ascii=False, indent=1)
    changes = [
        *({"schema": 2}, {"precision": "int4"}, {"backend": 3}, {"product_sha256": "0"}, {"source_sha256": None}),
        *({"achieved": 1}, {"input": None}, {"input": {}}, {"outputs": [{}]}, {"outputs": 3}, {"image": 3}),
        *({"manifest": {}}, {"kept": [{}]}, {"warnings": None}, {"surprise": 1}, {"options": []}),
    ]
    for change in changes:
        with pytest.raises(ModelError, match=r"^expected .* again") as refused:
            BuildManifest.from_json(json.dumps({**tree, **change}))
        assert "\n" not in str(refused.value)
    for text in ("", "{", "null", "[" * 100000):
        with pytest.raises(ModelError, match=r"^expected"):
            BuildManifest.from_json(text)


def test_an_engine_that_was_changed_is_refused_unless_trusted(calibrated: Path) -> None:
    path = built(calibrated, "int8", unchecked=True).path
    wanted = outputs(path)
    other = write_small(calibrated.with_name("other.onnx"), seed=3)
    path.write_bytes(other.read_bytes())
    manifest = read_sidecar(path)
    assert manifest is not None
    with pytest.raises(ModelError, match="hash that its manifest gives"):
        require_untouched(path, manifest)
    with pytest.raises(ModelError, match="--trust"):
        open_network(path)
    trusted = outputs(path, trust=True)
    assert not np.array_equal(trusted["mask_logits"], wanted["mask_logits"])


# Refusals


def test_int8_without_calibration_names_the_command(model: Path) -> None:
    before = names(model.parent)
    with pytest.raises(UsageError, match=f"run: edgex calibrate {model} --data"):
        built(model, "int8")
    assert names(model.parent) == before


def test_the_calibration_of_another_model_is_refused(calibrated: Path) -> None:
    write_small(calibrated, seed=5)
    with pytest.raises(ModelError, match="expected a calibration of"):
        built(calibrated, "int8")


def test_a_broken_calibration_is_refused(calibrated: Path) -> None:
    calibration_path(calibrated).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="calibrate again"):
        built(calibrated, "int8")


def test_frames_that_are_gone_are_asked_for(calibrated: Path, shared: Path) -> None:
    tree = json.loads(calibration_path(calibrated).read_text(encoding="utf-8"))
    calibration_path(calibrated).write_text(json.dumps({**tree, "source": "gone"}), encoding="utf-8")
    with pytest.raises(UsageError, match="--data PATH, or --unchecked"):
        built(calibrated, "int8")
    assert_whole(built(calibrated, "int8", data=str(shared / "frames")).path)


def test_too_few_frames_to_judge_by_are_refused(calibrated: Path, tmp_path: Path) -> None:
    few = write_pictures(tmp_path / "few", 8)
    with pytest.raises(SourceError, match="at least 16 frames"):
        built(calibrated, "int8", data=str(few))


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "i686"), reason="other CPUs may compute in FP16")
def test_fp16_that_would_compute_in_fp32_is_refused(model: Path) -> None:
    before = names(model.parent)
    with pytest.raises(ModelError, match=r"computes in fp16, got .* layers in fp32"):
        built(model, "fp16")
    assert names(model.parent) == before


def test_an_engine_of_another_precision_is_refused() -> None:
    require_precision({"Conv": {"fp16": 3}, "Add": {"fp32": 1}}, "fp16", ORT)
    require_precision({"Conv": {"fp32": 3}, "QLinearConv": {"int8": 1}}, "int8", ORT)
    require_precision({"Conv": {"int8": 3}}, "fp32", ORT)
    for achieved, asked in (({"Conv": {"fp16": 3, "fp32": 1}}, "fp16"), ({"Conv": {"fp32": 3}}, "int8"), ({}, "int8")):
        with pytest.raises(ModelError, match=f"computes in {asked}"):
            require_precision(achieved, asked, ORT)  # type: ignore[arg-type]


def test_a_budget_out_of_reach_leaves_nothing(calibrated: Path) -> None:
    before = names(calibrated.parent)
    with pytest.raises(FidelityError):
        built(calibrated, "int8", budget=IMPOSSIBLE)
    assert names(calibrated.parent) == before


def test_a_failed_build_leaves_the_old_engine_alone(calibrated: Path) -> None:
    path = built(calibrated, "int8", unchecked=True).path
    before = path.read_bytes(), sidecar(path).read_bytes()
    with pytest.raises(FidelityError):
        built(calibrated, "int8", budget=IMPOSSIBLE)
    assert (path.read_bytes(), sidecar(path).read_bytes()) == before


def test_a_model_of_heads_alone_is_refused(tmp_path: Path, shared: Path) -> None:
    tiny = write_bundle(tmp_path / "tiny.onnx")
    with pytest.raises(ModelError, match=r"--fp32|another precision"):
        built(tiny, "int8", data=str(shared / "frames"))
    assert names(tmp_path) == {"tiny.onnx"}


def test_the_model_itself_is_never_written(model: Path) -> None:
    content = model.read_bytes()
    link = model.with_name("link.onnx")
    link.symlink_to(model)
    for output in (model, link, model.parent / "." / model.name):
        with pytest.raises(UsageError, match="another file than"):
            built(model, output=output)
    assert model.read_bytes() == content


@pytest.mark.parametrize(
    ("backend", "output"), [(ORT, "x.engine"), ("openvino", "x"), ("tensorrt-rtx", "x.onnx"), ("tensorrt-rtx", "x.bin")]
)
def test_a_wrong_suffix_is_refused(model: Path, backend: str, output: str) -> None:
    if reason := tensorrt_api.reason_missing_build(backend) if backend == "tensorrt-rtx" else reason_missing(backend):
        pytest.skip(reason)
    with pytest.raises(UsageError, match="expected an output named NAME"):
        built(model, backend=backend, output=model.with_name(output))


def test_places_where_nothing_can_be_written_are_refused(model: Path) -> None:
    (model.parent / "folder.onnx").mkdir()
    for output in (model.parent / "nowhere" / "x.onnx", model.parent / "folder.onnx", model / "x.onnx"):
        with pytest.raises(SinkError, match=r"^expected"):
            built(model, output=output)


@pytest.mark.parametrize(
    "fields",
    [{"precision": "int4"}, {"backend": "tvm"}, {"frames": 0}, {"checked": 0}],
    ids=lambda each: next(iter(each)),
)
def test_wrong_options_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^expected"):
        BuildOptions(Path("m.onnx"), **fields)  # type: ignore[arg-type]


def test_what_is_asked_of_a_plan() -> None:
    assert PlanRequest().to_dict() == {}
    asked = PlanRequest(batch=(1, 2, 4), timing_cache=Path("t.cache"), version_compatible=True)
    assert asked.to_dict() == {"batch": (1, 2, 4), "timing_cache": "t.cache", "version_compatible": True}
    with pytest.raises(UsageError, match="workspace"):
        PlanRequest(workspace_mb=0)


def test_advice_is_given_where_an_engine_does_not_pay(calibrated: Path) -> None:
    manifest = built(calibrated, "int8", unchecked=True).manifest
    slow = dataclasses.replace(manifest, latency_ms={MODEL: 1.0, ENGINE: 0.99})
    assert "int8 does not pay here" in str(advice(slow))
    assert advice(dataclasses.replace(manifest, latency_ms={MODEL: 1.0, ENGINE: 0.5})) is None
    assert advice(dataclasses.replace(slow, precision="fp32")) is None
    assert advice(manifest) is None


# Whole or not at all


def test_what_is_not_published_is_removed(tmp_path: Path) -> None:
    def interrupted() -> None:
        with staging(tmp_path / "x.onnx") as product:
            product.write(b"half")
            assert len(names(tmp_path)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == set()
    write_text(tmp_path / "x.json", "{}")
    assert names(tmp_path) == {"x.json"}


BUILD_FOR_EVER = """
import itertools, sys
from pathlib import Path
from edgex.build import BuildOptions, build
options = {"backend": "onnxruntime", "unchecked": True, "threads": 1}
models, folder = [Path(one) for one in sys.argv[2:]], Path(sys.argv[1])
for turn in itertools.count():
    build(BuildOptions(models[turn % 2], output=folder / f"new{turn}.onnx", **options))
    build(BuildOptions(models[turn % 2], output=folder / "same.onnx", **options))
    print(turn, flush=True)
"""


def test_whoever_is_killed_leaves_whole_engines(model: Path, tmp_path: Path) -> None:
    models = [model, write_small(tmp_path / "other.onnx", seed=1)]
    contents = {path.read_bytes() for path in models}
    chance = random.Random(4)
    written = 0
    for kill in range(3):
        folder = tmp_path / str(kill)
        folder.mkdir()
        command = [sys.executable, "-c", BUILD_FOR_EVER, str(folder), *map(str, models)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.15))
            process.kill()
        engines = sorted(path for path in folder.glob("*.onnx") if not path.name.startswith("."))
        assert engines
        for path in engines:
            assert path.read_bytes() in contents
            if path.name != "same.onnx":  # which a new sidecar may stand beside; it is refused then
                assert_whole(path)
                written += 1
    assert written >= 3


def test_a_killed_command_leaves_nothing_or_a_whole_engine(calibrated: Path) -> None:
    chance = random.Random(5)
    path = calibrated.with_name("small.int8.onnxruntime.onnx")
    for _ in range(3):
        process = start("build", calibrated, "--int8", "--backend", ORT, "--threads", "1")
        time.sleep(chance.uniform(0.8, 2.5))
        process.kill()
        process.communicate()
        if path.exists():
            assert_whole(path)
            path.unlink()
    assert_whole(built(calibrated, "int8", unchecked=True).path)


def test_two_builds_at_once_both_succeed(calibrated: Path) -> None:
    processes = [start("build", calibrated, "--int8", "--backend", ORT, "--threads", "1") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert_whole(calibrated.with_name("small.int8.onnxruntime.onnx"))
    assert not [name for name in names(calibrated.parent) if name.startswith(".")]


LIMITED = """
import resource, sys
from pathlib import Path
from edgex.build import BuildOptions, build
from edgex.errors import EdgexError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    build(BuildOptions(Path(sys.argv[2]), sys.argv[3], "onnxruntime", checked=12, threads=1))
except EdgexError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("precision", "bytes_"), [("fp32", 2000), ("int8", 2000), ("int8", 12000)], ids=["fp32", "int8", "int8-candidate"]
)
def test_a_full_disk_is_told_of_and_harms_nothing(calibrated: Path, precision: str, bytes_: int) -> None:
    """No file may grow further (the model has 9 KB, its INT8 graph 14): a disk or its temporary folder is full."""
    path = built(calibrated, precision, unchecked=True).path
    before = path.read_bytes(), sidecar(path).read_bytes(), names(path.parent)
    command = [sys.executable, "-c", LIMITED, str(bytes_), str(calibrated), precision]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == ""
    (sentence,) = done.stdout.splitlines()
    assert "Error expected " in sentence
    assert "export" not in sentence, "the model is not to blame"
    assert (path.read_bytes(), sidecar(path).read_bytes(), names(path.parent)) == before


# Other models, other backends


@pytest.mark.parametrize(("name", "checked"), [("faces", True), ("ocr-cls", False)])
def test_models_of_others_become_int8(tmp_path: Path, name: str, checked: bool) -> None:
    foreign = next(each for each in FOREIGN if each.name == name)
    path = Path(shutil.copy(foreign_model(foreign), tmp_path / f"{name}.onnx"))
    data = write_pictures(tmp_path / "frames", 32, 64)
    found = build(
        BuildOptions(
            *(path, "int8", ORT),
            data=str(data),
            frames=24 if checked else 4,
            checked=8,
            unchecked=not checked,
            threads=1,
            input=foreign.options,
        )
    )
    manifest = assert_whole(found.path)
    assert manifest.image is not None
    assert manifest.image.layout == ("NHWC" if name == "faces" else "NCHW")
    assert (manifest.fidelity is None) == (not checked)
    tensor = manifest.image.tensor(picture(0, 64))
    answers = []
    for engine in (path, found.path):
        network = open_network(engine, "auto" if engine == found.path else ORT, 1)
        answers.append(network.run(tensor))
        network.close()
    for key, wanted in answers[0].items():
        assert np.isfinite(answers[1][key]).all()
        assert np.abs(answers[1][key] - wanted).max() <= max(0.5 * np.abs(wanted).max(), 0.05), key


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_plan_of_tensorrt_rtx_is_built_without_a_gpu(calibrated: Path, precision: str) -> None:
    if reason := tensorrt_api.reason_missing_build("tensorrt-rtx"):
        pytest.skip(reason)
    found = built(calibrated, precision, "tensorrt-rtx", unchecked=True)
    assert found.path == calibrated.with_name(f"small.{precision}.tensorrt-rtx.engine")
    manifest = assert_whole(found.path)
    assert sum(counts.get(precision, 0) for counts in manifest.achieved.values()) > 0
    if reason_missing("tensorrt-rtx"):
        assert "the engine was not run here" in manifest.warnings[-1]
