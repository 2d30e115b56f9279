"""Compose multi-label scenes from RGBA cut-outs over photographs, in the layout of PASCAL VOC.

Split by identity: a cut-out or background that is used for training never appears in val or test. The extra split
`seen` shows the training identities over the test backgrounds, in scenes that training did not have.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgex.errors import SourceError, UsageError
from training.scene import Cutout, SceneStyle, make_scene, read_background, read_cutout
from training.voc_layout import write_scene, write_split_lists

SPLITS = ("train", "val", "test", "seen")
BACKGROUND_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """What is composed.

    Attributes
    ----------
    cutouts : folder of one folder per class, each with RGBA pictures. Pictures `NAME@a.png` and `NAME@b.png` show one
        identity, NAME, from two sides; any other picture is an identity of its own
    backgrounds : folder of photographs
    out : folder to write; must not exist yet
    scenes : number of scenes per split: train, val, test, seen
    seed : of every choice; the same seed gives the same bytes, whatever `workers` is
    val_share, test_share : shares of identities (per class) and of backgrounds, at least one each
    test_identities : identities and background names that must be in the test split
    workers : processes; 0 for as many as the machine has cores
    style : how scenes are drawn
    """

    cutouts: Path
    backgrounds: Path
    out: Path
    scenes: tuple[int, int, int, int] = (4000, 500, 500, 500)
    seed: int = 42
    val_share: float = 0.1
    test_share: float = 0.2
    test_identities: tuple[str, ...] = ()
    workers: int = 0
    style: SceneStyle = field(default_factory=SceneStyle)

    def __post_init__(self) -> None:
        if min(self.scenes) < 0 or self.scenes[0] == 0:
            raise UsageError(f"expected at least one training scene, got {self.scenes}; ask for more")
        if not (0 < self.val_share and 0 < self.test_share and self.val_share + self.test_share < 1):
            raise UsageError(
                f"expected shares above 0 that leave something to train on, got {self.val_share} and {self.test_share}"
            )


@dataclass(frozen=True, slots=True)
class Stock:
    """What one split draws from: cut-outs, one list a class, and backgrounds."""

    cutouts: list[list[Cutout]]
    backgrounds: list[Path]


def compose(options: ComposeOptions, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Stock]:
    """Write all scenes and return what each split drew from.

    Parameters
    ----------
    options : what is composed
    on_progress : called with (scenes done, scenes in all)

    Raises
    ------
    UsageError
        If the output folder exists.
    SourceError
        If pictures are missing or unreadable, or a class has too few identities to split.
    """
    if options.out.exists():
        raise UsageError(f"expected a new folder, got {options.out}, which exists; remove it or choose another")
    labels, cutouts = find_cutouts(options.cutouts)
    stocks = split_stock(cutouts, find_backgrounds(options.backgrounds), options)
    for stock in stocks.values():  # every picture once, before hours of work depend on it
        for cutout in sum(stock.cutouts, []):
            read_cutout(cutout.path)
        for path in stock.backgrounds:
            read_background(path)
    partial = options.out.with_name(options.out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    jobs = [(split, index) for split, count in zip(SPLITS, options.scenes, strict=True) for index in range(count)]
    try:
        partial.mkdir(parents=True)
        (partial / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        present: dict[tuple[str, int], tuple[int, ...]] = {}
        with ProcessPoolExecutor(options.workers or None) as pool:
            arguments = ((options, labels, stocks[split], partial, split, index) for split, index in jobs)
            for job, classes in zip(jobs, pool.map(_compose_one, *zip(*arguments, strict=True), chunksize=16), strict=True):
                present[job] = classes
                if on_progress:
                    on_progress(len(present), len(jobs))
        for split in SPLITS:
            names = {scene_name(s, i): classes for (s, i), classes in present.items() if s == split}
            write_split_lists(partial, split, names, labels)
        partial.rename(options.out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return stocks


def scene_name(split: str, index: int) -> str:
    """Return a scene's name in the VOC layout, without suffix."""
    return f"{split}_{index:06d}"


def _compose_one(options: ComposeOptions, labels: list[str], stock: Stock, root: Path, split: str, index: int) -> tuple[int, ...]:
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
    scene = make_scene(rng, stock.cutouts, stock.backgrounds, options.style)
    write_scene(root, scene_name(split, index), scene, labels)
    return tuple(sorted({placed.class_index for placed in scene.objects}))


def find_cutouts(folder: Path) -> tuple[list[str], list[list[Cutout]]]:
    """Return the labels (folder names, sorted) and each class's cut-outs."""
    labels = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not labels:
        raise SourceError(f"expected a folder with one folder of cut-outs per class in {folder}, got none; see docs/training.md")
    classes = [
        [Cutout(path, index, path.stem.split("@")[0]) for path in sorted((folder / label).glob("*.png"))]
        for index, label in enumerate(labels)
    ]
    return labels, classes


def find_backgrounds(folder: Path) -> list[Path]:
    """Return the photographs in a folder, sorted."""
    found = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in BACKGROUND_SUFFIXES] if folder.is_dir() else []
    if len(found) < 3:
        raise SourceError(f"expected at least 3 photographs in {folder}, one for each split, got {len(found)}; add some")
    return found


def split_stock(cutouts: list[list[Cutout]], backgrounds: list[Path], options: ComposeOptions) -> dict[str, Stock]:
    """Split identities, per class, and backgrounds over train, val and test; `seen` is train over the test backgrounds."""
    rng = np.random.default_rng([options.seed, len(SPLITS)])
    parts: dict[str, list[list[Cutout]]] = {split: [] for split in ("train", "val", "test")}
    for group in cutouts:
        where = split_names(sorted({cutout.identity for cutout in group}), options, rng)
        for split, lists in parts.items():
            lists.append([cutout for cutout in group if where[cutout.identity] == split])
    where = split_names([path.stem for path in backgrounds], options, rng)
    places = {split: [path for path in backgrounds if where[path.stem] == split] for split in parts}
    stocks = {split: Stock(lists, places[split]) for split, lists in parts.items()}
    return {**stocks, "seen": Stock(parts["train"], places["test"])}


def split_names(names: list[str], options: ComposeOptions, rng: np.random.Generator) -> dict[str, str]:
    """Assign each name to train, val or test, the forced ones first, at least one to each."""
    if len(names) < 3:
        raise SourceError(f"expected at least 3 identities to split, got {names}; add pictures or remove the class")
    forced = [name for name in names if name in options.test_identities]
    free = [names[k] for k in rng.permutation(len(names)) if names[k] not in options.test_identities]
    tests = max(0, max(1, round(options.test_share * len(names))) - len(forced))
    vals = max(1, round(options.val_share * len(names)))
    if tests + vals >= len(free):
        raise SourceError(f"expected identities left to train on, got {len(names)} with {len(forced)} kept for test; add some")
    where = dict.fromkeys(forced, "test")
    for position, name in enumerate(free):
        where[name] = "test" if position < tests else "val" if position < tests + vals else "train"
    return where
