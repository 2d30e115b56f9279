"""How far a figure of two runs may differ by chance: the bootstrap over rounds, which are drawn anew in either report.

A round holds what happened in a stretch of time, so what lasts for seconds counts as noise, as it should. What changed
on the machine between the two reports is not in it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from edgex.report import Paced, Run

BLOCKS = 10  # a run of fewer rounds is cut into so many stretches of time at least, as neighbouring samples are alike
_MOST_DRAWS, _LEAST_DRAWS, _WORK = 4000, 400, 40_000_000  # fewer draws of a longer run: samples times draws
_LEAST = 1e-9  # stands for 0 in a quotient

Drawn = Callable[[Run, Any], Any]  # the figure of each draw; a figure of the run as it is comes first


def noise_of_percentile(old: Run, new: Run, percent: float) -> float:
    """Return how far the 95 % interval of new / old of a percentile reaches from it."""
    return _of_ratio(old, new, lambda run, draw: _percentiles(run, percent, draw))


def noise_of_rate(old: Run, new: Run) -> float:
    """Return how far the 95 % interval of new / old of pictures per second reaches from it."""
    return _of_ratio(old, new, _rates)


def noise_of_missed(old: Run, new: Run) -> float:
    """Return how far the 95 % interval of new - old of the share of frames missed reaches from it, of paced runs."""
    then, now = _both(old, new, _missed)
    return _reach(now - then)


def missed_share(paced: Paced) -> float:
    """Return the share of the frames due that were late, dropped or given up; 0 where none was due."""
    return (paced.due - paced.done + paced.late) / max(1, paced.due)


def _of_ratio(old: Run, new: Run, drawn: Drawn) -> float:
    then, now = _both(old, new, drawn)
    return _reach(np.maximum(now, _LEAST) / np.maximum(then, _LEAST))


def _both(old: Run, new: Run, drawn: Drawn) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)  # so that the same two reports always give the same verdict
    then, now = drawn(old, draw), drawn(new, draw)
    shared = min(len(then), len(now))
    return then[:shared], now[:shared]


def _reach(values: Any) -> float:
    """Return how far the middle 95 % of values reach from the first one, which is that of the runs as they are."""
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return max(float(high - values[0]), float(values[0] - low), 0.0)


def blocks(run: Run) -> list[Any]:
    """Return the indices of the samples of each round, or stretch of one, in order of time: int [n] each."""
    starts = np.array(run.starts_ms)
    rounds = [np.arange(begin, end) for begin, end in pairwise((*run.rounds, len(starts)))]
    pieces = -(-BLOCKS // max(1, len(rounds)))
    ordered = (each[np.argsort(starts[each], kind="stable")] for each in rounds)
    return [piece for each in ordered for piece in np.array_split(each, pieces) if len(piece)]


def _weights(run: Run, count: int, draw: Any) -> Any:
    """Return how often each block is drawn, the run as it is first: int64 [draws + 1, blocks]."""
    draws = max(_LEAST_DRAWS, min(_MOST_DRAWS, _WORK // len(run.samples_ms)))
    drawn = draw.integers(count, size=(draws, count))
    weights = np.apply_along_axis(np.bincount, 1, drawn, minlength=count)
    return np.concatenate((np.ones((1, count), np.int64), weights))


def _percentiles(run: Run, percent: float, draw: Any) -> Any:
    """Return a percentile of all samples of the blocks in each draw."""
    samples, found = np.array(run.samples_ms), blocks(run)
    owner = np.empty(len(samples), np.int64)
    for number, block in enumerate(found):
        owner[block] = number
    order = np.argsort(samples, kind="stable")
    samples, owner = samples[order], owner[order]
    drawn = []
    for weights in _weights(run, len(found), draw):
        reached = np.cumsum(weights[owner])  # the k-th of the samples drawn is the first that this goes beyond k at
        drawn.append(samples[np.searchsorted(reached, percent / 100 * (reached[-1] - 1), side="right")])
    return np.array(drawn)


def _rates(run: Run, draw: Any) -> Any:
    """Return samples per second of the blocks in each draw; what lies between the rounds is no part of it."""
    starts, samples, found = np.array(run.starts_ms), np.array(run.samples_ms), blocks(run)
    counts = np.array([len(block) for block in found])
    took = np.array([_took_ms(starts[block], samples[block]) for block in found])
    weights = _weights(run, len(found), draw)
    return 1000 * weights @ counts / np.maximum(weights @ took, _LEAST)


def _took_ms(starts: Any, samples: Any) -> float:
    """Return how long a block took: from its first sample to as long after the last one as they lie apart."""
    count = len(starts)
    return float(samples[0]) if count == 1 else float(starts[-1] - starts[0]) * count / (count - 1)


def _missed(run: Run, draw: Any) -> Any:
    """Return the share of the frames due that were late, or lie between those done, of the blocks in each draw."""
    assert run.paced is not None
    starts, late, found = np.array(run.starts_ms), np.array(run.samples_ms) > run.paced.deadline_ms, blocks(run)
    due = np.array([round(float(np.ptp(starts[block])) * run.paced.fps / 1000) + 1 for block in found])
    missed = np.array([int(late[block].sum()) - len(block) for block in found]) + due
    weights = _weights(run, len(found), draw)
    return weights @ missed / (weights @ due)
