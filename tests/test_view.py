"""What is shown and how: what is refused, and that a change holds as a whole or not at all."""

from __future__ import annotations

import pytest

from edgex.errors import UnknownClassError, UsageError
from edgex.view import LiveView, View


@pytest.mark.parametrize(
    "fields",
    [
        {"style": "neon"},
        {"opacity": 1.5},
        {"opacity": float("nan")},
        {"opacity": "1"},
        {"threshold": -0.1},
        {"threshold": None},
        {"top": 0},
        {"top": 1.5},
        {"top": True},
    ],
)
def test_what_is_out_of_range_is_refused(fields: dict) -> None:
    with pytest.raises(UsageError, match="expected"):
        View(**fields)


def test_a_change_replaces_some_fields() -> None:
    live = LiveView(View(top=2), ["red", "green"])
    changed = live.change(style="heat", hidden=frozenset({"red"}))
    assert changed is live.current
    assert changed == View(top=2, style="heat", hidden=frozenset({"red"}))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"style": "heat", "opacity": 2.0}, UsageError),
        ({"style": "heat", "hidden": frozenset({"blau"})}, UnknownClassError),
        ({"style": "heat", "classes": ("blau",)}, UnknownClassError),
    ],
)
def test_a_change_that_is_refused_changes_nothing(fields: dict, error: type[Exception]) -> None:
    live = LiveView(View(), ["red", "green"])
    with pytest.raises(error):
        live.change(**fields)
    assert live.current == View()


def test_an_unknown_class_is_refused_from_the_start() -> None:
    with pytest.raises(UnknownClassError, match="did you mean green"):
        LiveView(View(classes=("gren",)), ["red", "green"])
