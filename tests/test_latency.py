"""Times side by side: turns are taken, what warms up is not counted, and the median is told in milliseconds."""

from __future__ import annotations

import itertools
import time

from edgex.latency import WARM_UP, side_by_side


def test_turns_are_taken() -> None:
    log: list[str] = []
    found = side_by_side({"a": lambda: log.append("a"), "b": lambda: log.append("b")}, rounds=3, calls=4)
    turns = [(name, len(list(calls))) for name, calls in itertools.groupby(log)]
    assert turns == [("a", WARM_UP + 4), ("b", WARM_UP + 4)] * 3
    assert set(found) == {"a", "b"}
    assert min(found.values()) >= 0.0


def test_calls_that_warm_up_are_not_counted() -> None:
    calls = itertools.count()

    def slow_at_last() -> None:
        if next(calls) % (WARM_UP + 1) == WARM_UP:
            time.sleep(0.004)

    assert side_by_side({"one": slow_at_last}, rounds=3, calls=1)["one"] >= 4.0


def test_the_median_is_told() -> None:
    calls = itertools.count()

    def often_slow() -> None:
        if next(calls) % (WARM_UP + 5) >= WARM_UP + 2:  # three of five
            time.sleep(0.004)

    assert side_by_side({"one": often_slow}, rounds=2, calls=5)["one"] >= 4.0


def test_nothing_to_time() -> None:
    assert side_by_side({}) == {}
