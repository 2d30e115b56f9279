"""What benchmarks/soak.py watches: the real `edgex run`, and an RTSP server and viewers that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.live_clients import Clients

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PYTHON = Path("/usr/bin/python3")  # GStreamer's bindings belong to the system
SERVER = ROOT / "tests/sources/rtsp_server.py"
START_S, END_S, ANSWER_S = 60.0, 30.0, 10.0
_FIGURE = re.compile(r"^(edgex_\w+)(?:\{\})? ([0-9.e+-]+)$", re.MULTILINE)


class RtspServer:
    """GStreamer's RTSP server as a program; it can be started again on the same port.

    Raises
    ------
    SystemExit
        If it does not start, with what it says.
    """

    def __init__(self) -> None:
        self.port = 0
        self._program: subprocess.Popen[str] | None = None
        self.start()

    @property
    def uri(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/test"

    def start(self) -> None:
        """Start it; nothing happens where it runs."""
        if self._program is not None:
            return
        command = [str(SYSTEM_PYTHON), str(SERVER), str(self.port)]
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line:
            self.stop()
            raise SystemExit("expected an RTSP server, got a program that ends; take --source synthetic:1280x720@30")
        self.port = int(line)

    def stop(self) -> None:
        """Kill it, as a camera that loses its power; nothing happens where it does not run."""
        if self._program is not None:
            self._program.kill()
            self._program.communicate()
            self._program = None


class Run:
    """`edgex run` in a process of its own, and what can be seen of it from outside.

    Parameters
    ----------
    words : of the command line, after `edgex run`
    """

    def __init__(self, words: list[str]) -> None:
        command = [sys.executable, "-m", "edgex", "run", *words]
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        self._addresses: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: list[str] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.url = self._address()

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def ended(self) -> bool:
        """Whether it is over, which it should not be by itself."""
        return self._program.poll() is not None

    def sample(self) -> dict[str, float]:
        """Return resident memory in MB, threads and open file descriptors, as the system counts them."""
        place = Path(f"/proc/{self.pid}")
        status = dict(line.partition(":")[::2] for line in (place / "status").read_text().splitlines())
        return {
            "rss_mb": round(int(status["VmRSS"].split()[0]) / 1024, 3),
            "threads": int(status["Threads"]),
            "files": len(os.listdir(place / "fd")),
        }

    def figures(self) -> dict[str, float]:
        """Return what /metrics says; nothing where it does not answer."""
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"{self.url}metrics", timeout=ANSWER_S) as answer:
                text = answer.read().decode()
            return {name: float(value) for name, value in _FIGURE.findall(text)}
        return {}

    def stop(self) -> tuple[int, dict[str, Any]]:
        """Ask it to end as a system does; return its exit code and its summary."""
        self._program.send_signal(signal.SIGTERM)
        assert self._program.stdout is not None
        reading = threading.Timer(END_S, self._program.kill)
        reading.start()
        out = self._program.stdout.read()
        self._program.wait()
        reading.cancel()
        self._listening.join()
        return self._program.returncode, json.loads(out) if out.strip() else {}

    def kill(self) -> None:
        """End it in any case."""
        if not self.ended:
            self._program.kill()
        self._program.wait()

    def _listen(self) -> None:
        assert self._program.stderr is not None
        for line in self._program.stderr:
            self.said.append(line.rstrip())
            if found := re.search(r"watch at (\S+)", line):
                self._addresses.put(found[1])
        self._addresses.put("")

    def _address(self) -> str:
        try:
            url = self._addresses.get(timeout=START_S)
        except queue.Empty:
            url = ""
        if not url:
            self.kill()
            raise SystemExit(f"expected a run that serves, got: {' '.join(self.said) or 'no word'}")
        return url


class Audience:
    """One viewer that comes and goes, and one that reads a byte a second all the time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._slow = Clients(url, 0, 1)
        self._guest: Clients | None = None
        self.visits: list[int] = []  # pictures of each
        self.slow_bytes = 0

    @property
    def present(self) -> bool:
        return self._guest is not None

    def come(self) -> None:
        """Look, if nobody does."""
        if self._guest is None:
            self._guest = Clients(self._url, 1)

    def go(self) -> None:
        """Go, if somebody looks."""
        if self._guest is not None:
            self.visits += self._guest.stop()["pictures"]
            self._guest = None

    def leave(self) -> None:
        """Both go, for good."""
        self.go()
        self.slow_bytes = sum(self._slow.stop()["slow_bytes"])
