"""What `make demo` does, measured: frames a second, milliseconds a stage and peak memory, as JSON.

Usage: python -m benchmarks.demo [--repeat 3] [--output benchmarks/results/demo.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rounds import describe_machine

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "edgex/models/shipped.mp4"


def run_once(folder: Path) -> dict[str, Any]:
    """Run the shipped bundle over the shipped clip, with every product of the demo; return its summary."""
    products = ["--output", folder / "overlay.mp4", "--contact-sheet", folder / "sheet.png"]
    products += ["--records", folder / "records.jsonl"]
    command = [sys.executable, "-m", "edgex", "run", "--source", CLIP, *products, "--json"]
    finished = subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True, text=True)
    summary: dict[str, Any] = json.loads(finished.stdout)
    del summary["products"]  # paths of this machine
    return summary


def measure(repeat: int) -> dict[str, Any]:
    """Run `repeat` times; return every run, the medians and the machine."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [run_once(Path(folder)) for _ in range(repeat)]
    return {
        "frames_per_second": statistics.median(run["frames_per_second"] for run in runs),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "runs": runs,
        "machine": describe_machine(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/demo.json")
    arguments = parser.parse_args()
    report = measure(arguments.repeat)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{report['frames_per_second']} frames/s, {report['peak_memory_mb']} MB; written: {arguments.output}")
