"""Who may import whom: the rules of docs/architecture.md, read from the syntax of every file."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("sources", "engines", "compositors", "sinks")
OPTIONAL = (
    *("openvino", "tensorrt", "tensorrt_rtx", "pycuda"),
    *("starlette", "uvicorn", "websockets", "prometheus_client"),
)
HEAVY = ("torch", "tensorrt", "pycuda", "onnxruntime", "openvino", "cv2")
SHARED_WITH_TRAINING = ("types", "errors", "manifest", "optional", "preprocess", "frames")
BROUGHT = {"google": "onnx"}  # protobuf: onnx's own messages are decoded by it, so it comes with onnx
DYNAMIC = ("importlib.import_module", "import_module", "__import__")
WRITES = ("sys.stdout", "sys.stderr.write", "sys.__stdout__")
CLI = ("cli.py", "cli_bench.py", "cli_build.py", "cli_run.py", "cli_shared.py", "cli_summary.py")
CLI_TOP = ("typer", "rich", "edgex", "edgex.errors", "edgex.types", *(f"edgex.{name[:-3]}" for name in CLI[1:]))


@dataclass(frozen=True)
class Import:
    """One import: `module` as a dotted path, `line` in the file, `top` when it runs as the file is imported."""

    module: str
    line: int
    top: bool


def imports_of(path: Path) -> list[Import]:
    """Read every import of a file; `import_module("name")` and `__import__("name")` count too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), package, top=True))


def _walk(node: ast.AST, package: tuple[str, ...], top: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, top) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        # `from edgex import cuda` imports a module, `from edgex.types import Frame` a name: keep the path of a file.
        for alias in node.names:
            full = f"{origin}.{alias.name}"
            yield Import(full if _is_module(full) else origin, node.lineno, top)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC and isinstance(node.args[0], ast.Constant):
        yield Import(str(node.args[0].value), node.lineno, top)
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body
        )
        yield from _walk(child, package, top and not lazy)


def _is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def within(module: str, *roots: str) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def offences(paths: list[Path], allowed: Callable[[Import], bool]) -> list[str]:
    """Return one line for each import that is not allowed."""
    assert paths, "expected files to look at, got none"
    found = [(path.relative_to(ROOT), each) for path in paths for each in imports_of(path)]
    return [f"{path}:{each.line} imports {each.module}" for path, each in found if not allowed(each)]


def test_types_and_errors_need_the_standard_library_and_numpy_only() -> None:
    roots = (*sys.stdlib_module_names, "numpy", "edgex.errors", "edgex.types")
    assert offences([ROOT / "edgex/types.py", ROOT / "edgex/errors.py"], lambda each: within(each.module, *roots)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_sources_engines_compositors_and_sinks_never_import_one_another(kind: str) -> None:
    others = [f"edgex.{other}" for other in KINDS if other != kind]
    assert offences(files(f"edgex/{kind}"), lambda each: not within(each.module, *others)) == []


def test_the_pipeline_knows_only_their_protocols() -> None:
    protocols = [f"edgex.{kind}" for kind in KINDS]

    def is_protocol(each: Import) -> bool:
        return each.module in protocols or not within(each.module, *protocols)

    assert offences([ROOT / "edgex/pipeline.py"], is_protocol) == []


def test_the_command_line_imports_inside_each_command() -> None:
    roots = (*sys.stdlib_module_names, "typer", "rich")

    def is_light_or_late(each: Import) -> bool:
        return not each.top or each.module in CLI_TOP or within(each.module, *roots)

    assert offences([ROOT / "edgex" / name for name in CLI], is_light_or_late) == []


def test_the_library_never_prints() -> None:
    printing = []
    for path in files("edgex"):
        if path.parent == ROOT / "edgex" and path.name in CLI:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            prints = isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "rich.print", "typer.echo")
            if prints or (isinstance(node, ast.Attribute) and ast.unparse(node) in WRITES):
                printing.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert printing == []


def test_edgex_never_imports_training_or_benchmarks() -> None:
    outside = ("training", "benchmarks", "tests")
    assert offences(files("edgex"), lambda each: not within(each.module, *outside)) == []


def test_training_imports_only_the_shared_words_of_edgex() -> None:
    shared = [f"edgex.{name}" for name in SHARED_WITH_TRAINING]
    assert offences(files("training"), lambda each: each.module in shared or not within(each.module, "edgex")) == []


def test_torch_is_only_in_training() -> None:
    assert offences(files("edgex"), lambda each: not within(each.module, "torch", "torchvision")) == []


def test_optional_packages_come_only_through_require() -> None:
    assert offences(files("edgex"), lambda each: not within(each.module, *OPTIONAL)) == []


def test_require_is_called_only_inside_functions() -> None:
    at_import = []
    for path in files("edgex"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
            required = [ast.unparse(call) for call in calls if ast.unparse(call.func).endswith("require")]
            at_import += [f"{path.relative_to(ROOT)}: {call}" for call in required]
    assert at_import == []


@pytest.mark.parametrize(("folder", "extras"), [("edgex", []), ("training", ["train"])])
def test_every_package_that_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
    declared = {spelled(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}
    distributions = importlib.metadata.packages_distributions()

    def is_declared(each: Import) -> bool:
        top = each.module.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("edgex", "training"):
            return True
        return any(spelled(name) in declared for name in (BROUGHT.get(top), *distributions.get(top, [top])) if name)

    assert offences(files(folder), is_declared) == []


def spelled(distribution: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


PROBE = """
import json, sys
{statement}
heavy = {heavy!r}
print(json.dumps(sorted(name for name in heavy if name in sys.modules)))
"""
HELP = """
import io, contextlib
from edgex.cli import app
import typer.main
command = typer.main.get_command(app)
pages = [[]] + [[name] for name in getattr(command, "commands", {{}})]
assert len(pages) > 1, "expected subcommands"
for page in pages:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            command.main([*page, "--help"], prog_name="edgex")
        except SystemExit as stop:
            assert stop.code == 0, page
    assert "Usage" in text.getvalue(), page
"""


@pytest.mark.parametrize(
    "statement", ["import edgex", "import edgex.types, edgex.errors, edgex.manifest, edgex.preprocess", HELP.format()]
)
def test_importing_edgex_and_asking_for_help_stay_light(statement: str) -> None:
    program = PROBE.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_walk_sees_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").touch()
    (tmp_path / "pack/near.py").touch()
    code = "import a.b\nfrom . import near\nfrom pack.near import name\ndef f():\n    import late\n__import__('dyn')\n"
    (tmp_path / "pack/here.py").write_text(code)
    found = imports_of(tmp_path / "pack/here.py")
    assert [(one.module, one.top) for one in found] == [
        ("a.b", True),
        ("pack.near", True),
        ("pack.near", True),
        ("late", False),
        ("dyn", True),
    ]
