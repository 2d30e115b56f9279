"""ONNX files of other makers: read, given what they lack, and fed with pictures whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from edgex.errors import UsageError
from edgex.image_input import ImageInput, InputOptions, image_input, labels
from edgex.inspect import inspect
from edgex.onnx_file import read_onnx
from tests.foreign import FOREIGN, ForeignModel, foreign_model

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
EVERY = pytest.mark.parametrize("model", [pytest.param(model, id=model.name) for model in FOREIGN])
Run = Callable[[np.ndarray], list[Any]]


def opened(model: ForeignModel, options: InputOptions | None = None) -> tuple[ImageInput, Run]:
    """Return the input of a model, and ONNX Runtime on pictures."""
    path = foreign_model(model)
    image = image_input(read_onnx(path), options or model.options)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(picture: np.ndarray) -> list[Any]:
        answers: list[Any] = session.run(None, {image.name: image.fixed(image.tensor(picture))})
        return answers

    return image, run


def named(name: str) -> ForeignModel:
    return next(model for model in FOREIGN if model.name == name)


def written(text: str, height: int, width: int, at: tuple[int, int], scale: float = 1.0) -> np.ndarray:
    """Return black letters on white."""
    picture = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, (0, 0, 0), 2)
    return picture


def page() -> np.ndarray:
    picture = np.full((640, 480, 3), 255, np.uint8)
    for line, row in enumerate(range(60, 620, 40)):
        text = ("The quick brown fox jumps", "over the lazy dog while", "nobody is looking at it")[line % 3]
        cv2.putText(picture, text, (20, row), cv2.FONT_HERSHEY_DUPLEX, 0.9, (0, 0, 0), 2)
    return picture


@EVERY
def test_a_foreign_file_is_inspected(model: ForeignModel) -> None:
    found = inspect(foreign_model(model))
    assert (found.kind, found.manifest, found.file.sha256) == ("onnx", None, model.sha256)
    assert found.missing


@EVERY
@pytest.mark.parametrize("lacking", ["mean", "std", "size"])
def test_what_it_lacks_is_asked_for_by_the_option_s_name(model: ForeignModel, lacking: str) -> None:
    file = read_onnx(foreign_model(model))
    options = dataclasses.replace(model.options, **{lacking: None})
    if getattr(model.options, lacking) is None:
        assert image_input(file, options) == image_input(file, model.options)
        return
    with pytest.raises(UsageError, match=f"--{lacking}"):
        image_input(file, options)


@EVERY
@pytest.mark.parametrize("shape", [(480, 640), (31, 17)])
def test_a_picture_of_any_size_goes_through(model: ForeignModel, shape: tuple[int, int]) -> None:
    _, run = opened(model)
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for answer in run(picture):
        assert answer.size > 0
        assert np.isfinite(answer).all()


@EVERY
def test_the_input_survives_json(model: ForeignModel) -> None:
    image = image_input(read_onnx(foreign_model(model)), model.options)
    assert ImageInput.from_json(image.to_json()) == image


def test_text_is_found_where_it_stands() -> None:
    _, run = opened(named("ocr-det"))
    rows, columns = np.nonzero(run(written("quick fox", 320, 480, (30, 100)))[0][0, 0] > 0.3)
    assert 60 < rows.min() < rows.max() < 120
    assert 20 < columns.min() < columns.max() < 240


def test_a_line_upside_down_is_told() -> None:
    model = named("ocr-cls")
    _, run = opened(model)
    line = written("quick fox", 48, 192, (8, 34))
    names = labels(read_onnx(foreign_model(model)), model.options)
    assert names == ("0", "180")
    told = [names[int(run(np.ascontiguousarray(np.rot90(line, turns)))[0].argmax())] for turns in (0, 2)]
    assert told == ["0", "180"]


def test_a_page_on_its_side_is_told() -> None:
    _, run = opened(named("page-turn"))
    told = [int(run(np.ascontiguousarray(np.rot90(page(), turns)))[0].argmax()) for turns in range(4)]
    assert told == [0, 3, 2, 1]


@pytest.mark.parametrize("text", ["7k3p", "abc12"])
def test_letters_are_read_from_raw_pixels(text: str) -> None:
    _, run = opened(named("letters"))
    steps = run(written(text, 60, 160, (15, 42), 1.3))[0][:, 0].argmax(axis=1)
    read = [LETTERS[step] for step, before in zip(steps, [-1, *steps[:-1]], strict=True) if step != before]
    assert "".join(read).replace("_", "") == text.upper()


def test_a_network_with_the_channels_last_gets_them_last() -> None:
    image, run = opened(named("faces"))
    picture = np.zeros((48, 48, 3), np.uint8)
    picture[..., 2] = 255  # red
    tensor = image.tensor(picture)
    assert tensor.shape == (1, 48, 48, 3)
    np.testing.assert_allclose(tensor[0, 0, 0], [127.5 / 128, -127.5 / 128, -127.5 / 128], atol=1e-5)
    np.testing.assert_allclose(run(picture)[-1].sum(), 1.0, atol=1e-5)  # the softmax of face or none


def test_a_dynamic_size_is_the_one_that_is_given() -> None:
    model = named("detector")
    image, run = opened(model, dataclasses.replace(model.options, size=(192, 256)))
    assert image.tensor(page()).shape == (1, 3, 192, 256)
    boxes = sum((192 // stride) * (256 // stride) for stride in (8, 16, 32))
    assert run(page())[0].shape == (1, 22, boxes)
