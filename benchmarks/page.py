"""Tables of a report in a page of the documentation: each stands between `<!-- table: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLACE = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    head = list(header)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: str, texts: dict[str, str]) -> str:
    """Return the page with each table in its place; places without a table stay as they are."""

    def put(match: re.Match[str]) -> str:
        return f"{match[1]}{texts[match[2]]}\n{match[3]}" if match[2] in texts else match[0]

    return PLACE.sub(put, page)


def fill(page: Path, texts: dict[str, str]) -> None:
    """Put tables into their places in a page, and say which."""
    page.write_text(filled(page.read_text(encoding="utf-8"), texts), encoding="utf-8")
    print(f"filled: {', '.join(texts)}")


def versions(packages: Mapping[str, str | None]) -> str:
    """Return what is installed, in one line."""
    return ", ".join(f"{name} {number}" for name, number in packages.items() if number)


def software(about: Mapping[str, Any]) -> str:
    """Return the interpreter and the packages of a machine's description, in one line."""
    python = about["python"]
    named = python if "Python" in python else f"Python {python}"  # older reports hold the number alone
    return f"{named}, {versions(about['packages'])}"
