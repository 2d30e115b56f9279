"""One step of benchmarks/gpu_report.py in a process of its own: an error, a crash or a hang costs that step only.

The child writes what it has into a file as it goes, so that a step that is killed leaves its figures, and a step that
hangs says where.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Context, Missing, Step

ROOT = Path(__file__).resolve().parents[2]
LATE_S, KILLED_S, POLL_S = 3.0, 8.0, 0.2  # after its time a child says where it stands and ends; then it is killed
UNSET = ("CUDA_LAUNCH_BLOCKING",)  # of the environment: each launch would be waited for, and no batch be queued
TAIL = 1500  # characters of a child's last words
PLACES = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":,;()]+/)+([^\s/'\":,;()]+)")


def without_places(found: Any) -> Any:
    """Return JSON types in which paths of this machine have become file names."""
    if isinstance(found, dict):
        return {str(key): without_places(each) for key, each in found.items()}
    if isinstance(found, (list, tuple)):
        return [without_places(each) for each in found]
    return PLACES.sub(r"\1", found) if isinstance(found, str) else found


def write(path: Path, found: dict[str, Any]) -> None:
    """Write JSON to a temporary name, then rename it, so that a reader finds a whole file."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(found, indent=1, default=_plain) + "\n", encoding="utf-8")
    os.replace(part, path)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)  # a number of NumPy's


def read(path: Path) -> dict[str, Any]:
    """Return what `write` wrote, or nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def run_step(
    step: Step, folder: Path, seconds: float, rounds: int, dry_run: bool, seen: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run a step in a process of its own and return its entry of the report; raises only what interrupts this process.

    Parameters
    ----------
    step : what to run
    folder : an empty one, of this step
    seconds : that it may take
    rounds, dry_run : as in Context
    seen : called with the entry so far, each time that the step has saved something

    Returns
    -------
    state ("done", "missing", "error", "cut"), why where it is not done, seconds, and found: what the step found
    """
    into, words = folder / "found.json", folder / "stderr.txt"
    command = [sys.executable, "-m", "benchmarks.gpu.child", step.module, "--into", str(into)]
    command += ["--seconds", str(seconds), "--rounds", str(rounds), *(["--dry-run"] if dry_run else [])]
    began, last = time.monotonic(), None
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with words.open("wb") as stderr:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stderr, start_new_session=True)
        try:
            while child.poll() is None and time.monotonic() - began < seconds + KILLED_S:
                time.sleep(POLL_S)
                changed = into.stat().st_mtime_ns if into.exists() else None
                if changed != last:
                    last = changed
                    seen(_entry(read(into), began))
        finally:
            _end(child)
    entry, code = _entry(read(into), began), child.returncode
    said = words.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
    if entry["state"] == "cut":
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
        late = f"it took longer than its {seconds:.0f} s and was ended" if entry["seconds"] > seconds else ""
        entry |= {"why": late or f"its process ended {how}", "stderr": without_places(said)}
    return entry


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started, also where it has ended itself."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def _entry(told: dict[str, Any], began: float) -> dict[str, Any]:
    return {"state": "cut", "found": {}, **told, "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    began, saved = time.monotonic(), dict[str, Any]()
    faulthandler.enable()
    faulthandler.dump_traceback_later(given.seconds + LATE_S, exit=True)  # a hang says where, also within C

    def tell(**entry: Any) -> None:
        write(given.into, without_places({"found": saved, **entry}))

    def save(found: dict[str, Any]) -> None:
        saved.clear()
        saved.update(found)
        tell(state="cut")

    def say(line: str) -> None:
        print(f"  {time.monotonic() - began:6.1f} s  {line}", flush=True)

    scratch = given.into.parent / "scratch"
    scratch.mkdir()
    context = Context(given.dry_run, given.rounds, scratch, began + given.seconds, say, save)
    code = 0
    try:
        found = Step("", given.seconds, given.module).run(context)
        tell(state="done", found=found)
    except Missing as missing:
        tell(state="missing", why=str(missing))
    except BaseException as error:
        traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
        tell(state="error", why=f"{type(error).__name__}: {error} ({where})"[:TAIL])
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a library that crashes or hangs while it is unloaded takes nothing with it


if __name__ == "__main__":
    main()
