"""How quick and how current the live path is: frames/s and age at output, beside what each stage alone takes.

The shipped clip, 1280 x 720, as a file (as fast as it goes) and as a camera of 30 frames/s; to no sink, and to the web
viewer with one client, and with 20 of which one reads a byte a second, the clients in a process of their own. All cases
take turns in rounds, each round beside the stages alone; ages are pooled over all rounds but the first.
`benchmarks/live_tables.py` turns the JSON into the tables of docs/live.md.

Usage: python -m benchmarks.live [--engine FILE ...] [--threads 1 2 0] [--rounds 5] [--seconds 6] [--calm 10]
       python -m benchmarks.live --table      (prints the tables of the JSON, measures nothing)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import live_tables
from benchmarks.live_runs import Case, Row, calmest, run_case, summed_up
from benchmarks.live_scene import Clock, Scene, build_int8, open_scene, packages
from benchmarks.live_stages import READ, STREAM, Prepared, Took, alone, bounds_of, prepare, read_alone, timed
from benchmarks.rounds import describe_machine, load_average
from edgex.build_manifest import read_sidecar
from edgex.engines.choose import cpu_share
from edgex.engines.cpu import describe
from edgex.errors import EdgexError
from edgex.explain import Explainer, load, shipped_bundle
from edgex.pipeline import RunOptions
from edgex.view import View

VIEWERS = 20
MONITOR_EVERY, SMOOTH_S = 30, 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes
    ----------
    threads : CPU threads of the engine, 0 is the default of `edgex run`; each runs as file and as camera, to null sink
    rounds : of which one more is thrown away
    seconds : that a camera films
    calm_s : how long others are waited for before each run
    tries : so many runs a round at most, until others leave the machine alone; the calmest one counts
    """

    threads: tuple[int, ...] = (1, 2, 0)
    rounds: int = 5
    seconds: float = 6.0
    calm_s: float = 10.0
    tries: int = 3


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model loaded as `edgex run` loads it for a file, and for a live source; the same where threads are told."""

    file: Explainer
    live: Explainer

    @classmethod
    def of(cls, path: Path, threads: int, stack: ExitStack) -> Loaded:
        """Load a model; `threads` 0 is the default of `edgex run`."""
        shares = [cpu_share(threads or None, live) for live in (False, True)]
        return cls(*(stack.enter_context(load(path, threads=each.threads, streams=each.streams)) for each in shares))


def engine_name(explainer: Explainer, threads: int) -> str:
    """Return such as "int8 openvino, 2 threads"."""
    built = read_sidecar(explainer.engine.path)
    precision = "fp32" if built is None else built.precision
    return f"{precision} {explainer.engine.backend}, {threads or 'default'} thread{'s' * (threads != 1)}"


def cases_of(engines: Sequence[str]) -> list[Case]:
    """Return every case; only an engine with its default threads runs to viewers, monitored and smoothed."""
    found = [Case(f"{name}: file to null", name) for name in engines]
    found += [Case(f"{name}: camera to null", name, "camera") for name in engines]
    for name in engines:
        if not name.endswith("default threads"):
            continue
        file, none = f"{name}: file to null", f"{name}: file to 0 viewers"
        camera, live = f"{name}: camera to null", f"{name}: camera to 0 viewers"
        found += [
            Case(none, name, viewers=0, base=file),
            Case(f"{name}: file to 1 viewer", name, viewers=1, base=none),
            Case(f"{name}: file to {VIEWERS} viewers", name, viewers=VIEWERS - 1, slow=1, base=none),
            Case(f"{name}: file, monitored", name, options=RunOptions(monitor_every=MONITOR_EVERY), base=file),
            Case(f"{name}: file, smoothed", name, options=RunOptions(smooth_s=SMOOTH_S), base=file),
            Case(f"{name}: synthetic to null", name, "synthetic", base=camera),
            Case(live, name, "camera", viewers=0, base=camera),
            Case(f"{name}: camera to 1 viewer", name, "camera", viewers=1, base=live),
            Case(f"{name}: camera to {VIEWERS} viewers", name, "camera", viewers=VIEWERS - 1, slow=1, base=live),
        ]
    return found


def measure(explainers: Mapping[str, Loaded], scene: Scene, options: Options) -> dict[str, Any]:
    """Run all cases and all stages alone in interleaved rounds.

    Parameters
    ----------
    explainers : by the name of engine and threads, as loaded for files and for live sources
    scene : what is looked at
    options : how to measure
    """
    load_before, cases = load_average(), cases_of(list(explainers))
    prepared = {name: prepare(scene, loaded.live, View()) for name, loaded in explainers.items()}
    order = np.random.default_rng(0)
    rows: dict[str, list[Row]] = {case.name: [] for case in cases}
    stages: dict[str, list[dict[str, Took]]] = {name: [] for name in explainers}
    for number in range(options.rounds + 1):
        for name in order.permutation(list(explainers)):
            by_stage = partial(_stages_alone, scene, explainers[name], prepared[name])
            stages[name].append(calmest(by_stage, options.tries, options.calm_s))
        for index in order.permutation(len(cases)):
            case = cases[index]
            together = partial(_case, case, explainers[case.engine], scene, options.seconds)
            rows[case.name].append(calmest(together, options.tries, options.calm_s))
            row = rows[case.name][-1]
            print(f"round {number}, {case.name}: {row.fps:.1f} frames/s, others {row.others:.0%}", flush=True)
    kept = {name: given[1:] for name, given in rows.items()}
    took = {name: given[1:] for name, given in stages.items()}
    report: dict[str, Any] = {
        "machine": {**describe_machine(), "packages": packages(), "cpu_features": describe()},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "niceness": os.nice(0),
        "load_before": load_before,
        "load_after": load_average(),
        "stages": {name: _stages(given) for name, given in took.items()},
        "bounds": {
            name: _bounds(given, kept[f"{name}: file to null"], explainers[name].file.engine.streams)
            for name, given in took.items()
        },
        "cases": {case.name: summed_up(kept[case.name], kept[case.base] if case.base else None) for case in cases},
    }
    return {**report, "aims": live_tables.aims(report)}


def _case(case: Case, loaded: Loaded, scene: Scene, seconds: float) -> tuple[Row, float]:
    row = run_case(case, loaded.file if case.source == "file" else loaded.live, scene, seconds)
    return row, row.others


def _stages_alone(scene: Scene, loaded: Loaded, prepared: list[Prepared]) -> tuple[dict[str, Took], float]:
    before = Clock.now()
    took = {READ: read_alone(scene), **alone(loaded.live, View(), prepared)}
    took[STREAM] = timed(lambda each: loaded.file.infer(each.tensor), prepared)
    return took, Clock.now().others_since(before)


def _stages(rounds: list[dict[str, Took]]) -> dict[str, dict[str, float]]:
    """Return the medians over rounds of what each stage takes."""
    return {
        stage: {
            "wall_ms": _median([took[stage].wall_ms for took in rounds]),
            "cpu_ms": _median([took[stage].cpu_ms for took in rounds]),
        }
        for stage in rounds[0]
    }


def _bounds(rounds: list[dict[str, Took]], rows: list[Row], streams: int) -> dict[str, Any]:
    """Return the bounds that the stages' medians give; the shares are medians of the ratios within a round."""
    bounds = [bounds_of(took, streams) for took in rounds]
    pairs = list(zip(bounds, rows, strict=True))
    slowest = [bound.slowest for bound in bounds]
    return {
        "fps": _median([row.fps for row in rows]),
        "others_share": _median([row.others for row in rows]),
        "stage_fps": _median([bound.stage_fps for bound in bounds]),
        "slowest": max(set(slowest), key=slowest.count),
        "cores_fps": _median([bound.cores_fps for bound in bounds]),
        "sequential_fps": _median([bound.sequential_fps for bound in bounds]),
        "reached_of_stage": _median([row.fps / bound.stage_fps for bound, row in pairs]),
        "reached_of_cores": _median([row.fps / bound.cores_fps for bound, row in pairs]),
        "over_sequential": _median([row.fps / bound.sequential_fps for bound, row in pairs]),
    }


