"""Settings that a page sends: JSON objects with known keys, held against the View's own rules."""

from __future__ import annotations

import json
from typing import Any

from edgex.errors import UsageError
from edgex.view import LiveView, View

LARGEST_BYTES = 4096
_KEYS = ("classes", "top", "threshold", "style", "opacity", "hidden")


def apply(message: str | bytes, view: LiveView) -> View:
    """Change the view as a message says, all of it or nothing, and return the new one.

    Parameters
    ----------
    message : a JSON object with some of top, threshold, style, opacity, hidden (class names) and classes (class
        names, or null for those that the classifier predicts); at most 4096 bytes
    view : what to change

    Raises
    ------
    UsageError
        If the message is anything else, or a value is out of its range.
    UnknownClassError
        If a name is not a label.
    """
    size = len(message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message)
    if size > LARGEST_BYTES:
        raise UsageError(f"expected settings of at most {LARGEST_BYTES} bytes, got {size}; send fewer at a time")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        raise UsageError('expected settings as a JSON object such as {"top": 3}, got none; mend it') from None
    if not isinstance(fields, dict) or not fields:
        raise UsageError('expected settings as a JSON object such as {"top": 3}, got something else; send an object')
    unknown = sorted(set(fields) - set(_KEYS))
    if unknown:
        raise UsageError(f"expected settings among {', '.join(_KEYS)}, got {unknown[0][:40]!r}; leave it out")
    if "top" in fields:
        fields["top"] = _top(fields["top"], len(view.labels))
    if "hidden" in fields:
        fields["hidden"] = frozenset(_names("hidden", fields["hidden"]))
    if fields.get("classes") is not None:
        fields["classes"] = _names("classes", fields["classes"])
    return view.change(**fields)


def describe(view: View) -> dict[str, Any]:
    """Return a View in JSON types, in the words that `apply` takes."""
    return {
        "classes": None if view.classes is None else list(view.classes),
        "top": view.top,
        "threshold": view.threshold,
        "style": view.style,
        "opacity": view.opacity,
        "hidden": sorted(view.hidden),
    }


def _top(value: Any, most: int) -> Any:
    if isinstance(value, int) and value > most:
        raise UsageError(f"expected at most {most} classes to show, as many as the model has, got more; ask for fewer")
    return value


def _names(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"expected {key} as a list of class names, got something else; send a list")
    return tuple(value)
