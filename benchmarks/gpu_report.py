"""Everything that only a GPU can show, in one command of at most eight minutes, as JSON and as docs/gpu.md.

Each step runs in a process of its own and saves as it goes; what this machine lacks, and what breaks, is named and the
next step goes on. Exit code 1: a check of parity or fidelity failed, or a step broke. --dry-run walks all steps without
a GPU. --only keeps what the other steps found under that name. --page fills the page from a JSON again.

Usage: python -m benchmarks.gpu_report [--name NAME] [--minutes 8] [--only STEP,STEP] [--dry-run] [--page JSON]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import page as gpu_page
from benchmarks.gpu.child import read, run_step, without_places, write
from benchmarks.gpu.steps import Step
from benchmarks.rounds import describe_machine, load_average
from edgex.doctor_gpu import read_gpus
from edgex.nvidia import loads

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
PACKAGES = ("torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
LEAST_S = 5.0  # a step that would get less is not begun
PAGE_S = 8.0  # of a run, kept for the page
STEPS = (
    Step("machine", 40.0, "benchmarks.gpu.machine"),
    Step("parity", 110.0, "benchmarks.gpu.parity"),
    Step("kernels", 130.0, "benchmarks.gpu.kernels"),
    Step("engines", 130.0, "benchmarks.gpu.engines"),
    Step("live", 60.0, "benchmarks.gpu.live"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """How a run goes: its name, most seconds, rounds of timing, whether without a GPU, where the JSON is written."""

    name: str
    seconds: float
    rounds: int
    dry_run: bool
    folder: Path


def measure(steps: Sequence[Step], options: Options, every: Sequence[Step] = STEPS) -> dict[str, Any]:
    """Run the steps one after the other, write the report after each, and return it.

    Parameters
    ----------
    steps : to run
    options : how
    every : all steps of a report; those that do not run now keep what an earlier run of that name found
    """
    until, path = time.monotonic() + options.seconds - PAGE_S, options.folder / f"gpu-{options.name}.json"
    options.folder.mkdir(parents=True, exist_ok=True)
    earlier = kept if (kept := read(path)).get("dry_run") == options.dry_run else {}
    chosen = {step.name for step in steps}
    report: dict[str, Any] = {
        **{"name": options.name, "dry_run": options.dry_run, "complete": False, "rounds": options.rounds},
        **{"machine": without_places(describe_machine(PACKAGES)), "load_before": load_average()},
        "steps": {
            step.name: {"state": "not reached", "why": "the run ended before it", "found": {}}
            if step.name in chosen
            else earlier.get("steps", {}).get(step.name, {"state": "not asked for", "found": {}})
            for step in every
        },
    }
    write(path, report)
    try:
        for number, step in enumerate(steps):
            shares = [each.budget_s for each in steps[number:]]
            left = until - time.monotonic()
            seconds = left * shares[0] / sum(shares)
            if seconds < LEAST_S:
                report["steps"][step.name]["why"] = f"{max(0.0, left):.0f} s were left for it and those behind it"
                continue
            print(f"{step.name}: at most {seconds:.0f} s", flush=True)
            _run(step, seconds, options, report, path)
    finally:  # also of an interruption
        failures = [f"{name}: {each}" for name, entry in report["steps"].items() for each in _failures(entry)]
        report |= {"failures": failures, "load_after": load_average()}
        report["complete"] = all(entry["state"] in ("done", "missing") for entry in report["steps"].values())
        write(path, report)
    return report


def _run(step: Step, seconds: float, options: Options, report: dict[str, Any], path: Path) -> None:
    def seen(entry: dict[str, Any]) -> None:
        report["steps"][step.name] = {**entry, "date": report["machine"]["date"]}
        write(path, report)

    scratch = Path(tempfile.mkdtemp(prefix="edgex-gpu-"))
    try:
        seen(run_step(step, scratch, seconds, options.rounds, options.dry_run, seen))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    entry = report["steps"][step.name]
    print(f"{step.name}: {entry['state']}{': ' if entry.get('why') else ''}{entry.get('why', '')}", flush=True)
    if entry.get("stderr"):
        print(entry["stderr"], file=sys.stderr, flush=True)


def _failures(entry: dict[str, Any]) -> list[str]:
    found = entry.get("found", {}).get("failures", [])
    return [str(each) for each in found] if isinstance(found, list) else [str(found)]


def exit_code(report: dict[str, Any]) -> int:
    """Return 1 where a check failed, or a step broke or was killed; what is missing or not reached does not count."""
    broke = [name for name, entry in report["steps"].items() if entry["state"] in ("error", "cut")]
    return 1 if report["failures"] or broke else 0


def make_page(report: dict[str, Any], folder: Path, steps: Sequence[Step] = STEPS) -> Path:
    """Fill docs/gpu.md, or where the JSON lies elsewhere a copy beside it; return its path."""
    page = DOCS / "gpu.md" if folder == RESULTS else folder / "gpu.md"
    if page.parent != DOCS:
        shutil.copyfile(DOCS / "gpu.md", page)
    gpu_page.fill_page(report, page, steps)
    return page


def default_name() -> str:
    """Return the GPU's name, as nvidia-smi has it, as a part of a file name."""
    gpus, _ = read_gpus(Path("/"))
    return re.sub(r"[^a-z0-9]+", "-", gpus[0].name.lower()).strip("-") if gpus else "unknown"


