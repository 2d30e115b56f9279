"""Dataclasses held to their own annotations, and read from JSON by them: what is wrong is named by its place.

The annotations of a report are its schema: these two functions are all that reads or checks one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from edgex.errors import EdgexError
from edgex.types import is_number, is_whole

_TELLS = 60  # characters of a wrong value that a message repeats


class ReportError(EdgexError):
    """A report cannot be read, or contradicts itself."""


def refuse(where: str, expected: str, got: object) -> ReportError:
    """Return the error of a field, to be raised: its place, what it should be and what it is."""
    shown = repr(got)
    shown = shown if len(shown) <= _TELLS else f"{shown[:_TELLS]}..."
    return ReportError(f"expected {where} to be {expected}, got {shown}; take a report that edgex bench wrote")


def check_fields(instance: Any) -> None:
    """Raise ReportError unless every field of a dataclass is what its annotation says."""
    owner: Any = type(instance)
    for name, kind in annotations_of(owner).items():
        _check(getattr(instance, name), kind, f"{owner.__name__}.{name}")


def decode(tree: Any, kind: Any, where: str) -> Any:
    """Return what JSON says, as `kind`.

    Parameters
    ----------
    tree : as `json.loads` gives it
    kind : an annotation made of str, bool, int, float, Any, Literal, X | None, tuple[X, ...], Mapping[str, X] and
        dataclasses of these
    where : place of `tree` in the whole, for the message

    Raises
    ------
    ReportError
        If it is not so; the message names the place. Fields that are missing or not known are refused, too.
    """
    if dataclasses.is_dataclass(kind):
        return _decode_fields(tree, kind, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if tree is None else decode(tree, inner[0], where)
    if origin is tuple:
        if not isinstance(tree, list):
            raise refuse(where, "a list", tree)
        return tuple(decode(value, inner[0], f"{where}[{place}]") for place, value in enumerate(tree))
    if origin is not None and origin is not Literal:
        if not isinstance(tree, dict):
            raise refuse(where, "an object", tree)
        return {name: decode(value, inner[1], f"{where}.{name}") for name, value in tree.items()}
    _check(tree, kind, where)
    return tree


@cache
def annotations_of(kind: type[Any]) -> Mapping[str, Any]:
    """Return the annotations of a dataclass by field, as objects."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _decode_fields(tree: Any, kind: Any, where: str) -> Any:
    if not isinstance(tree, dict):
        raise refuse(where, "an object", tree)
    hints = annotations_of(kind)
    prefix = f"{where}." if where else ""
    for name in hints:
        if name not in tree:
            raise ReportError(f"expected {prefix}{name} in the report, got none; take a report that edgex bench wrote")
    for name in tree:
        if name not in hints:
            raise refuse(f"{prefix}{name}"[:_TELLS], "absent, as the schema has no such field", tree[name])
    return kind(**{name: decode(tree[name], hint, f"{prefix}{name}") for name, hint in hints.items()})


def _check(value: Any, kind: Any, where: str) -> None:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is not None:
            _check(value, inner[0], where)
    elif origin is tuple:
        if not isinstance(value, tuple):
            raise refuse(where, "a tuple", value)
        for place, each in enumerate(value):
            _check(each, inner[0], f"{where}[{place}]" if inner[0] is not float else where)
    elif origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise refuse(where, " or ".join(inner), value)
    elif origin is not None:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise refuse(where, "an object with names as keys", value)
        for name, each in value.items():
            _check(each, inner[1], f"{where}.{name}")
    elif not _is(value, kind):
        raise refuse(where, _WORDS.get(kind, kind.__name__ if isinstance(kind, type) else "plain JSON"), value)


_WORDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a finite number"}


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return is_json(value)
    if kind is float:
        return is_number(value)
    if kind is int:
        return isinstance(value, int) and is_whole(value)
    return isinstance(value, kind)


def is_json(value: Any) -> bool:
    """Tell whether a value is the same after it was written as JSON and read again: lists, no tuples; no NaN."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_json(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    return value is None or isinstance(value, (str, bool)) or is_number(value)
