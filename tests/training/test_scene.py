"""One scene: the ground truth is what was drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.errors import DataError, UsageError
from tests.training.stocks import SIDE_PX, write_plain, write_square
from training.scene import SceneStyle, make_scene
from training.stock import Cutout

SIZE_PX = 64
# A square of SIDE_PX is drawn at SIDE_PX, upright, in its own colours, in a scene of its own.
EXACT = SceneStyle(SIZE_PX, (1, 1), (1,), 0, (0.5, 0.5), rotation_deg=0, lighting=0, void_px=0)
CROWDED = SceneStyle(SIZE_PX, (1, 1), (0, 0, 0, 1), 0, (0.7, 0.7), rotation_deg=0, lighting=0, void_px=0)
CROWDED_SIDE_PX = round(SIZE_PX * 0.7 / 1.45)  # four objects are drawn smaller than one


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[Cutout]], list[Path]]:
    """Four classes of one red square each, over blue."""
    root = tmp_path_factory.mktemp("stock")
    paths = [write_square(root / f"{name}.png", (0, 0, 255)) for name in "abcd"]
    cutouts = [[Cutout(path, index, path.stem)] for index, path in enumerate(paths)]
    return cutouts, [write_plain(root / "blue.png", (255, 0, 0))]


@pytest.mark.parametrize("seed", range(8))
def test_the_segmentation_is_exactly_the_drawn_square(stock: Any, seed: int) -> None:
    scene = make_scene(np.random.default_rng(seed), stock[0][:1], stock[1], EXACT)
    red = scene.image[..., 2] > 128
    assert np.array_equal(red, scene.image[..., 0] < 128)
    assert np.array_equal(scene.segmentation, red.astype(np.uint8))
    (placed,) = scene.objects
    rows, columns = np.nonzero(red)
    assert placed.box == (columns.min(), rows.min(), columns.max(), rows.max())
    assert rows.size == (placed.box[2] - placed.box[0] + 1) * (placed.box[3] - placed.box[1] + 1)
    assert placed.truncated == (rows.size < SIDE_PX**2)
    assert rows.size <= SIDE_PX**2
    assert not placed.occluded


def test_some_squares_are_whole_and_some_are_cut_by_the_border(stock: Any) -> None:
    scenes = [make_scene(np.random.default_rng(seed), stock[0][:1], stock[1], EXACT) for seed in range(40)]
    assert {scene.objects[0].truncated for scene in scenes} == {False, True}
    assert min((scene.segmentation == 1).sum() for scene in scenes) >= (SIDE_PX * 7 // 8) ** 2


@pytest.mark.parametrize("void_px", [1, 2, 5])
def test_the_void_border_is_as_wide_on_either_side_of_the_outline(stock: Any, void_px: int) -> None:
    style = replace(EXACT, void_px=void_px)
    scene = make_scene(np.random.default_rng(3), stock[0][2:3], stock[1], style)
    left, top, right, bottom = scene.objects[0].box
    expected = np.zeros_like(scene.segmentation)
    expected[max(top - void_px, 0) : bottom + 1 + void_px, max(left - void_px, 0) : right + 1 + void_px] = 255
    inner = [void_px if edge > 0 else 0 for edge in (top, left)]  # a square at the border has no outline there
    outer = [void_px if edge < SIZE_PX - 1 else 0 for edge in (bottom, right)]
    expected[top + inner[0] : bottom + 1 - outer[0], left + inner[1] : right + 1 - outer[1]] = 3
    assert np.array_equal(scene.segmentation, expected)


def visible_shares(stock: Any, style: SceneStyle) -> list[tuple[float, bool]]:
    """Return, for each object that the border does not cut, its visible share and whether it is marked occluded."""
    shares = []
    for seed in range(30):
        scene = make_scene(np.random.default_rng(seed), *stock, style)
        for placed in scene.objects:
            if not placed.truncated and len(scene.objects) == 4:
                area = int((scene.segmentation == placed.class_index + 1).sum())
                shares.append((area / CROWDED_SIDE_PX**2, placed.occluded))
    return shares


def test_enough_of_every_object_stays_visible(stock: Any) -> None:
    kept = visible_shares(stock, CROWDED)
    assert min(share for share, _ in kept) >= CROWDED.min_visible
    assert all(occluded == (share < 1) for share, occluded in kept)
    assert {occluded for _, occluded in kept} == {False, True}
    assert min(share for share, _ in visible_shares(stock, replace(CROWDED, min_visible=0.05))) < CROWDED.min_visible


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 4), rotation=st.sampled_from([0.0, 90.0]))
def test_boxes_and_classes_match_the_segmentation(stock: Any, seed: int, count: int, rotation: float) -> None:
    shares = tuple(float(number == count) for number in range(1, 5))
    style = replace(CROWDED, object_shares=shares, rotation_deg=rotation, lighting=0.25, scale=(0.2, 0.6))
    scene = make_scene(np.random.default_rng(seed), *stock, style)
    assert 1 <= len(scene.objects) <= count
    classes = [placed.class_index for placed in scene.objects]
    assert len(set(classes)) == len(classes)
    assert set(np.unique(scene.segmentation)) - {0} == {index + 1 for index in classes}
    for placed in scene.objects:
        rows, columns = np.nonzero(scene.segmentation == placed.class_index + 1)
        assert placed.box == (columns.min(), rows.min(), columns.max(), rows.max())


def test_the_shares_decide_how_many_objects_a_scene_has(stock: Any) -> None:
    small = replace(CROWDED, scale=(0.2, 0.2), object_shares=(1, 1, 1, 1))
    counts = {len(make_scene(np.random.default_rng(seed), *stock, small).objects) for seed in range(40)}
    assert counts == {1, 2, 3, 4}
    nothing = make_scene(np.random.default_rng(0), *stock, replace(small, empty_share=1))
    assert nothing.objects == ()
    assert not nothing.segmentation.any()


def test_a_scene_depends_on_its_generator_alone(stock: Any) -> None:
    style = replace(CROWDED, aspect=(0.6, 1.8), rotation_deg=25, lighting=0.25)
    one, again, other = (make_scene(np.random.default_rng(seed), *stock, style) for seed in (5, 5, 6))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.segmentation, again.segmentation)
    assert one.objects == again.objects
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)


def test_the_aspect_varies_and_the_area_stays(stock: Any) -> None:
    style = replace(EXACT, aspect=(0.5, 2))
    shapes = {make_scene(np.random.default_rng(seed), *stock, style).image.shape[:2] for seed in range(12)}
    assert len(shapes) > 6
    for height, width in shapes:
        assert 0.47 <= width / height <= 2.1
        assert height * width == pytest.approx(SIZE_PX**2, rel=0.03)


def test_lighting_changes_the_background_and_the_object(stock: Any) -> None:
    for value in (0, 1):
        spreads = []
        for lighting in (0, 0.6):
            scenes = [
                make_scene(np.random.default_rng(seed), stock[0][:1], stock[1], replace(EXACT, lighting=lighting))
                for seed in range(6)
            ]
            spreads.append(np.ptp([scene.image[scene.segmentation == value].mean() for scene in scenes]))
        assert spreads[0] < 5
        assert spreads[1] > 10


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 9), (9, 400)])
def test_a_background_smaller_than_the_scene_is_enlarged(stock: Any, tmp_path: Path, height: int, width: int) -> None:
    small = write_plain(tmp_path / "small.png", (255, 0, 0), height, width)
    scene = make_scene(np.random.default_rng(0), stock[0], [small], EXACT)
    assert scene.image.shape == (SIZE_PX, SIZE_PX, 3)
    assert scene.image[scene.segmentation == 0][:, 0].min() > 200


def test_a_cutout_that_went_bad_is_named(stock: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"bad\.png"):
        make_scene(np.random.default_rng(0), [[Cutout(bad, 0, "bad")]], stock[1], EXACT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_px": 16},
        {"aspect": (2.0, 1.0)},
        {"aspect": (float("nan"), 1.0)},
        {"scale": (0.0, 1.0)},
        {"scale": (0.9, 0.2)},
        {"object_shares": ()},
        {"object_shares": (0.0, 0.0)},
        {"object_shares": (0.5, -0.5)},
        {"object_shares": (float("nan"),)},
        {"empty_share": 1.5},
        {"lighting": 1.0},
        {"min_visible": 0.0},
        {"rotation_deg": -1.0},
        {"void_px": -1},
    ],
)
def test_a_style_that_cannot_be_drawn_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected .*, got .*; "):
        SceneStyle(**wrong)
