"""Which images make up which batch: a function of (seed, epoch) alone, the same for one process or several."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np

from edgex.errors import EdgexError, UsageError


class GlobalBatches:
    """Batches of one epoch, each process taking its share of every global batch.

    Parameters
    ----------
    count : number of images; an incomplete last batch is left out, unless it is the only one
    batch : images a step, over all processes
    seed : of the order
    rank, world : this process, of how many
    most_steps : cut the epoch short, or None
    """

    def __init__(self, count: int, batch: int, seed: int, rank: int, world: int, most_steps: int | None = None) -> None:
        if count < 1:
            raise EdgexError("expected images in the split train, got none; add some or split again")
        self.batch = min(batch, count - count % world)
        if self.batch < world or self.batch % world:
            raise UsageError(
                f"expected a batch that {world} processes can share of {count} images, got {batch}; "
                f"set --batch to a multiple of {world}"
            )
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.steps = min(count // self.batch, most_steps or count)
        self._epoch, self._done = 0, 0

    def start(self, epoch: int, done: int) -> None:
        """Choose the epoch, and how many of its batches a resumed run has had already."""
        self._epoch, self._done = epoch, done

    def __len__(self) -> int:
        return self.steps - self._done

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self._epoch]).permutation(self.count)
        for step in range(self._done, self.steps):
            whole = order[step * self.batch : (step + 1) * self.batch]
            yield whole[self.rank :: self.world].tolist()


def cpu_workers() -> int:
    """Number of reading processes: one a core, four at most; none on one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores == 1 else min(4, cores)


def ignore_interrupt(_worker: int) -> None:
    """Leave Ctrl-C to the training process, which then saves; its readers must live until it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
