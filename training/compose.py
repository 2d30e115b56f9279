"""Compose multi-label scenes from RGBA cut-outs over photographs, in the layout of PASCAL VOC.

Split by identity: a cut-out or background that is used for training never appears in val or test. The extra split
`seen` shows the training identities over the test backgrounds, in scenes that training did not have.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgex.errors import DataError, EdgexError, UsageError
from training.scene import SceneStyle, make_scene
from training.staged import staged
from training.stock import Cutout, find_backgrounds, find_cutouts, identity_of, read_background, read_cutout
from training.voc_layout import write_scene, write_split_lists

SPLITS = ("train", "val", "test", "seen")


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """What is composed.

    Attributes
    ----------
    cutouts : folder of one folder per class, each with RGBA pictures. Pictures `NAME@a.png` and `NAME@b.png` show one
        identity, NAME, from two sides; any other picture is an identity of its own
    backgrounds : folder of photographs, at least 3; `NAME@a.jpg` as for cut-outs
    out : folder to write; must not exist yet
    scenes : number of scenes per split: train, val, test, seen
    seed : of every choice; the same seed gives the same bytes, whatever `workers` is
    val_share, test_share : shares of identities (per class) and of backgrounds, at least one each
    test_identities : identities and background names that must be in the test split
    workers : processes; 0 for as many as the machine has cores, 1 for the calling one alone
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
        if len(self.scenes) != len(SPLITS) or min(self.scenes) < 0 or self.scenes[0] == 0:
            raise UsageError(
                f"expected numbers of scenes for {', '.join(SPLITS)}, the first above 0, got {self.scenes}; mend them"
            )
        if self.seed < 0 or self.workers < 0:
            raise UsageError(
                f"expected a seed and workers of 0 or more, got {self.seed} and {self.workers}; correct them"
            )
        if not (0 < self.val_share and 0 < self.test_share and self.val_share + self.test_share < 1):
            raise UsageError(
                f"expected shares above 0 that leave something to train on, got {self.val_share} and {self.test_share}"
            )


@dataclass(frozen=True, slots=True)
class Stock:
    """What one split draws from: cut-outs, one list a class, and backgrounds."""

    cutouts: list[list[Cutout]]
    backgrounds: list[Path]


Job = tuple[ComposeOptions, list[str], Stock, Path, str, int]  # options, labels, stock, root, split, index


