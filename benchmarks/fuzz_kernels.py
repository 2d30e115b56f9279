"""Call the compositors and the preprocessing with right and wrong arguments, drawn at random, for a minute.

Each call must raise UsageError ("expected ..., got ...") or give what float64 arithmetic gives, to within a level, and
change nothing but `out`; for a Drawing or InputSpec that is none, TypeError and AttributeError will do as well.
Calls run in a process of their own: if it dies or hangs, the number of the call is known.

Usage: python -m benchmarks.fuzz_kernels [--seconds 60] [--seed 0] [--subject native] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_arguments import UNTYPED, draw_attempt
from benchmarks.fuzz_outputs import Attempt
from benchmarks.scenes import Subject, open_subject
from edgex.compositors import reference
from edgex.errors import EdgexError, UsageError
from edgex.types import require_image
from tests.compositors.parity import assert_parity, unresolved

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 60  # start of the process, and its last call
LARGEST_BYTES = 16 << 30  # address space of the process: a call that asks for more is refused by the system


def outcome(attempt: Attempt, subject: Subject) -> str:
    """Make one call; return "refused" or "answered". Raises AssertionError for anything that must not happen."""
    kept = attempt.snapshot()
    try:
        result = attempt.call(subject)
    except UsageError as error:
        if not re.search(r"expected .+, got .+", str(error), re.DOTALL):
            raise AssertionError(f"a refusal that explains little: {error}") from error
        if not attempt.unchanged(kept, refused=True):
            raise AssertionError("refused, but an argument was changed") from error
        return "refused"
    except Exception as error:
        if isinstance(error, (AttributeError, TypeError)) and UNTYPED.intersection(attempt.kinds):
            return "refused"
        raise AssertionError(f"expected UsageError, got {type(error).__name__}: {error}") from error
    assert attempt.unchanged(kept, refused=False), "an argument or memory around out was changed"
    if attempt.out is not None:
        assert result is attempt.out, "expected the result to be out"
    try:
        compare(attempt, kept, np.asarray(result), subject.name)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"answered where the oracle raises {type(error).__name__}: {error}") from error
    return "answered"


def compare(attempt: Attempt, kept: dict[str, Any], result: np.ndarray, subject: str) -> None:
    """Assert that the result is what float64 gives for the arguments as they were before the call."""
    if attempt.entry == "preprocess":
        image, spec = kept["image"], attempt.arguments["spec"]
        require_image(image)
        assert result.shape == (1, 3, spec.height, spec.width), f"got shape {result.shape}"
        order = slice(None) if spec.color == "BGR" else slice(None, None, -1)
        exact = resized(image.astype(np.float64), spec.height, spec.width)[..., order]
        levels = 255.0 * (result[0].transpose(1, 2, 0).astype(np.float64) * spec.std + spec.mean)
        # Rounded once to a level; OpenCV rounds twice where one axis grows and the other shrinks.
        allowed = 0.5 if subject == "native" else 1.5
        allowed += 255.0 * 1e-3 * (1.0 + max(map(abs, spec.mean))) * (result.dtype == np.float16) + 0.02
        worst = np.abs(levels - exact).max()
        assert worst <= allowed, f"{worst:.3f} levels from the mean of the source interval"
        return
    logits = np.asarray(kept["mask_logits"])
    if attempt.entry == "compose":
        assert_parity(result, kept["image"], logits, attempt.arguments["drawing"])
        return
    size = attempt.arguments["height"], attempt.arguments["width"]
    exact = reference.open().masks(logits, tuple(attempt.arguments["classes"]), *size)
    assert result.shape == exact.shape, f"expected {exact.shape}, got {result.shape}"
    if result.size:
        off = np.where(
            unresolved(logits, attempt.arguments["classes"], *size), 0, result.astype(int) - exact.astype(int)
        )
        assert np.abs(off).max() <= 1, "a mask is more than a level off"


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize float64 [H, W, 3] by the manifest's rule "area", as two matrix products."""
    rows, columns = shares(image.shape[0], height), shares(image.shape[1], width)
    return np.asarray(np.einsum("yh,hwc,xw->yxc", rows, image, columns, optimize=True))


