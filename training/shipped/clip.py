"""Make the shipped clip: photographs of objects that training never saw, moving over a photograph.

Credits: edgex/models/CREDITS.md. STOCK is what `collect` wrote: python -m training.shipped.clip STOCK OUT.mp4
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.types import Image

WIDTH, HEIGHT, FPS, SECONDS = 1280, 720, 25, 10
BACKGROUND = "backgrounds/picosdeeuropa.jpg"
FLOWER = "datasets/images/flower.jpg"  # in scikit-learn; the one object that comes without alpha


@dataclass(frozen=True, slots=True)
class Actor:
    """An object that crosses the picture.

    Attributes
    ----------
    cutout : uint8 [h, w, 4], BGRA
    longest_px : length of its longer side
    enters_s, leaves_s : when it appears and when it is gone, in seconds
    path : its centre at entry and exit, (x, y) in pixels, a straight line between
    sway_px, turn_deg : height of a slow wave along the way; rotation over the whole way
    """

    cutout: NDArray[np.uint8]
    longest_px: float
    enters_s: float
    leaves_s: float
    path: tuple[tuple[float, float], tuple[float, float]]
    sway_px: float = 0.0
    turn_deg: float = 0.0


def actors(stock: Path) -> list[Actor]:
    """Return the cast, from the back to the front."""
    pelican = _read(stock / "cutouts/bird/pelican.png")
    heron = _read(stock / "cutouts/bird/heron_greatblue@heron_greatblue_flying.png")
    truck = _read(stock / "cutouts/vehicle/firetruck.png")
    flower = cut_out_flower()
    return [
        Actor(pelican, 480, 0.0, 4.6, ((-260, 250), (1560, 190)), sway_px=25),
        Actor(truck, 640, 2.6, 7.8, ((1620, 520), (-340, 540))),
        Actor(flower, 380, 5.8, 11.0, ((340, 980), (420, 150)), turn_deg=70),
        Actor(heron, 560, 6.4, 11.2, ((-300, 220), (1450, 300)), sway_px=20),
    ]


def frames(stock: Path) -> Iterator[Image]:
    """Draw the clip's frames, uint8 [HEIGHT, WIDTH, 3] BGR: a slow pan, and the actors before it."""
    background = _read(stock / BACKGROUND)[..., :3]
    scale = 1.15 * max(WIDTH / background.shape[1], HEIGHT / background.shape[0])
    background = cv2.resize(background, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    room = background.shape[1] - WIDTH
    top = (background.shape[0] - HEIGHT) // 2
    cast = actors(stock)
    for number in range(FPS * SECONDS):
        time_s = number / FPS
        left = room * time_s / SECONDS
        shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
        picture = cv2.warpAffine(background, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR).astype(np.float32)
        for actor in cast:
            if actor.enters_s <= time_s < actor.leaves_s:
                _draw(picture, actor, (time_s - actor.enters_s) / (actor.leaves_s - actor.enters_s))
        yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def write_clip(stock: Path, out: Path) -> None:
    """Write the clip as H.264."""
    with av.open(str(out), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "21", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for picture in frames(stock):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def _read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        sys.exit(f"clip: expected a picture in {path}, got none; run training.shipped.collect first")
    return np.asarray(image, np.uint8)


def cut_out_flower() -> NDArray[np.uint8]:
    """Cut the dahlia of scikit-learn's sample picture out of its background with GrabCut."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        sys.exit("clip: expected scikit-learn, got none; run: pip install scikit-learn")
    image = _read(Path(package.origin).parent / FLOWER)
    label = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    label[40:420, 150:520] = cv2.GC_PR_FGD
    cv2.circle(label, (320, 220), 100, int(cv2.GC_FGD), -1)
    cv2.grabCut(image, label, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 8, cv2.GC_INIT_WITH_MASK)
    inside = ((label == cv2.GC_FGD) | (label == cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(inside)
    largest = (parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8) * 255
    closed = cv2.morphologyEx(largest, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    alpha = cv2.GaussianBlur(cv2.erode(closed, np.ones((3, 3), np.uint8)), (0, 0), 1.2)
    rows, columns = np.nonzero(alpha > 127)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return np.dstack([image, alpha])[box].astype(np.uint8)


def _draw(picture: NDArray[np.float32], actor: Actor, share: float) -> None:
    """Blend an actor at `share` of its way over the picture, in place."""
    height, width = actor.cutout.shape[:2]
    scale = actor.longest_px / max(height, width)
    angle = np.deg2rad(actor.turn_deg * share)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    start, end = np.array(actor.path)
    centre = start + (end - start) * share + [0, actor.sway_px * np.sin(share * 4 * np.pi)]
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([turn, centre - turn @ [(width - 1) / 2, (height - 1) / 2]])
    alpha = actor.cutout[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([actor.cutout[..., :3] * alpha, alpha], axis=2)
    placed = cv2.warpAffine(premultiplied, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
    picture[:] = placed[..., :3] + picture * (1 - placed[..., 3:])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m training.shipped.clip STOCK OUT.mp4")
    write_clip(Path(sys.argv[1]), Path(sys.argv[2]))
