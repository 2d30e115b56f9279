"""Rounds over contenders that take from 1 ms to a second: raw times are kept, so that ratios have quartiles too.

Each round runs every contender once, in an order of its own, after a pause and untimed calls, as rounds.py does.
A ratio is taken within a round: the machine's slow seconds hit both sides of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.rounds import Contender, quartiles
from benchmarks.rounds import times_of as rounds_of
from edgex.latency import PAUSE_S

TIMED_NS = 20_000_000  # of timed calls, at least one; a round counts their median


@dataclass(frozen=True, slots=True)
class Rival:
    """One way to do the work.

    Attributes
    ----------
    call : what is timed
    pictures : how many pictures one call works on; times are given for one
    note : how it is used, in one line
    before : runs ahead of each round's calls, untimed, or None
    """

    call: Callable[[], Any]
    pictures: int = 1
    note: str = ""
    before: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ValueError(f"expected a call to work on at least 1 picture, got {self.pictures}; count them")


def times_of(rivals: Mapping[str, Rival], rounds: int) -> dict[str, list[float]]:
    """Run `rounds` rounds, at least 1, and one before them that is thrown away; return milliseconds for one picture."""
    contenders = {name: Contender(rival.call, rival.before) for name, rival in rivals.items()}
    spent = rounds_of(contenders, rounds, PAUSE_S, TIMED_NS)
    return {name: [ms / rivals[name].pictures for ms in times] for name, times in spent.items()}


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Return the median and both quartiles of of / to, round by round."""
    lower, median, upper = np.percentile(np.asarray(of) / np.asarray(to), (25, 50, 75))
    return {"median": round(float(median), 4), "lower": round(float(lower), 4), "upper": round(float(upper), 4)}


def table_of(rivals: Mapping[str, Rival], spent: Mapping[str, list[float]], base: str) -> dict[str, dict[str, Any]]:
    """Return one row for each contender: its times, its note, and its time over that of `base`, round by round."""
    return {
        name: {**quartiles(times), "over_base": ratio(times, spent[base]), "note": rivals[name].note}
        for name, times in spent.items()
    }


def with_threads(rivals: Mapping[str, Rival], set_threads: Callable[[], object]) -> dict[str, Rival]:
    """Return the contenders, each of which sets the number of threads ahead of its calls."""
    return {name: replace(rival, before=set_threads) for name, rival in rivals.items()}