def compose(options: ComposeOptions, on_progress: Callable[[int, int], None] | None = None) -> dict[str, Stock]:
    """Write all scenes and return what each split drew from.

    Parameters
    ----------
    options : what is composed. Several workers start as new interpreters, so a script that calls this needs the usual
        `if __name__ == "__main__":`
    on_progress : called with (scenes done, scenes in all)

    Raises
    ------
    UsageError
        If the output exists, or no picture shows a test identity.
    DataError
        If pictures are missing or unreadable, or a class has too few identities to split.
    EdgexError
        If the output cannot be written, or a worker dies. Nothing is left then, nor after Ctrl-C.
    """
    if os.path.lexists(options.out):
        raise UsageError(f"expected a new folder, got {options.out}, which exists; remove it or choose another")
    labels, cutouts = find_cutouts(options.cutouts)
    backgrounds = find_backgrounds(options.backgrounds)
    stocks = split_stock(labels, cutouts, backgrounds, options)
    _read_all(cutouts, backgrounds)
    jobs = [(split, index) for split, count in zip(SPLITS, options.scenes, strict=True) for index in range(count)]
    with staged(options.out) as partial:
        try:
            partial.mkdir()
            (partial / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
            present: dict[tuple[str, int], tuple[int, ...]] = {}
            arguments = ((options, labels, stocks[split], partial, split, index) for split, index in jobs)
            with closing(_run(options.workers, arguments)) as done:
                for job, classes in zip(jobs, done, strict=True):
                    present[job] = classes
                    if on_progress:
                        on_progress(len(present), len(jobs))
            for split in SPLITS:
                names = {scene_name(s, i): classes for (s, i), classes in present.items() if s == split}
                write_split_lists(partial, split, names, labels)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return stocks


def scene_name(split: str, index: int) -> str:
    """Return a scene's name in the VOC layout, without suffix."""
    return f"{split}_{index:06d}"


def compose_one(job: Job) -> tuple[int, ...]:
    """Write one scene, which depends on the seed, its split and its index alone, and return the classes it shows."""
    options, labels, stock, root, split, index = job
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
    scene = make_scene(rng, stock.cutouts, stock.backgrounds, options.style)
    write_scene(root, scene_name(split, index), scene, labels)
    return tuple(sorted({placed.class_index for placed in scene.objects}))


def _run(workers: int, jobs: Iterable[Job]) -> Generator[tuple[int, ...], None, None]:
    if workers == 1:
        yield from map(compose_one, jobs)
        return
    # New interpreters: a fork would copy the locks that threads of OpenCV or of the progress bar hold, for ever.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers or None, context)
    try:
        with _interrupts_blocked():  # workers start here
            done = pool.map(compose_one, jobs, chunksize=16)
        yield from done
    except BrokenProcessPool as error:
        raise EdgexError(
            "expected workers that finish, got one that died, perhaps for lack of memory; ask for fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the chunks in work, so that nobody writes after the clean-up


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that start meanwhile inherit it for good: the parent alone takes Ctrl-C, at the latest at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_all(cutouts: list[list[Cutout]], backgrounds: list[Path]) -> None:
    """Read every picture once, before hours of work depend on it, and afresh: files may have changed."""
    read_cutout.cache_clear()
    read_background.cache_clear()
    for group in cutouts:
        for cutout in group:
            read_cutout(cutout.path)
    for path in backgrounds:
        read_background(path)


def split_stock(
    labels: list[str], cutouts: list[list[Cutout]], backgrounds: list[Path], options: ComposeOptions
) -> dict[str, Stock]:
    """Split identities, per class, and backgrounds over train, val and test; `seen` is train over test's backgrounds.

    Raises
    ------
    UsageError
        If no picture shows a test identity.
    DataError
        If there are too few identities.
    """
    known = {cutout.identity for group in cutouts for cutout in group} | {identity_of(path) for path in backgrounds}
    if unknown := sorted(set(options.test_identities) - known):
        raise UsageError(f"expected test identities that pictures show, got {', '.join(unknown)}; correct the names")
    rng = np.random.default_rng([options.seed, len(SPLITS)])
    parts: dict[str, list[list[Cutout]]] = {split: [] for split in ("train", "val", "test")}
    for label, group in zip(labels, cutouts, strict=True):
        where = split_names(sorted({cutout.identity for cutout in group}), options, rng, f"the class {label!r}")
        for split, lists in parts.items():
            lists.append([cutout for cutout in group if where[cutout.identity] == split])
    names = list(dict.fromkeys(identity_of(path) for path in backgrounds))
    where = split_names(names, options, rng, "the backgrounds")
    places = {split: [path for path in backgrounds if where[identity_of(path)] == split] for split in parts}
    stocks = {split: Stock(lists, places[split]) for split, lists in parts.items()}
    return {**stocks, "seen": Stock(parts["train"], places["test"])}


def split_names(names: list[str], options: ComposeOptions, rng: np.random.Generator, whose: str) -> dict[str, str]:
    """Assign each name to train, val or test, the forced ones first, at least one to each.

    Raises
    ------
    DataError
        If there are too few; the message says whose.
    """
    if len(names) < 3:
        raise DataError(f"expected at least 3 identities to split for {whose}, got {len(names)}; add pictures")
    forced = [name for name in names if name in options.test_identities]
    free = [names[k] for k in rng.permutation(len(names)) if names[k] not in options.test_identities]
    tests = max(0, max(1, round(options.test_share * len(names))) - len(forced))
    vals = max(1, round(options.val_share * len(names)))
    if tests + vals >= len(free):
        raise DataError(
            f"expected identities left to train on for {whose}, got {len(names)} with {len(forced)} asked for as test, "
            f"{tests} more for test and {vals} for val; add pictures or lower the shares"
        )
    where = dict.fromkeys(forced, "test")
    for position, name in enumerate(free):
        where[name] = "test" if position < tests else "val" if position < tests + vals else "train"
    return where
