"""Several sinks as one: who is finished and who is given up when one of them fails."""

from __future__ import annotations

from typing import Any

import pytest

from edgex.errors import SinkError
from edgex.outputs import Outputs
from tests.sinks.shots import shot


class Told:
    """Writes down what it is told, and fails where it is asked to."""

    def __init__(self, fails: str = "", wants_masks: bool = False) -> None:
        self.fails, self.wants_masks = fails, wants_masks
        self.told: list[str] = []

    def write(self, finished: Any) -> None:
        self._note("write")

    def close(self) -> None:
        self._note("close")

    def abort(self) -> None:
        self._note("abort")

    def _note(self, what: str) -> None:
        self.told.append(what)
        if self.fails == what:
            raise SinkError(f"expected to {what}, got a full disk; free some space")


def test_masks_are_wanted_when_one_sink_wants_them() -> None:
    assert Outputs([Told(), Told(wants_masks=True)]).wants_masks
    assert not Outputs([Told()]).wants_masks


def test_the_sink_that_cannot_write_is_given_up_and_the_others_finished() -> None:
    first, broken, last = sinks = [Told(), Told("write"), Told()]
    outputs = Outputs(sinks)
    with pytest.raises(SinkError, match="to write"):
        outputs.write(shot(0))
    outputs.end(keep=True)
    assert (first.told, broken.told, last.told) == (["write", "close"], ["write", "abort"], ["close"])


def test_the_sink_that_cannot_finish_is_given_up_and_the_others_finished() -> None:
    first, broken, last = sinks = [Told(), Told("close"), Told("close")]
    with pytest.raises(SinkError, match="to close"):
        Outputs(sinks).close()
    assert (first.told, broken.told, last.told) == (["close"], ["close", "abort"], ["close", "abort"])


def test_nothing_is_kept_where_that_is_said() -> None:
    sinks = [Told(), Told()]
    outputs = Outputs(sinks)
    outputs.write(shot(0))
    outputs.end(keep=False)
    assert [sink.told for sink in sinks] == [["write", "abort"]] * 2


def test_an_end_after_an_end_does_nothing() -> None:
    sink = Told("close")
    outputs = Outputs([sink])
    outputs.end(keep=True)
    outputs.end(keep=False)
    outputs.close()
    assert sink.told == ["close", "abort"]
