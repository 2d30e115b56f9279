"""`verify` from frames to figures and picture, on tiny bundles and on the shipped one with damaged weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgex.engines import open_network
from edgex.errors import ModelError, SinkError, UsageError
from edgex.explain import shipped_bundle, shipped_clip
from edgex.fidelity import FrameFidelity, shortfalls
from edgex.fidelity_picture import (
    BOTH,
    GAP_PX,
    HEADER_PX,
    ONLY_CANDIDATE,
    ONLY_REFERENCE,
    OPACITY,
    PANEL_PX,
    caption,
    verify,
    worst_frames_picture,
)
from edgex.frames import read_frames
from edgex.image_input import image_input
from edgex.onnx_file import read_onnx
from edgex.types import Frame
from tests.bundles import patched_picture, write_bundle
from tests.test_fidelity import changed, foreign, opened


def patches(count: int = 8, height: int = 60, width: int = 90) -> list[Frame]:
    """Return frames of a coloured left half, each paler than the one before and with a brighter right edge."""
    frames = []
    for i in range(count):
        picture = patched_picture(height, width, ("red", "green", "blue")[i % 3])
        pale = (picture * (1 - i / 20) + 128 * (i / 20)).astype(np.uint8)
        pale[:, -20:] = 30 * i
        frames.append(Frame(pale, 7 * i, i, f"frame-{i}"))
    return frames


def painted(grey: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.rint(grey + OPACITY * (np.array(color, np.float32) - grey))


def test_three_panels_say_who_shows_what() -> None:
    picture = np.full((40, 80, 3), 100, np.uint8)
    ours, theirs = np.zeros((40, 80), bool), np.zeros((40, 80), np.uint8)
    ours[:, :40] = True
    theirs[:, 20:60] = 255
    theirs[:, 60:] = 127  # below the threshold: in no colour where the two are compared
    sheet = worst_frames_picture([(picture, ours, theirs, "one"), (picture[:20], ours[:20], theirs[:20], "two")])
    assert sheet.dtype == np.uint8
    assert sheet.shape == (3 * GAP_PX + 2 * HEADER_PX + 60, 4 * GAP_PX + 240, 3)
    y, lefts = GAP_PX + HEADER_PX + 20, [GAP_PX + column * (80 + GAP_PX) for column in range(3)]
    bare = np.full(3, 100)
    reference, candidate, difference = ([sheet[y, left + x] for x in (10, 30, 50, 70)] for left in lefts)
    orange, blue = painted(100, ONLY_REFERENCE), painted(100, ONLY_CANDIDATE)
    np.testing.assert_array_equal(reference, [orange, orange, bare, bare])
    np.testing.assert_array_equal(candidate[:3], [bare, blue, blue])
    np.testing.assert_array_equal(difference, [orange, painted(100, BOTH), blue, bare])
    header = sheet[GAP_PX : GAP_PX + HEADER_PX, lefts[0] : lefts[0] + 80]
    assert (header == np.array(ONLY_REFERENCE)).all(axis=2).any()
    assert (header > 200).all(axis=2).any()  # letters


def test_a_sheet_needs_frames_and_masks_of_their_size() -> None:
    picture, mask = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), bool)
    with pytest.raises(UsageError, match="at least one frame"):
        worst_frames_picture([])
    with pytest.raises(UsageError, match=r"bool or uint8 \[8, 9\], got bool \[9, 8\]"):
        worst_frames_picture([(picture, mask, mask.T, "")])
    with pytest.raises(UsageError, match=r"got float64 \[8, 9\]"):
        worst_frames_picture([(picture, mask * 1.0, mask, "")])


def test_a_caption_says_name_overlap_and_classes() -> None:
    assert caption(FrameFidelity(3, "frame-3", iou=0.4567, classes=("bird", "fish"))) == "frame-3: IoU 0.46, bird, fish"
    assert caption(FrameFidelity(3, "x", agrees=False)) == "x: no mask, other top class, no class"


@pytest.mark.parametrize("height", [60, 1])
def test_verify_writes_the_worst_frames(bundle: Path, tmp_path: Path, height: int) -> None:
    other = changed(bundle, tmp_path / "b.onnx", (4.0, -3.0, 0.0))
    target, observed = tmp_path / "out" / "worst.png", []
    target.parent.mkdir()
    frames = patches(8, height)
    fidelity = verify(
        opened(bundle), opened(other), iter(frames), image_input(read_onnx(bundle)), None, target, observed.append
    )
    assert observed == list(range(1, 9))
    assert fidelity.frames == 8
    assert shortfalls(fidelity)
    assert [path.name for path in target.parent.iterdir()] == ["worst.png"]
    sheet = cv2.imread(str(target))
    panel = round(height * PANEL_PX / 90)
    assert sheet.shape == (6 * GAP_PX + 5 * (HEADER_PX + panel), 4 * GAP_PX + 3 * PANEL_PX, 3)
    weight = OPACITY / (1 + np.exp(2))  # a tiny bundle's logit of grey is -2
    for index, frame in enumerate(fidelity.worst):
        middle = GAP_PX + index * (HEADER_PX + panel + GAP_PX) + HEADER_PX + panel // 2
        grey = 30 * int(frame.name.removeprefix("frame-"))
        expected = grey + weight * (np.array(ONLY_REFERENCE) - grey)
        np.testing.assert_allclose(sheet[middle, GAP_PX + PANEL_PX - 1], expected, atol=2)
    again = verify(opened(bundle), opened(other), frames, image_input(read_onnx(bundle)))
    assert again == fidelity


def test_what_fails_leaves_no_picture(bundle: Path, tmp_path: Path) -> None:
    image, target = image_input(read_onnx(bundle)), tmp_path / "out" / "worst.png"
    target.parent.mkdir()
    broken = opened(changed(bundle, tmp_path / "b.onnx", np.nan))
    with pytest.raises(ModelError, match="for frame-0, got NaN"):
        verify(opened(bundle), broken, patches(), image, None, target)
    assert verify(opened(bundle), opened(bundle), [], image, None, target).frames == 0
    assert list(target.parent.iterdir()) == []
    read: list[int] = []
    with pytest.raises(SinkError, match=r"expected a picture ending in \.bmp"):
        verify(
            opened(bundle), opened(bundle), (read.append(1) or f for f in patches()), image, None, tmp_path / "x.txt"
        )
    with pytest.raises(SinkError, match="expected a folder"):
        verify(opened(bundle), opened(bundle), patches(), image, None, tmp_path / "no" / "x.png")
    assert read == []  # said before a frame is read


def test_a_model_without_masks_has_figures_and_no_picture(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.onnx")
    from edgex.input_options import InputOptions

    image = image_input(read_onnx(path), InputOptions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    a, b = opened(path), opened(foreign(tmp_path / "b.onnx", 1.001))
    fidelity = verify(a, b, patches(), image)
    assert fidelity.top1_agreement == 1.0
    assert shortfalls(fidelity) == ()
    with pytest.raises(UsageError, match="expected an Explainer for a picture of masks"):
        verify(a, b, patches(), image, None, tmp_path / "x.png")


def test_the_shipped_model_with_coarser_weights_is_found_out(tmp_path: Path) -> None:
    model = onnx.load(shipped_bundle())
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            step = np.abs(values).max() / 127  # one scale a tensor: what INT8 must not do to a depthwise layer
            tensor.CopyFrom(numpy_helper.from_array((np.round(values / step) * step).astype(values.dtype), tensor.name))
    onnx.save(model, tmp_path / "coarse.onnx")
    a, b = (open_network(path, "onnxruntime") for path in (shipped_bundle(), tmp_path / "coarse.onnx"))
    image, frames = image_input(read_onnx(shipped_bundle())), read_frames(shipped_clip(), 10)
    fidelity = verify(a, b, frames, image, None, tmp_path / "worst.png")
    assert fidelity.frames_with_mask >= 5
    assert fidelity.mask_iou_mean is not None
    assert fidelity.mask_iou_mean < 0.9
    assert any("mask IoU" in line for line in shortfalls(fidelity))
    assert cv2.imread(str(tmp_path / "worst.png")).shape[1] == 3 * PANEL_PX + 4 * GAP_PX
    same = verify(a, a, frames, image)
    assert (same.mask_iou_mean, same.top1_agreement, same.score_drop_mean) == (1.0, 1.0, 0.0)
    assert shortfalls(same) == ()


def test_a_bundle_without_a_shown_class_is_drawn_bare(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "a.onnx")
    grey = [Frame(np.full((40, 50, 3), 128, np.uint8), 0, 0, "grey")]
    network = opened(path)
    fidelity = verify(network, network, grey, image_input(read_onnx(path)), None, tmp_path / "worst.png")
    assert fidelity.frames_without_class == 1
    sheet = cv2.imread(str(tmp_path / "worst.png"))
    assert (sheet[GAP_PX + HEADER_PX + 10, GAP_PX + 10] == 128).all()
