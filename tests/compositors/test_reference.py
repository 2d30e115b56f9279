"""The oracle against numbers worked out by hand, and against PyTorch's own upsampling."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgex import native
from edgex.compositors import open_compositor, reference
from edgex.compositors.heatmap import heat_table
from edgex.errors import UsageError
from edgex.types import STYLES, Drawing, FloatArray, Image, Style

BLUE, RED = (200, 0, 0), (0, 0, 200)


def f32(values: object) -> FloatArray:
    return np.array(values, np.float32)


def grey(level: int, height: int = 1, width: int = 1) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def composed(image: Image, logits: FloatArray, style: Style, opacity: float, colors: tuple = (BLUE,)) -> Image:
    drawing = Drawing(tuple(range(len(colors))), colors, style, opacity, fill=(10, 20, 30))
    return open_compositor("reference").compose(image, logits, drawing)


def test_samples_at_half_pixel_centres_with_clamped_edges() -> None:
    assert reference.sample(f32([[0, 4]]), 1, 4).tolist() == [[0.0, 1.0, 3.0, 4.0]]
    assert reference.sample(f32([[0], [4]]), 4, 1).ravel().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert reference.sample(f32([[1, 3], [5, 7]]), 1, 1).tolist() == [[4.0]]
    assert reference.sample(f32([[7]]), 2, 3).tolist() == [[7.0] * 3] * 2


@pytest.mark.parametrize(
    ("source", "target"), [((7, 9), (31, 64)), ((28, 28), (13, 5)), ((1, 6), (4, 6)), ((3, 3), (3, 3))]
)
def test_samples_as_training_does(source: tuple[int, int], target: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(0, 5, source).astype(np.float32)
    tensor = torch.from_numpy(logits.astype(np.float64))[None, None]
    expected = torch.nn.functional.interpolate(tensor, target, mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(reference.sample(logits, *target), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_minus_infinity_wherever_it_has_weight(bad: float) -> None:
    assert reference.sample(f32([[bad, 0]]), 1, 4).tolist() == [[-np.inf, -np.inf, -np.inf, 0.0]]
    same_size = reference.sample(f32([[1, 2, 3], [4, bad, 6], [7, 8, 9]]), 3, 3)
    assert same_size.tolist() == [[1, 2, 3], [4, -np.inf, 6], [7, 8, 9]]


def test_maximum_is_taken_after_sampling_and_before_the_sigmoid() -> None:
    logits = f32([[[-9, 9]], [[9, -9]]])  # both classes sample to 0 in the middle of three pixels: mask 0.5 there
    mask = composed(grey(0, 1, 3), logits, "overlay", 1.0, (BLUE, RED))
    assert mask[0, 1].tolist() == [100, 0, 0]  # sampling the maximum would give 9 and so 200
    assert mask[0, 0].tolist() == [0, 0, 200]
    assert mask[0, 2].tolist() == [200, 0, 0]


def test_first_class_in_order_of_display_wins_a_tie() -> None:
    logits = f32([[[50]], [[50]]])
    assert composed(grey(0), logits, "overlay", 1.0, (BLUE, RED))[0, 0].tolist() == [200, 0, 0]
    assert composed(grey(0), logits, "overlay", 1.0, (RED, BLUE))[0, 0].tolist() == [0, 0, 200]


def test_overlay_weighs_by_opacity_and_mask() -> None:
    assert composed(grey(100), f32([[[0]]]), "overlay", 0.5)[0, 0].tolist() == [125, 75, 75]


def test_rounds_half_up() -> None:
    assert composed(grey(0), f32([[[0]]]), "overlay", 1.0, ((1, 5, 2),))[0, 0].tolist() == [1, 3, 1]


def test_heat_is_linear_between_table_entries() -> None:
    table = heat_table().astype(float)
    expected = np.floor((table[127] + table[128]) / 2 + 0.5)
    assert composed(grey(9), f32([[[0]]]), "heat", 1.0)[0, 0].tolist() == expected.tolist()
    assert composed(grey(9), f32([[[99]]]), "heat", 1.0)[0, 0].tolist() == table[255].tolist()
    assert composed(grey(9), f32([[[-np.inf]]]), "heat", 1.0)[0, 0].tolist() == table[0].tolist()


def test_cutout_fills_what_the_mask_hides() -> None:
    assert composed(grey(100), f32([[[-999]]]), "cutout", 1.0)[0, 0].tolist() == [10, 20, 30]
    assert composed(grey(100), f32([[[999]]]), "cutout", 1.0)[0, 0].tolist() == [100, 100, 100]
    assert composed(grey(100), f32([[[0]]]), "cutout", 0.5)[0, 0].tolist() == [78, 80, 83]


def test_outline_runs_inside_the_mask_along_its_edge_and_not_along_the_picture() -> None:
    logits = np.full((1, 6, 7), -1, np.float32)
    logits[0, 1:, 1:6] = [[0, 2, 2, 2, 0]] * 5  # a logit of 0 is inside: mask 0.5
    line = composed(grey(0, 6, 7), logits, "outline", 1.0)[:, :, 0] // 200
    expected = ["0000000", "0111110", "0100010", "0100010", "0100010", "0100010"]
    assert ["".join(map(str, row)) for row in line] == expected


def test_outline_grows_with_the_picture() -> None:
    widths = [reference.line_width(height, 9999) for height in (1, 539, 540, 720, 899, 900, 1080, 2160)]
    assert widths == [1, 1, 2, 2, 2, 3, 3, 6]
    inside = np.zeros((3, 9), bool)
    inside[:, 2:] = True
    assert reference.on_line(inside, 3).tolist() == [[False] * 2 + [True] * 3 + [False] * 4] * 3
    assert not reference.on_line(np.ones((2, 2), bool), 3).any()


@pytest.mark.parametrize("style", STYLES)
def test_opacity_0_gives_the_picture_back_as_a_new_array(style: Style) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    drawn = composed(image, np.random.default_rng(1).normal(0, 4, (1, 2, 3)).astype(np.float32), style, 0.0)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_masks_are_per_class() -> None:
    logits = f32([[[0]], [[99]], [[-99]], [[np.nan]]])
    masks = open_compositor("reference").masks(logits, [1, 0, 3, 2], 2, 1)
    assert masks.tolist() == [[[255], [255]], [[128], [128]], [[0], [0]], [[0], [0]]]
    assert open_compositor("reference").masks(logits, [], 2, 1).shape == (0, 2, 1)


@pytest.mark.parametrize("name", ["reference", "opencv", "native"])
def test_wrong_requests_are_refused(name: str) -> None:
    if name == "native" and not native.available():
        pytest.skip(f"no CPU kernels: {native.reason_missing()}")
    compositor = open_compositor(name)
    with pytest.raises(UsageError, match="classes of 0 to 1, got 2"):
        compositor.compose(grey(0), np.zeros((2, 1, 1), np.float32), Drawing((2,), (BLUE,)))
    with pytest.raises(UsageError, match="classes of 0 to 1, got -1"):
        compositor.masks(np.zeros((2, 1, 1), np.float32), [-1], 1, 1)
    with pytest.raises(UsageError, match=r"\[C, h, w\], got \[1, 2, 1, 1\]"):
        compositor.masks(np.zeros((1, 2, 1, 1), np.float32), [0], 1, 1)
    with pytest.raises(UsageError, match="classes as a list of whole numbers, got None"):
        compositor.masks(np.zeros((2, 1, 1), np.float32), None, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"classes of 0 to 1, got 0\.5"):
        compositor.masks(np.zeros((2, 1, 1), np.float32), [0.5], 1, 1)  # type: ignore[list-item]
    for side in (0, -1, 2.0, None, 1 << 31):
        with pytest.raises(UsageError, match="a height and width of 1 to"):
            compositor.masks(np.zeros((2, 1, 1), np.float32), [0], side, 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="array of float32, got list"):
        compositor.masks([[[0.0]]], [0], 1, 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="uint8 picture"):
        compositor.compose(np.zeros((2, 2, 3), np.float32), np.zeros((2, 1, 1), np.float32), Drawing((0,), (BLUE,)))


def test_unknown_compositor_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a compositor of auto, cuda, native, opencv, reference, got 'gpu'"):
        open_compositor("gpu")


def test_oracle_stands_alone() -> None:
    code = "import sys, edgex.compositors.reference; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
