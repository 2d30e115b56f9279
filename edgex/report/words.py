"""What a report says in sentences, the same in every form: what a figure holds, how it was measured, what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgex.bench.samples import FORMULA
from edgex.report import BenchReport, Mode, Run
from edgex.report.noise import missed_share
from edgex.report.parts import Paced, Slo
from edgex.report.shown import shown

RATIO = (
    "Median over rounds of the ratio of the medians, in engine mode of the time of one picture; 95 % interval by "
    "bootstrap over rounds."
)
NO_OUTLIER = "every sample counts, no outlier was removed"
_MEMORY = "the largest of the whole program, with all engines of the call open"


SAMPLE: Mapping[Mode, str] = {"engine": "latency", "pipeline": "work on a frame", "paced": "age"}


def notes(report: BenchReport) -> list[str]:
    """Return what has to be known to read the table: one sentence each, and none that does not apply."""
    return list(_notes(report))


def _notes(report: BenchReport) -> Iterator[str]:
    runs = report.runs
    batches = sorted({run.batch for run in runs} - {1})
    if batches:
        yield (
            f'a sample is one call of a whole batch (of {", ".join(map(str, batches))}); "picture" is the median call '
            "divided by its pictures"
        )
    if any(run.streams > 1 and run.mode == "engine" for run in runs):
        yield "a sample is one call of one of the streams that run side by side; per s counts all of them"
    modes = {run.mode for run in runs}
    if "pipeline" in modes:
        yield "a sample of a pipeline is the work on one frame, stage by stage, without the waits in between"
    if "paced" in modes:
        yield "a sample of paced frames is their age, from when each was due until it was done, waits included"
    for scope in dict.fromkeys(run.memory_scope for run in runs if run.peak_memory_mb is not None):
        yield f"memory: {scope or _MEMORY}"
    if runs:
        yield f"load and first depend on what was opened before ({_order(runs)}) and on the disk cache"


def _order(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return "this one alone"
    return "in the order of the table" if _is_rising(runs) else "see load_order in the JSON"


def _is_rising(runs: Sequence[Run]) -> bool:
    orders = [run.load_order for run in runs]
    return orders == sorted(orders)


def run_lines(run: Run) -> list[str]:
    """Return what a run has besides its row: its stages, its paced frames, its search. One sentence each, no name."""
    lines = []
    if run.stages:
        stages = ", ".join(f"{name} {shown(times.p50_ms)}" for name, times in run.stages.items())
        lines.append(f"ms a frame (median): {stages}")
    if run.paced is not None:
        lines.append(frames_line(run.paced))
        if run.paced.slo is not None:
            tried = ", ".join(f"{shown(each.fps)} {'yes' if each.sustained else 'no'}" for each in run.paced.slo.trials)
            lines.append(f"highest rate within {slo_line(run.paced.slo)}; tried: {tried or 'none to its end'}")
    return lines


def frames_line(paced: Paced) -> str:
    """Return what became of the frames that were due."""
    policies = {"queue": "every frame in order", "newest": "the newest frame, those it replaces are dropped"}
    given_up = paced.due - paced.done - paced.dropped
    left = f", {given_up} given up" if given_up else ""
    return (
        f"{paced.fps:g} a second, {paced.policy} ({policies[paced.policy]}): {paced.due} due, {paced.done} done, "
        f"{paced.dropped} dropped{left}, {paced.late} later than {shown(paced.deadline_ms, 'ms')} after they were due; "
        f"{missed_share(paced):.1%} missed"
    )


def slo_line(slo: Slo) -> str:
    """Return how a search came out, its limit first."""
    return f"{shown(slo.limit_ms, 'ms')}: {slo_outcome(slo)}"


def slo_outcome(slo: Slo) -> str:
    """Return how a search came out."""
    if slo.highest_fps is not None:
        return f"{shown(slo.highest_fps)} a second"
    if slo.outcome == "none":
        lowest = min((trial.fps for trial in slo.trials), default=None)
        return "none held" if lowest is None else f"none held, down to {shown(lowest)} a second"
    return "not known, the search did not end"


def achieved_text(run: Run) -> str:
    """Return what the layers run in, over all kinds, such as "int8 52, fp32 3", or "not told"."""
    counts: dict[str, int] = {}
    for precisions in run.achieved.values():
        for precision, number in precisions.items():
            counts[precision] = counts.get(precision, 0) + number
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{precision} {number}" for precision, number in ordered) or "not told"


def ran(run: Run) -> str:
    """Return what ran: backend, device, precision, threads, streams and engine."""
    counts = achieved_text(run)
    achieved = f"achieved: {counts} layers" if run.achieved else f"achieved: {counts}"
    graph = {None: "", True: "CUDA graph; ", False: "no CUDA graph; "}[run.cuda_graph]
    return (
        f"{run.backend} {run.backend_version} on {run.device}; {run.precision} ({achieved}); {_threads(run)}; "
        f"{_streams(run)}; {graph}sha256 {run.engine_sha256[:12]}"
    )


def ran_in_short(run: Run) -> str:
    """Return the same for a line of the terminal."""
    return f"{run.backend_version}, {run.precision}, {_threads(run)}, {_streams(run)}, sha256 {run.engine_sha256[:12]}"


def _threads(run: Run) -> str:
    return "threads as the backend chose" if run.threads is None else f"{run.threads} thread{'s' * (run.threads != 1)}"


def _streams(run: Run) -> str:
    return f"{run.streams} stream{'s' * (run.streams != 1)}"


def machine_line(report: BenchReport) -> str:
    """Return the machine in one line: what of it is known."""
    known = report.machine
    cores = f"{known['usable_cores']} usable cores" if known.get("usable_cores") else ""
    memory = f"{known['memory_gb']} GB" if known.get("memory_gb") else ""
    gpus = known.get("gpus")
    parts = [known.get("cpu"), cores, memory, *(gpus if isinstance(gpus, list) else ()), known.get("system")]
    return ", ".join(str(part) for part in (*parts, known.get("kernel"), f"edgex {report.edgex_version}") if part)


def all_warnings(report: BenchReport) -> list[str]:
    """Return the report's warnings, then those of each run with its name before them, and what failed."""
    return [*report.warnings, *(f"{run.name}: {each}" for run in report.runs for each in run_warnings(run))]


def run_warnings(run: Run) -> list[str]:
    """Return what speaks against a run, first that it ended early."""
    return [*([] if run.error is None else [f"ended early: {run.error}"]), *run.warnings]


def how_measured(report: BenchReport) -> list[str]:
    """Return sentences that answer "measured how?": one for all runs, or one for each run where they differ."""
    samples = f"{NO_OUTLIER}; the report's JSON holds them all"
    told = [f"{run.name}: {ran(run)}" for run in report.runs]
    told += [f"percentiles by {FORMULA}", samples, "monotonic clock of nanoseconds"]
    for called, name in (("measured", "transfers"), ("what went in", "pictures"), ("end of an inference", "sync")):
        said = {run.name: getattr(run, name) for run in report.runs}
        alike = len(set(said.values())) == 1
        told += (
            [f"{called}: {next(iter(said.values()))}"] if alike else [f"{run}: {each}" for run, each in said.items()]
        )
    for run in report.runs:
        state = "stable" if run.warmup.stable else "not yet stable"
        warm = f"warm-up of {run.warmup.iterations} iterations in {shown(run.warmup.seconds, 's')}, then {state}"
        rounds = f"{shown(len(run.rounds))} round{'s' * (len(run.rounds) != 1)}"
        told.append(f"{run.name}: {warm}; {shown(len(run.samples_ms))} samples in {rounds}")
    return told
