"""Reports made up for tests and for a look at the page: samples with stalls at known places, telemetry that moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgex.report import (
    BenchReport,
    Counter,
    Distribution,
    Paced,
    Ratio,
    Run,
    Series,
    Slo,
    Telemetry,
    Trial,
    Warmup,
)

MACHINE: dict[str, Any] = {
    "cpu": "Intel(R) Core(TM) i7-1365U",
    "architecture": "x86_64",
    "features": ["avx2", "avx_vnni"],
    "cores": 12,
    "physical_cores": 10,
    "usable_cores": 12,
    "cpu_quota": None,
    "cache_bytes": {"L1": 49152, "L2": 1310720, "L3": 12582912},
    "clock_mhz": [400.0, 5200.0],
    "governor": "powersave",
    "turbo": True,
    "memory_gb": 16.5,
    "memory_limit_gb": None,
    "virtual": False,
    "system": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "Linux 6.1.0",
    "python": "CPython 3.11.7",
    "packages": {"edgex": "0.1.0", "numpy": "2.4.6", "onnxruntime": "1.32.0", "openvino": "2026.4.1"},
    "environment": {},
    "gpus": [],
}


def spread(samples_ms: tuple[float, ...]) -> Distribution | None:
    """Return the distribution of samples as NumPy has it."""
    if not samples_ms:
        return None
    samples = np.array(samples_ms)
    p50, p90, p95, p99 = (float(each) for each in np.percentile(samples, (50, 90, 95, 99)))
    mean = float(samples.mean())
    cv = float(samples.std() / mean) if mean else 0.0
    return Distribution(len(samples), mean, float(samples.min()), p50, p90, p95, p99, float(samples.max()), cv)


def make_run(
    name: str = "shipped.onnx · openvino · batch 1",
    median_ms: float = 4.8,
    count: int = 1200,
    stalls: int = 6,
    turns: int = 10,
    seed: int = 0,
    **fields: Any,
) -> Run:
    """Return a run of samples spread around a median, with stalls in the second half, in rounds with gaps between."""
    draw = np.random.default_rng(seed)
    samples = median_ms * np.exp(draw.normal(0, 0.02, count)) + draw.exponential(median_ms * 0.012, count)
    stalls = min(stalls, count // 2)
    if stalls:
        samples[draw.choice(np.arange(count // 2, count), stalls, replace=False)] *= draw.uniform(1.6, 2.6, stalls)
    samples_ms = tuple(np.round(samples, 6).tolist())
    begins = tuple(sorted({count * each // turns for each in range(turns)})) if count else ()
    starts = np.concatenate(([0.0], np.cumsum(samples[:-1]))) if count else np.empty(0)
    for begin in begins[1:]:
        starts[begin:] += median_ms * count / turns  # another run had its turn
    made = {
        "name": name,
        "mode": "engine",
        "model": "shipped.onnx",
        "engine_sha256": "0123456789abcdef" * 4,
        "backend": "openvino",
        "backend_version": "2026.4.1",
        "device": MACHINE["cpu"],
        "precision": "fp32",
        "achieved": {"Convolution": {"f32": 52}, "FullyConnected": {"f32": 1}},
        "batch": 1,
        "threads": 2,
        "streams": 1,
        "sync": "blocking call",
        "cuda_graph": None,
        "transfers": "the inference call alone; the input was prepared before and the outputs are read after",
        "pictures": "48 frames of the shipped clip, in turn",
        "load_ms": 212.4,
        "first_ms": median_ms * 2.1,
        "warmup": Warmup(84, 0.41, True),
        "samples_ms": samples_ms,
        "starts_ms": tuple(np.round(starts, 3).tolist()),
        "rounds": begins,
        "latency": spread(samples_ms),
        "per_second": 1000 * count / float(samples.sum()) if count else 0.0,
        "peak_memory_mb": 184.2,
        "memory_scope": "host memory of the whole program, with the engine in it",
        "telemetry": make_telemetry(float(starts[-1]) if count else 1000.0, seed),
        **fields,
    }
    return Run(**made)


def make_telemetry(end_ms: float, seed: int = 0) -> Telemetry:
    """Return telemetry whose clock falls as its temperature rises, with one reading that failed."""
    draw = np.random.default_rng(seed)
    times = np.arange(0, max(end_ms, 500), 250.0)
    way = np.linspace(0, 1, len(times))
    clock = 3900 - 700 * (way > 0.6) + draw.normal(0, 30, len(times))
    series = (
        Series("clock of the fastest core", "MHz", _values(clock)),
        Series("temperature of x86_pkg_temp", "°C", _values(58 + 27 * way**0.5)),
        Series("power of package-0", "W", (None, *_values(15 - 3 * way + draw.normal(0, 0.3, len(times)))[1:])),
        Series("cores busy with this program", "%", _values(16 + draw.normal(0, 0.4, len(times)))),
        Series("cores busy with anything", "%", _values(18 + draw.exponential(1.5, len(times)))),
        Series("taken by the hypervisor", "%", (0.0,) * len(times)),
        Series("memory of this program", "MB", _values(180 + way)),
    )
    return Telemetry(
        period_ms=250.0,
        times_ms=tuple(times.tolist()),
        series=series,
        counters=(Counter("energy of package-0", "J", 71.2), Counter("thermal throttling events", "events", 0.0)),
        not_available=("GPU clock, power, temperature and throttling: no libnvidia-ml.so.1, which the driver brings",),
    )


def _values(values: Any) -> tuple[float, ...]:
    return tuple(np.round(values, 2).tolist())


def make_pipeline(name: str = "shipped.onnx · pipeline", count: int = 600) -> Run:
    """Return a run of the whole pipeline, with its stages."""
    draw = np.random.default_rng(3)
    middles = {"read": 2.1, "preprocess": 0.9, "infer": 4.9, "compose": 1.6, "legend": 0.3, "write": 0.05}
    samples = {
        stage: tuple(np.round(middle * np.exp(draw.normal(0, 0.12, count)), 6).tolist())
        for stage, middle in middles.items()
    }
    stages = {stage: each for stage, times in samples.items() if (each := spread(times)) is not None}
    what = "from a picture in memory to the null sink, upload and download included"
    return make_run(name, 9.9, count, mode="pipeline", transfers=what, stages=stages, stage_samples_ms=samples)


def make_paced(name: str = "shipped.onnx · paced 60 fps", count: int = 900) -> Run:
    """Return a paced run with a search for the highest rate."""
    trials = ((30, 8.2, True), (120, 9.6, True), (240, 88.0, False), (180, 14.1, True), (210, 41.0, False))
    every = (*trials, (195, 19.2, True), (195, 19.4, True))
    tried = tuple(make_trial(float(fps), p99_ms, held) for fps, p99_ms, held in every)
    made = make_run(name, 8.1, count, stalls=9, mode="paced", warnings=("9 of 900 frames were late",))
    assert made.latency is not None
    slo = Slo(20.0, 195.0, tried, "found")
    paced = Paced(60.0, "queue", count, count, 0, 9, 16.7, made.latency, slo)
    return replace(made, paced=paced)


def make_trial(fps: float, p99_ms: float, sustained: bool) -> Trial:
    """Return a trial of 200 frames whose ages rise evenly to where the 99th percentile is the one asked for."""
    ages = tuple(p99_ms * (1 + 0.2 * (each - 0.99)) for each in np.linspace(0, 1, 200).tolist())
    return Trial(fps, p99_ms, sustained, spread(ages), 200, 200)


def make_report(*runs: Run, **fields: Any) -> BenchReport:
    """Return a report of these runs, or of two that differ in their backend."""
    if not runs:
        runs = (
            make_run(),
            make_run(
                "shipped.onnx · onnxruntime · batch 1", 6.1, seed=1, backend="onnxruntime", backend_version="1.32.0"
            ),
        )
        fields = {"ratios": (Ratio(runs[1].name, runs[0].name, 1.271, 1.262, 1.283),), **fields}
    made = {
        "created": "2026-03-04T10:12:13Z",
        "edgex_version": "0.1.0",
        "partial": False,
        "machine": MACHINE,
        "options": {"seconds": 5.0, "mode": "engine"},
        "runs": runs,
        **fields,
    }
    return BenchReport(**made)
