"""Whether `edgex run` could run for weeks: memory, threads and open files stay flat while streams and viewers change.

The real program in a process of its own: an RTSP stream that breaks off every minute, the viewer served to one that
comes and goes and to one that reads a byte a second, records, monitor and smoothing. Looked at from outside, every two
seconds. It exits with 1 where one of them grows beyond its bound.

Usage: python -m benchmarks.soak [--minutes 10] [--source synthetic:1280x720@30]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import save
from benchmarks.rounds import describe_machine, load_average
from benchmarks.soak_plot import INPUT, OUTPUT, plot
from benchmarks.soak_run import Audience, RtspServer, Run
from edgex.explain import shipped_bundle
from edgex.onnx_file import read_onnx

WARM_SHARE = 0.4  # of the time: pools fill, and the newest 10,000 times of each stage are kept for the summary
RSS_MB_PER_MINUTE = 0.3  # 10 minutes cannot tell less from noise
AGAIN_S = 20.0  # for a stream to be there again
SHOWN = 2  # classes that are shown whatever their score, so that every frame is drawn
SPARE = 2  # threads or files more than while it warmed up: a viewer or a connection that happens to be there


@dataclass(frozen=True, slots=True)
class Options:
    """How long, and in which rhythm.

    Attributes
    ----------
    minutes : that it runs
    source : what is opened, or None for an RTSP server that comes and goes
    model : bundle, or None for the shipped one
    every_s : between two samples
    there_s, gone_s : how long the RTSP server runs, and how long it is gone
    look_s, away_s : how long the viewer looks, and how long it does not
    """

    minutes: float = 10.0
    source: str | None = None
    model: Path | None = None
    every_s: float = 2.0
    there_s: float = 55.0
    gone_s: float = 5.0
    look_s: float = 20.0
    away_s: float = 10.0


def soak(options: Options) -> dict[str, Any]:
    """Run, look, and judge.

    Raises
    ------
    SystemExit
        If the run does not start, or ends by itself.
    """
    load_before, model = load_average(), options.model or shipped_bundle()
    with tempfile.TemporaryDirectory(prefix="edgex-soak-") as folder:
        records = Path(folder) / "records.jsonl"
        server = RtspServer() if options.source is None else None
        try:
            source = options.source or (server.uri if server is not None else "")
            words = ["--source", source, "--serve", "127.0.0.1:0", "--records", str(records), "--json"]
            words += ["--monitor", "30", "--smooth", "0.2", "--stall-timeout", "2", "--longest-pause", "2"]
            words += ["--classes", ",".join(_labels(model)[:SHOWN]), str(model)]
            run = Run(words)
            try:
                samples, gone_s, audience = _watch(run, server, options)
                code, summary = run.stop()
            finally:
                run.kill()
        finally:
            if server is not None:
                server.stop()
        lines = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    warm_s = WARM_SHARE * 60 * options.minutes
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "minutes": options.minutes,
        "about": "RTSP stream that breaks off" if server is not None else str(options.source),
        "load_before": load_before,
        "load_after": load_average(),
        "exit_code": code,
        "frames": summary.get("frames", 0),
        "frames_per_second": summary.get("frames_per_second", 0.0),
        "age": summary.get("age"),
        "late": summary.get("late"),
        "dropped": summary.get("dropped"),
        "reconnects": summary.get("reconnects"),
        "flicker": summary.get("flicker"),
        "faith": summary.get("faith"),
        "records": len(lines),
        "visits": audience.visits,
        "slow_bytes": audience.slow_bytes,
        "gone_s": gone_s,
        "warm_s": warm_s,
        "samples": samples,
    }
    return {**report, "checks": checks(report)}


def _labels(model: Path) -> tuple[str, ...]:
    manifest = read_onnx(model).manifest()
    return () if manifest is None else manifest.labels


def _watch(
    run: Run, server: RtspServer | None, options: Options
) -> tuple[list[dict[str, Any]], list[list[float]], Audience]:
    """Sample until the time is over, while server and viewer come and go; all times count from the start."""
    audience = Audience(run.url)
    start_s, samples = time.monotonic(), []
    gone: list[list[float]] = []
    before: dict[str, float] = {}
    before_s = 0.0
    while (at_s := time.monotonic() - start_s) < 60 * options.minutes:
        if run.ended:
            raise SystemExit(f"expected a run that goes on, got its end after {at_s:.0f} s: {' '.join(run.said[-3:])}")
        if server is not None:
            _come_or_go(server, at_s, options, gone)
        looks = at_s % (options.look_s + options.away_s) < options.look_s
        (audience.come if looks else audience.go)()
        figures = run.figures()
        samples.append({"at_s": round(at_s, 2), **run.sample(), **_rates(figures, before, at_s - before_s)})
        before, before_s = figures, at_s
        passed_s = time.monotonic() - start_s
        time.sleep(options.every_s - passed_s % options.every_s)
    if gone and len(gone[-1]) == 1:
        gone[-1].append(round(time.monotonic() - start_s, 1))
    audience.leave()
    if server is not None:
        server.start()
        _wait_for_openings(run, len(gone))
    return samples, gone, audience


def _wait_for_openings(run: Run, breaks: int) -> None:
    """Give a stream that broke near the end the time to come back."""
    until_s = time.monotonic() + AGAIN_S
    while run.figures().get("edgex_source_reconnects_total", 0.0) < breaks and time.monotonic() < until_s:
        time.sleep(0.5)


def _come_or_go(server: RtspServer, at_s: float, options: Options, gone: list[list[float]]) -> None:
    there = at_s % (options.there_s + options.gone_s) < options.there_s
    is_gone = bool(gone) and len(gone[-1]) == 1
    if there and is_gone:
        server.start()
        gone[-1].append(round(at_s, 1))
    elif not there and not is_gone:
        server.stop()
        gone.append([round(at_s, 1)])


def _rates(now: dict[str, float], before: dict[str, float], seconds: float) -> dict[str, float | None]:
    """Return frames/s and the mean age in ms since the sample before, and what is counted from the start."""

    def grown(name: str) -> float:
        return now.get(name, 0.0) - before.get(name, 0.0)

    frames, aged = grown("edgex_frames_total"), grown("edgex_frame_age_seconds_count")
    known = bool(now) and bool(before) and seconds > 0
    return {
        "fps": round(frames / seconds, 2) if known else None,
        "age_ms": round(1e3 * grown("edgex_frame_age_seconds_sum") / aged, 2) if known and aged > 0 else None,
        "dropped": now.get("edgex_frames_dropped_total"),
        "reconnects": now.get("edgex_source_reconnects_total"),
    }


def checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what must be flat, or true at the end: the bound, what was found, and whether it is kept."""
    early = [sample for sample in report["samples"] if sample["at_s"] < report["warm_s"]]
    late = [sample for sample in report["samples"] if sample["at_s"] >= report["warm_s"]]
    slope = slope_per_minute([each["at_s"] for each in late], [each["rss_mb"] for each in late])
    found = [_check("growth of memory, MB a minute", RSS_MB_PER_MINUTE, round(slope, 3), slope <= RSS_MB_PER_MINUTE)]
    for field, words in (("threads", "threads"), ("files", "open files")):
        most, bound = max(each[field] for each in late), max(each[field] for each in early) + SPARE
        found.append(_check(f"most {words} after the warm-up", bound, most, most <= bound))
    breaks, frames, fewest = len(report["gone_s"]), report["frames"], min(report["visits"], default=0)
    found += [
        _check("exit code after SIGTERM", 0, report["exit_code"], report["exit_code"] == 0),
        _check("records, one a frame", frames, report["records"], report["records"] == frames > 0),
        _check("pictures in each visit, at least", 1, fewest, fewest >= 1),
    ]
    if breaks > 1:  # the last one may not be over
        again = report["reconnects"] or 0
        found.append(_check("openings after breaks, at least", breaks - 1, again, again >= breaks - 1))
    return found


def slope_per_minute(at_s: list[float], values: list[float]) -> float:
    """Return the median of the slopes between all pairs (Theil and Sen), which single leaps do not move; 0 for one."""
    times, heights = np.array(at_s) / 60, np.array(values)
    first, second = np.triu_indices(len(times), 1)
    if not first.size:
        return 0.0
    return float(np.median((heights[second] - heights[first]) / (times[second] - times[first])))


def _check(what: str, bound: float, found: float, kept: bool) -> dict[str, Any]:
    return {"what": what, "bound": bound, "found": found, "kept": bool(kept)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--source", help="what to open in place of an RTSP stream that comes and goes")
    parser.add_argument("--model", type=Path, help="bundle; the shipped one if left out")
    parser.add_argument("--output", type=Path, default=INPUT)
    parser.add_argument("--plot", type=Path, default=OUTPUT)
    given = parser.parse_args()
    report = soak(Options(given.minutes, given.source, given.model))
    save(report, given.output)
    plot(report, given.plot)
    for check in report["checks"]:
        print(f"{'kept' if check['kept'] else 'BROKEN'}: {check['what']}: {check['found']} (bound {check['bound']})")
    return 0 if all(check["kept"] for check in report["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
