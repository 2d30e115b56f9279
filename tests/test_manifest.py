"""The manifest: what goes in comes out, and nothing else goes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.errors import ModelError
from edgex.manifest import SCHEMA_VERSION, InputSpec, Manifest
from tests.bundles import tiny_manifest


def full() -> Manifest:
    spec = InputSpec(224, 320, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), color="BGR")
    return Manifest(
        labels=("dog", "Übergröße", "猫"),
        task="single-label",
        input=spec,
        explanandum="efficientnet_lite0",
        explainer="edge",
        training_data="scenes",
        evaluation={"c_IoU": 0.5},
        licence="Apache-2.0",
        calibration="frames.npz",
    )


@pytest.mark.parametrize("manifest", [full(), tiny_manifest()])
def test_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json())["schema"] == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("labels", []),
        ("labels", ["a", "a"]),
        ("labels", ["a", " "]),
        ("labels", ["a", 1]),
        ("labels", None),
        ("labels", "dog"),
        ("labels", {"dog": 0, "cat": 1}),
        ("labels", ["dog", "\ud800"]),
        ("labels", ["dog", "\x1b[2J"]),
        ("explanandum", 1),
        ("explainer", ["edge"]),
        ("training_data", {}),
        ("licence", False),
        ("calibration", 3),
        ("calibration", ""),
        ("calibration", "/etc/passwd"),
        ("calibration", "frames/../../frames.npz"),
        ("calibration", "..\\frames.npz"),
        ("calibration", "C:frames.npz"),
        ("calibration", "frames\0.npz"),
        ("evaluation", None),
        ("evaluation", [0.5]),
        ("evaluation", {"c_IoU": "0.5"}),
        ("evaluation", {"c_IoU": None}),
        ("evaluation", {"c_IoU": True}),
        ("evaluation", {"c_IoU": float("nan")}),
        ("evaluation", {"c_IoU": float("inf")}),
        ("evaluation", {"c_IoU": 10**400}),
        ("task", "regression"),
        ("task", ["multi-label"]),
        ("schema", 2),
        ("schema", True),
        ("unknown", 1),
        ("input", None),
        ("input.height", 0),
        ("input.height", 9000),
        ("input.height", 3.5),
        ("input.height", True),
        ("input.height", 10**400),
        ("input.width", "32"),
        ("input.mean", [0, 0]),
        ("input.mean", "123"),
        ("input.mean", [0, 0, 10**400]),
        ("input.mean", [0, 0, float("nan")]),
        ("input.mean", ["a", 0, 0]),
        ("input.std", [1, 1, 0]),
        ("input.std", [1, 1, -1]),
        ("input.color", "GRB"),
        ("input.resize", "letterbox"),
        ("input.unknown", 1),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_wrong_is_named(path: str, value: Any) -> None:
    tree = json.loads(full().to_json())
    *parents, key = path.split(".")
    place = tree
    for parent in parents:
        place = place[parent]
    place[key] = value
    with pytest.raises(ModelError, match=r"^expected .*, got .*; export the model again$"):
        Manifest.from_json(json.dumps(tree))


@pytest.mark.parametrize("path", ["labels", "task", "input", "input.height", "input.mean", "input.std"])
def test_what_is_missing_is_an_error(path: str) -> None:
    tree = json.loads(full().to_json())
    *parents, key = path.split(".")
    place = tree
    for parent in parents:
        place = place[parent]
    del place[key]
    with pytest.raises(ModelError, match=key):
        Manifest.from_json(json.dumps(tree))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"text"', "[" * 100_000, "{}"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"; export the model again$"):
        Manifest.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.sampled_from(["labels", "task", "input", "schema", "evaluation", "calibration", "height", "mean", "std"]), JSON
)
def test_no_value_of_json_does_worse_than_a_model_error(key: str, value: Any) -> None:
    tree = json.loads(full().to_json())
    (tree if key in tree else tree["input"])[key] = value
    try:
        manifest = Manifest.from_json(json.dumps(tree))
    except ModelError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest
