"""Draw the good and the bad cases of the model card, with the clip's free pictures, none of which was trained on.

Scenes are composed as the test split is; the bundle explains them; the ones with the highest and the lowest soft IoU
are drawn: scene, truth (white; grey is left out), overlay of what the classifier predicts.

Usage: python -m benchmarks.cases STOCK OUT_FOLDER [BUNDLE]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import edgex
from edgex.types import Image
from training.scene import Scene, SceneStyle, make_scene
from training.shipped.clip import cut_out_flower
from training.stock import VOID, Cutout

CUTOUTS = {"bird": ("pelican", "heron_greatblue", "heron_greatblue@heron_greatblue_flying"), "vehicle": ("firetruck",)}
BACKGROUNDS = ("picosdeeuropa", "aitzgorri")
SCENES, SHOWN, SEED, TILE_PX = 60, 4, 7, 240


@dataclass(frozen=True, slots=True)
class Case:
    """One explained scene: how well its merged mask fits, soft IoU, and its picture, three tiles wide."""

    iou: float
    picture: Image


def explain_scene(explainer: edgex.Explainer, scene: Scene, labels: list[str]) -> Case | None:
    """Explain one scene by the labels that it has; None for a scene without objects."""
    present = sorted({labels[placed.class_index] for placed in scene.objects})
    if not present:
        return None
    explanation = explainer.explain(scene.image)
    mask = np.max([explanation.mask(label) for label in present], axis=0)
    valid = scene.segmentation != VOID
    truth = (scene.segmentation > 0) & valid
    iou = float(np.minimum(mask, truth)[valid].sum() / np.maximum(mask, truth)[valid].sum())
    predicted = [label for label, _ in explanation.top(3)]
    overlay = explanation.compose(predicted) if predicted else scene.image.copy()
    found = ", ".join(f"{label} {score:.2f}" for label, score in explanation.top(3)) or "nothing"
    tiles = [scene.image, _truth_picture(scene.segmentation), overlay]
    row = np.hstack([cv2.resize(tile, (TILE_PX * 4 // 3, TILE_PX), interpolation=cv2.INTER_AREA) for tile in tiles])
    strip = np.full((26, row.shape[1], 3), 32, np.uint8)
    text = f"IoU {iou:.2f}   {', '.join(present)} -> {found}"
    cv2.putText(strip, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return Case(iou, np.vstack([row, strip]).astype(np.uint8))


def draw_cases(stock: Path, out: Path, bundle: Path | None) -> list[Case]:
    """Write `out`/good.jpg and `out`/bad.jpg; return all cases, best first."""
    cut = out / "dahlia.png"
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(cut), cut_out_flower())
    labels = [*CUTOUTS, "flower"]
    cutouts = [
        [Cutout(stock / "cutouts" / label / f"{name}.png", index, name) for name in names]
        for index, (label, names) in enumerate(CUTOUTS.items())
    ]
    cutouts.append([Cutout(cut, len(CUTOUTS), "dahlia")])
    backgrounds = [stock / "backgrounds" / f"{name}.jpg" for name in BACKGROUNDS]
    with edgex.load(bundle) as explainer:
        scenes = (
            make_scene(np.random.default_rng([SEED, number]), cutouts, backgrounds, SceneStyle())
            for number in range(SCENES)
        )
        explained = (explain_scene(explainer, scene, labels) for scene in scenes)
        cases = sorted((case for case in explained if case), key=lambda case: -case.iou)
    cut.unlink()
    for name, chosen in (("good", cases[:SHOWN]), ("bad", cases[-SHOWN:])):
        sheet = np.vstack([case.picture for case in chosen])
        cv2.imwrite(str(out / f"{name}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return cases


def _truth_picture(segmentation: NDArray[np.uint8]) -> Image:
    grey = np.where(segmentation == VOID, 128, np.where(segmentation > 0, 255, 0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m benchmarks.cases STOCK OUT_FOLDER [BUNDLE]")
    found = draw_cases(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) == 4 else None)
    best, median, worst = (found[place].iou for place in (0, len(found) // 2, -1))
    print(f"{len(found)} scenes, soft IoU: best {best:.2f}, median {median:.2f}, worst {worst:.2f}")
