"""The schema of a bench report, for machines and for readers, both written from the dataclasses that read a report.

    python -m scripts.bench_schema

writes docs/bench-schema.json (JSON Schema, draft 2020-12) and docs/bench-schema.md.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from edgex import report
from edgex.report.fields import annotations_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
KINDS: tuple[Any, ...] = (
    *(report.BenchReport, report.Run, report.Distribution, report.Warmup, report.Paced, report.Slo, report.Trial),
    *(report.Ratio, report.Telemetry, report.Series, report.Counter),
)
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}
_PAGE = """# The schema of a bench report

`edgex bench --json REPORT.json` writes one JSON object of the schema `{schema}`.
[bench-schema.json](bench-schema.json) says the same as JSON Schema (draft 2020-12), for machines.

The schema has a version, and what reads a report refuses every other one.
Every field below is always there; what is not known is `null`, or empty.
Times are in milliseconds unless a name ends otherwise, and no number is NaN or infinite.
From Python, `edgex.report.read_report(path)` reads and checks a report.
What no schema can say is checked there too, such as that a distribution counts its samples.

Both files are written from the dataclasses that read a report, by `python -m scripts.bench_schema`.
"""


def json_schema() -> dict[str, Any]:
    """Return the schema as JSON Schema."""
    first = _object(report.BenchReport)
    first["properties"]["schema"] = {"const": report.SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": report.SCHEMA,
        **first,
        "$defs": {kind.__name__: _object(kind) for kind in KINDS[1:]},
    }


def page() -> str:
    """Return the page for readers, one table for each kind of object."""
    return "\n".join((_PAGE.format(schema=report.SCHEMA), *(_table(kind) for kind in KINDS)))


def _object(kind: Any) -> dict[str, Any]:
    fields = {name: _kind(hint) for name, hint in annotations_of(kind).items()}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _kind(hint: Any) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/$defs/{getattr(hint, '__name__', '')}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_kind(inner[0]), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _kind(inner[0])}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is not None:
        return {"type": "object", "additionalProperties": _kind(inner[1])}
    return {} if hint is Any else {"type": _PLAIN[hint]}


def _table(kind: Any) -> str:
    meanings = _meanings(kind)
    rows = "\n".join(f"| `{name}` | {_words(hint)} | {meanings[name]} |" for name, hint in annotations_of(kind).items())
    summary = " ".join(kind.__doc__.partition("Attributes")[0].split())
    return f"## {kind.__name__}\n\n{summary}\n\n| field | type | meaning |\n|---|---|---|\n{rows}\n"


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        name = getattr(hint, "__name__", "")
        return f"[{name}](#{name.lower()})"
    if origin in (Union, types.UnionType):
        return f"{_words(inner[0])} or null"
    if origin is tuple:
        return f"list of {_words(inner[0])}"
    if origin is Literal:
        return " or ".join(f'"{each}"' for each in inner)
    if origin is not None:
        return f"object of {_words(inner[1])}"
    return "anything" if hint is Any else _PLAIN[hint]


def _meanings(kind: Any) -> dict[str, str]:
    """Return what the docstring says of each field, as it reads in JSON."""
    return {name: meaning.replace("|", "\\|").replace("None", "null") for name, meaning in _lines(kind.__doc__)}


def _lines(text: str) -> Iterator[tuple[str, str]]:
    attributes = text.partition("----------\n")[2]
    for entry in re.split(r"\n {4}(?=\S)", f"\n{attributes}"):
        names, colon, meaning = entry.partition(" : ")
        if colon:
            yield names, " ".join(meaning.split())


def main() -> None:
    """Write both files."""
    (DOCS / "bench-schema.json").write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
    (DOCS / "bench-schema.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
