"""Calibration: real frames through the FP32 model, the same text for the same frames, and refusals in one sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from edgex.calibrate import CalibrateOptions, calibrate, model_digest, with_outputs
from edgex.calibration import Calibration, calibration_path, read_calibration, rounded
from edgex.errors import EdgexError, ModelError, SourceError, UsageError
from edgex.frames import read_frames
from edgex.graph import prepare
from edgex.image_input import image_input
from edgex.onnx_file import read_onnx
from tests.bundles import write_bundle
from tests.engines.built import write_quantised
from tests.small_networks import write_pictures, write_small


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small(tmp_path / "small.onnx")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "frames")


def calibrated(model: Path, data: Path, **fields: object) -> Calibration:
    return calibrate(CalibrateOptions(model, str(data), **{"threads": 1, **fields}))[0]  # type: ignore[arg-type]


def test_ranges_and_means_are_those_of_the_model_s_own_tensors(model: Path, pictures: Path) -> None:
    found = calibrated(model, pictures, method="minmax", held_back=False)
    image = image_input(read_onnx(model))
    names = ["stem.a", "down.a", "shrink0.y", "mask_logits"]
    session = onnxruntime.InferenceSession(with_outputs(prepare(model), names).SerializeToString())
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for frame in read_frames(pictures, 99):
        for name, value in zip(names, session.run(names, {"image": image.tensor(frame.image)}), strict=True):
            values[name].append(value)
    for name in names:
        low, high = min(0.0, *(v.min() for v in values[name])), max(0.0, *(v.max() for v in values[name]))
        assert found.ranges[name] == pytest.approx((low, high), rel=1e-6), name
    means = np.concatenate(values["down.a"]).mean(axis=(0, 2, 3), dtype=np.float64)
    assert found.means["down.a"] == pytest.approx(means, rel=1e-5)
    assert "shrink0.y" not in found.means  # no convolution reads it
    assert found.ranges["image"] == (-1.0, 1.0)


def test_it_says_what_it_was_made_from(model: Path, pictures: Path) -> None:
    stages = []
    options = CalibrateOptions(model, str(pictures), frames=33, percentile=99.9, threads=1)
    found, warnings = calibrate(options, lambda *seen: stages.append(seen))
    assert warnings == ()
    assert (found.model, found.model_sha256, found.frames) == ("small.onnx", read_onnx(model).sha256, 33)
    assert (found.method, found.source, found.onnxruntime) == (
        "percentile 99.9",
        str(pictures),
        onnxruntime.__version__,
    )
    assert stages == [("calibrating", done, 33) for done in range(1, 34)]
    assert calibration_path(model) == model.parent / "small.calib.json"


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_the_same_frames_give_the_same_text(model: Path, pictures: Path, method: str) -> None:
    one, other = (calibrated(model, pictures, method=method, threads=threads) for threads in (None, 1))
    assert one.to_json() == other.to_json()
    assert one.digest() == other.digest()


def test_methods_differ_and_none_exceeds_minmax(model: Path, pictures: Path) -> None:
    found = {name: calibrated(model, pictures, method=name).ranges for name in ("minmax", "percentile", "entropy")}
    found["rough"] = calibrated(model, pictures, method="percentile", percentile=99.0).ranges
    for name, (low, high) in found["minmax"].items():
        for ranges in found.values():
            assert low <= ranges[name][0] <= ranges[name][1] <= high
    assert found["rough"]["stem.a"][1] < found["minmax"]["stem.a"][1]


def test_text_and_back(model: Path, pictures: Path, tmp_path: Path) -> None:
    found = dataclasses.replace(calibrated(model, pictures), sensitivity={"cpu: masks": {"up": 0.25}})
    path = tmp_path / "x.calib.json"
    path.write_text(found.to_json(), encoding="utf-8")
    assert read_calibration(path) == found
    assert read_calibration(path).to_json() == found.to_json()
    assert found.digest() == dataclasses.replace(found, source="elsewhere").digest()
    assert found.digest() != dataclasses.replace(found, ranges={**found.ranges, "image": (-1.0, 0.5)}).digest()


def test_held_back_frames_are_never_used(model: Path, pictures: Path) -> None:
    before = calibrated(model, pictures, frames=999)
    held_back = [frame.name for frame in read_frames(pictures, 999, part="held-back")]
    assert len(held_back) == 12
    for name in held_back:
        cv2.imwrite(str(pictures / f"{name}.png"), np.full((32, 32, 3), 255, np.uint8))
    assert calibrated(model, pictures, frames=999).to_json() == before.to_json()
    used = next(iter(read_frames(pictures, 1, part="calibration"))).name
    cv2.imwrite(str(pictures / f"{used}.png"), np.full((32, 32, 3), 255, np.uint8))
    assert calibrated(model, pictures, frames=999).to_json() != before.to_json()


def test_another_seed_draws_other_frames(model: Path, pictures: Path) -> None:
    found = [calibrated(model, pictures, frames=5, seed=seed).frames_sha256 for seed in (0, 1, 2)]
    assert len(set(found)) == 3


def test_few_frames_are_warned_of(model: Path, tmp_path: Path) -> None:
    few = write_pictures(tmp_path / "few", 36)
    found, (warning,) = calibrate(CalibrateOptions(model, str(few), threads=1))
    assert 20 < found.frames < 32
    assert f"at least 32 frames to calibrate with, got {found.frames}" in warning


def test_a_broken_picture_is_told_of_and_left_out(model: Path, pictures: Path) -> None:
    broken = next(iter(read_frames(pictures, 1, part="calibration"))).name
    (pictures / f"{broken}.png").write_bytes(b"no picture")
    found, warnings = calibrate(CalibrateOptions(model, str(pictures), threads=1))
    assert found.frames == 35
    assert [broken in warning for warning in warnings] == [True]


def test_no_frame_is_an_error(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for data in (empty, tmp_path / "nowhere"):
        with pytest.raises(SourceError, match="expected"):
            calibrated(model, data)
    for index in range(4):
        (empty / f"{index}.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="got none that can be read"):
        calibrated(model, empty)


def test_the_calibration_of_another_model_is_refused(model: Path, pictures: Path, tmp_path: Path) -> None:
    found = calibrated(model, pictures)
    other = write_small(tmp_path / "other.onnx", seed=1)
    found.require_model(model_digest(read_onnx(model)), model)
    with pytest.raises(ModelError, match=r"got one of small\.onnx .*run: edgex calibrate .*other\.onnx --data"):
        found.require_model(model_digest(read_onnx(other)), other)


def test_weights_beside_the_file_belong_to_the_model(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(onnx.load(model), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = model_digest(read_onnx(path))
    content = bytearray((folder / "weights.bin").read_bytes())
    content[5] ^= 1
    (folder / "weights.bin").write_bytes(content)
    assert model_digest(read_onnx(path)) != before


def test_a_quantised_model_is_refused(pictures: Path, tmp_path: Path) -> None:
    quantised = write_quantised(write_bundle(tmp_path / "tiny.onnx"), tmp_path / "q.onnx")
    with pytest.raises(ModelError, match="quantised already"):
        calibrated(quantised, pictures)


def test_a_model_that_says_nothing_of_its_input_asks_for_it(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--mean and --std"):
        calibrated(write_small(tmp_path / "plain.onnx", manifest=False), pictures)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"method": "best"}, "method"),
        ({"percentile": 50.0}, "percentile"),
        ({"percentile": 100.5}, "percentile"),
        ({"percentile": float("nan")}, "percentile"),
        ({"frames": 0}, "frame"),
    ],
)
def test_wrong_options_are_refused(fields: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        CalibrateOptions(Path("m.onnx"), "frames", **fields)  # type: ignore[arg-type]


def test_broken_texts_are_refused_in_one_sentence(model: Path, pictures: Path, tmp_path: Path) -> None:
    tree = json.loads(calibrated(model, pictures, frames=4).to_json())
    path = tmp_path / "broken.calib.json"
    changes: list[dict[str, object]] = [
        {"schema": 2},
        {"frames": 0},
        {"frames": "many"},
        {"ranges": {}},
        {"ranges": {"image": [0.5, 1.0]}},
        {"ranges": {"image": [-1.0]}},
        {"ranges": {"image": [-1.0, float("nan")]}},
        {"ranges": {"image": [-1.0, "1"]}},
        {"ranges": [1, 2]},
        {"ranges": {"image": 3}},
        {"means": {"image": [float("inf")]}},
        {"means": None},
        {"sensitivity": {"cpu": {"up": None}}},
        {"sensitivity": {"cpu": 3}},
        {"sensitivity": 3},
        {"image": None},
        {"image": {}},
        {"model": 3},
        {"seed": "no number"},
        {"surprise": 1},
    ]
    texts = [json.dumps({**tree, **change}) for change in changes]
    texts += ["", "{", "[]", "null", "3", '"x"', "[" * 100000, json.dumps(tree)[:-40], "\N{LATIN SMALL LETTER E}\0"]
    for text in texts:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ModelError) as refused:
            read_calibration(path)
        sentence = str(refused.value)
        assert sentence.startswith("expected"), text[:200]
        assert "calibrate again" in sentence or "build" in sentence, sentence
        assert "\n" not in sentence
        assert path.name in sentence


def test_unreadable_calibrations_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "latin.json", tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(EdgexError, match="expected"):
            read_calibration(path)


def test_numbers_keep_what_float32_holds() -> None:
    assert rounded(0.123456789) == 0.1234568
    assert rounded(float(np.float32(1 / 3))) == pytest.approx(1 / 3, rel=1e-6)
