"""The documentation holds: each command it shows exists with those options, each link and figure file is there."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *ROOT.glob("[a-z]*/**/README.md")])
APPS = {"edgex": "edgex.cli", "python -m training": "training.__main__"}
PLANNED = "# planned"  # ends the line of a command that is designed and not there yet


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shown_commands(page: Path) -> list[tuple[str, str]]:
    """Return (program, rest of the line) for each command in the page's code blocks and code spans."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    found = []
    for line in lines:
        for program in APPS:
            match = re.match(rf"(?:\$ )?(?:[./\w-]*/)?{program} (.+)", line.strip())
            if match:
                found.append((program, match[1]))
    return found


def options_of(program: str) -> dict[str, set[str]]:
    """Return the options of every subcommand, as its own parser knows them."""
    app = importlib.import_module(APPS[program]).app
    group: Any = typer.main.get_command(app)
    known = {}
    for name, command in group.commands.items():
        spelled = [*command.params, *group.params]
        known[name] = {option for each in spelled for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    return known


COMMANDS = [
    pytest.param(program, rest, id=f"{name_of(page)}: {program} {rest}"[:100])
    for page in PAGES
    for program, rest in shown_commands(page)
]


@pytest.mark.parametrize(("program", "rest"), COMMANDS)
def test_a_command_that_is_shown_exists_with_its_options(program: str, rest: str) -> None:
    known = options_of(program)
    words = shlex.split(re.sub(r"[\[\]()|<>]", " ", rest), comments=True)
    name = next((word for word in words if not word.startswith("-")), None)
    if rest.rstrip().endswith(PLANNED):
        assert name not in known, "it exists now: take the mark away"
        return
    assert name is None or name in known, f"expected one of {sorted(known)}"
    accepted = known[name] if name else {"--help", "--version", "--debug"}
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert used - accepted == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_an_option_that_is_named_exists_in_some_command(page: Path) -> None:
    named = set(re.findall(r"(?<!`)`(--[a-z][a-z0-9-]*)", page.read_text(encoding="utf-8")))
    known = {option for program in APPS for options in options_of(program).values() for option in options}
    assert named - known == set()


def test_the_documentation_shows_commands_of_both_programs() -> None:
    assert {param.values[0] for param in COMMANDS} == set(APPS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"<img[^>]+src=\"([^\"]+)\"", text)]
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_figures_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"benchmarks/results/[\w./-]+\.json", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - targets == set()
