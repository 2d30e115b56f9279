"""The tree: what stands where, how long a file may be, and what no file may hold."""

from __future__ import annotations

import ast
import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {".ci", "benchmarks", "docs", "edgex", "kernels", "scripts", "tests", "training"}
FILES = {
    *(".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("constraints.txt", "pyproject.toml"),
}
LONGEST = 250  # lines of a Python file
LONGER: dict[str, str] = {  # path -> why it may be longer
    "training/loop.py": "options, steps, validation and checkpoints, to be read from top to bottom in one place",
}
MODELS_BYTES = 20_000_000
TEXT = {"", ".cpp", ".cu", ".css", ".h", ".html", ".js", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}


def listed(*folders: str, suffix: str = "") -> list[Path]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}") if path.is_file()]
    return sorted(path for path in paths if "__pycache__" not in path.parts)


def code() -> list[Path]:
    return listed("edgex", "training", "benchmarks", "scripts", suffix=".py")


def test_the_top_level_is_the_design_s() -> None:
    patterns = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line[:1] not in ("", "#")]
    names = {path.name for path in ROOT.iterdir() if not any(fnmatch.fnmatch(path.name, one) for one in patterns)}
    assert names - {".git"} == FOLDERS | FILES


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in code()])
def test_a_file_says_why_it_exists_and_ends_in_time(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "expected a docstring first that says why this file exists"
    lines = len(text.splitlines())
    if str(path.relative_to(ROOT)) not in LONGER:
        assert lines <= LONGEST, "expected a shorter file; split it by reason to exist"


def test_the_exceptions_are_still_needed() -> None:
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in LONGER}
    assert {name for name, length in lengths.items() if length <= LONGEST} == set()


def test_no_file_names_a_place_of_one_machine() -> None:
    places = [f"/{name}/" for name in ("work", "root", "home", "Users")]
    found = []
    for path in [*listed(*FOLDERS), *(ROOT / name for name in FILES)]:
        if path.suffix not in TEXT:
            continue
        forbidden = places if path.is_relative_to(ROOT / "tests") else [*places, "/tmp/"]
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(ROOT)} holds {place}" for place in forbidden if place in text]
    assert found == []


def test_what_ships_with_the_package_stays_small() -> None:
    sizes = {path.name: path.stat().st_size for path in listed("edgex/models")}
    assert sum(sizes.values()) <= MODELS_BYTES, sizes