def _median(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


def save(report: Mapping[str, Any], output: Path) -> None:
    """Write the JSON, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partly = output.with_suffix(".part")
    partly.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(partly, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, action="append", help="engine beside FP32; built in INT8 if left out")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 0], help="of the engine; 0 is the default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="that a camera films in each case")
    parser.add_argument("--calm", type=float, default=10.0, help="seconds to wait for others before each run")
    parser.add_argument("--tries", type=int, default=3, help="runs of a case and round, until one is undisturbed")
    parser.add_argument("--output", type=Path, default=live_tables.INPUT)
    parser.add_argument("--table", action="store_true", help="print the tables of --output and measure nothing")
    given = parser.parse_args()
    if given.table:
        report = json.loads(given.output.read_text(encoding="utf-8"))
    else:
        options = Options(tuple(given.threads), given.rounds, given.seconds, given.calm, given.tries)
        with ExitStack() as stack:
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgex-live-")))
                explainers = {}
                for path in (shipped_bundle(), *(given.engine or [build_int8(folder)])):
                    for threads in options.threads:
                        loaded = Loaded.of(path, threads, stack)
                        explainers[engine_name(loaded.file, threads)] = loaded
                report = measure(explainers, open_scene(), options)
            except EdgexError as error:
                raise SystemExit(str(error)) from error
        save(report, given.output)
    print(*live_tables.tables(report).values(), sep="\n\n")


if __name__ == "__main__":
    main()