def shares(count: int, target: int) -> np.ndarray:
    """Return float64 [target, count]: how much each source value has in each target value."""
    pixel, source = np.arange(target)[:, None], np.arange(count)[None]
    if target <= count:
        overlap = np.minimum((pixel + 1) * count, (source + 1) * target) - np.maximum(pixel * count, source * target)
        return np.asarray(np.maximum(overlap, 0) / count)
    place = np.clip((pixel + 0.5) * count / target - 0.5, 0.0, count - 1.0)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(place - source)))


def work(seed: int, seconds: float, name: str, only: int | None, progress: Path) -> dict[str, Any]:
    """Make calls until the time is over, the number of the present one in `progress`; return what came of them."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    warnings.simplefilter("ignore")
    subject = open_subject(name)
    counts: dict[str, Counter[str]] = {}
    findings: dict[str, list[str]] = {}
    end, number = time.monotonic() + seconds, only or 0
    with progress.open("r+b", buffering=0) as file:
        while time.monotonic() < end:
            file.seek(0)
            file.write(str(number).encode().ljust(20))
            attempt = draw_attempt(np.random.default_rng([seed, number]), subject.with_out)
            if attempt is not None:
                try:
                    result = outcome(attempt, subject)
                except AssertionError as error:
                    result = "failed"
                    if only is not None:
                        traceback.print_exc()
                    text = re.sub(r"\[.*?\]|[\d.e+-]*\d", "N", str(error).splitlines()[0])
                    example = f"call {number}: {', '.join(attempt.kinds)}"
                    findings.setdefault(f"{attempt.entry}: {text}", []).append(example)
                for kind in (*attempt.kinds, "all"):
                    counts.setdefault(f"{attempt.entry}: {kind}", Counter())[result] += 1
            if only is not None:
                break
            number += 1
    return {"counts": counts, "findings": findings, "skipped": number - sum(map(_calls, counts.items()))}


def _calls(item: tuple[str, Counter[str]]) -> int:
    return sum(item[1].values()) if item[0].endswith(": all") else 0


def fate_of(command: list[str], limit_s: float) -> tuple[str, str]:
    """Run a process; return how it failed, "" where it did not, and what it printed."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return f"did not come back within {limit_s:.0f} s", ""
    if done.returncode < 0:
        return f"died of {signal.Signals(-done.returncode).name}", done.stdout
    return (f"ended with exit code {done.returncode}" if done.returncode else ""), done.stdout


def supervise(seed: int, seconds: float, name: str, only: int | None) -> int:
    """Run `work` in a process of its own; print a summary, and return the exit code."""
    with tempfile.NamedTemporaryFile() as progress:
        command = [sys.executable, "-m", "benchmarks.fuzz_kernels", "--work", progress.name]
        command += ["--seed", str(seed), "--seconds", str(seconds), "--subject", name]
        command += [] if only is None else ["--only", str(only)]
        fate, printed = fate_of(command, seconds + GRACE_S)
        number = Path(progress.name).read_text().strip()
    if fate and not number:
        print(f"{name} {fate} before its first call")
        return 1
    if fate:
        again = f"python -m benchmarks.fuzz_kernels --subject {name} --seed {seed} --only {number}"
        print(f"{name} {fate} in call {number}; to see it alone: {again}")
        return 1
    report = json.loads(printed.splitlines()[-1])
    counts, findings = report["counts"], report["findings"]
    width = max(map(len, counts), default=0)
    for label, found in sorted(counts.items()):
        print(
            f"{label:{width}}", *(f"{found.get(result, 0):7} {result}" for result in ("answered", "refused", "failed"))
        )
    for text, found in sorted(findings.items(), key=lambda item: ("expected UsageError" in item[0], -len(item[1]))):
        print(f"{len(found)} times, {text}\n    as in {found[0]}")
    total, failed = sum(map(_calls, counts.items())), sum(map(len, findings.values()))
    print(f"{name}: seed {seed}, {total} calls, {failed} failed; {report['skipped']} drawings refused before a call")
    return bool(failed) or total == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subject", choices=("native", "opencv"), action="append", help="default: both")
    parser.add_argument("--only", type=int, help="the number of one call, to see it fail alone")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.subject or ["native", "opencv"]
    if options.work is None:
        return max([supervise(options.seed, options.seconds / len(names), name, options.only) for name in names])
    try:
        print(json.dumps(work(options.seed, options.seconds, names[0], options.only, options.work)))
    except EdgexError as error:  # there is no such compositor here
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