def chosen_steps(names: str | None) -> tuple[Step, ...]:
    """Return the steps that are asked for, in their order. Raises SystemExit for a name that is none."""
    asked = [name for name in (names or "").split(",") if name]
    known = [step.name for step in STEPS]
    if wrong := [name for name in asked if name not in known]:
        raise SystemExit(f"expected steps of {', '.join(known)}, got {wrong[0]}; name one of them")
    return tuple(step for step in STEPS if not asked or step.name in asked)


def _interrupted(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _page_again(given: argparse.Namespace) -> int:
    report = json.loads(given.page.read_text(encoding="utf-8"))
    folder = (given.output_dir or RESULTS).resolve()
    if report["dry_run"] and folder == RESULTS:
        raise SystemExit("expected a report of a GPU, got a dry run; give --output-dir another folder")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{make_page(report, folder).name} filled from {given.page.name}")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="of the machine, in the file's name; else the GPU's")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole run")
    parser.add_argument("--only", metavar="STEP,STEP", help=f"of {', '.join(step.name for step in STEPS)}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dry-run", action="store_true", help="walk all steps without a GPU; no figure is taken")
    parser.add_argument(
        "--output-dir", type=Path, help="of the JSON; the page too lies there unless it is the usual one"
    )
    parser.add_argument("--page", type=Path, metavar="JSON", help="fill the page from this report and measure nothing")
    given = parser.parse_args()
    if given.page is not None:
        raise SystemExit(_page_again(given))
    steps, folder = chosen_steps(given.only), (given.output_dir or RESULTS).resolve()
    if given.dry_run and folder == RESULTS:
        if given.output_dir is not None:
            raise SystemExit("expected a folder other than the results' for a dry run; give --output-dir another")
        folder = Path(tempfile.mkdtemp(prefix="edgex-gpu-dry-"))
    elif not given.dry_run and not loads("libcuda.so.1"):
        raise SystemExit("expected an NVIDIA GPU, got no driver (libcuda.so.1); walk the steps with --dry-run")
    name = given.name or ("dry-run" if given.dry_run else default_name())
    signal.signal(signal.SIGTERM, _interrupted)
    options = Options(name, 60.0 * given.minutes, given.rounds, given.dry_run, folder)
    code = 0
    try:
        code = exit_code(measure(steps, options))
    except KeyboardInterrupt:
        code = 130
    report = read(folder / f"gpu-{name}.json")
    print(gpu_page.summary(report))
    page = make_page(report, folder)
    print(f"written: {folder / f'gpu-{name}.json'}, {page}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
