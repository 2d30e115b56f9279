"""A program of its own whose bytes come through a pipe, in bounded time, and whose last words are kept.

The bytes have a pipe for themselves, since plugins and libraries print on standard output.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgex.errors import SourceError
from edgex.sources.address import masked

_GO_S = 1.0  # a program that has not ended so long after it was interrupted is killed
_SAID_BYTES = 4096  # what is kept of its error stream
_LONGEST_CAUSE = 300  # characters


class PipedProgram:
    """A running program.

    Parameters
    ----------
    command : gives the program and its arguments for the file descriptor that it shall write to

    Raises
    ------
    SourceError
        If it cannot be started.
    """

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        self._said = b""
        self._ahead = b""  # given back, to be read again
        self._bytes, into = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*_dies_with_us(), *command(into)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(into,),
                start_new_session=True,  # Ctrl-C is for us: we end it
                env={**os.environ, "LC_ALL": "C"},  # its errors are looked for by their English words
            )
        except OSError as error:
            os.close(self._bytes)
            name = command(into)[0]
            raise SourceError(f"expected to start {name}, got {error.strerror}; install it again") from error
        finally:
            os.close(into)
        assert self._process.stderr is not None
        self._words = self._process.stderr
        for end in (self._bytes, self._words.fileno()):
            os.set_blocking(end, False)

    def exactly(self, count: int, until_s: float) -> NDArray[np.uint8]:
        """Read `count` bytes by the time `until_s` (time.monotonic).

        Raises
        ------
        SourceError
            If they did not come in time, or the program has ended.
        """
        content = np.empty(count, np.uint8)
        view = content.data
        ready = min(count, len(self._ahead))
        view[:ready] = self._ahead[:ready]
        self._ahead = self._ahead[ready:]
        while ready < count:
            self._wait(until_s)
            try:
                read = os.readv(self._bytes, [view[ready:]])
            except BlockingIOError:  # it had a word to say, and no bytes
                continue
            if read == 0:
                raise SourceError(f"expected pictures, got {self._cause()}; check the pipeline")
            ready += read
        return content

    def line(self, longest: int, until_s: float) -> bytes:
        """Read a line of at most `longest` bytes and return it without its end. Raises SourceError as `exactly`."""
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > longest:
                raise SourceError(f"expected a line before each picture, got {line[:40]!r}; check the pipeline")
            line += self.exactly(1, until_s).tobytes()
        return line[:-1]

    def give_back(self, content: bytes) -> None:
        """Let `content` be read again, before everything else."""
        self._ahead = content + self._ahead

    def close(self) -> None:
        """End the program: it is interrupted first, so that it can give a camera back well."""
        os.close(self._bytes)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_GO_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def _wait(self, until_s: float) -> None:
        """Wait until there are bytes, or their end; what the program says meanwhile is kept."""
        while True:
            ends = [self._bytes] if self._words.closed else [self._bytes, self._words.fileno()]
            readable, _, _ = select.select(ends, [], [], max(0.0, until_s - time.monotonic()))
            if self._bytes in readable:
                return
            if time.monotonic() >= until_s:
                raise SourceError("expected pictures, got none in time; check the camera")
            self._listen()

    def _listen(self) -> None:
        try:
            said = b"" if self._words.closed else os.read(self._words.fileno(), _SAID_BYTES)
        except BlockingIOError:
            return
        if not said:
            self._words.close()
        self._said = (self._said + said)[-_SAID_BYTES:]

    def _cause(self) -> str:
        """Return why the program ended: its first error, or its last line."""
        try:
            self._process.wait(_GO_S)
        except subprocess.TimeoutExpired:
            pass
        self._listen()
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR") or "erroneous" in line]
        cause = (errors or lines[-1:] or [f"its end (exit code {self._process.poll()})"])[0]
        return masked(cause[:_LONGEST_CAUSE].replace(";", ",").rstrip("."))


def _dies_with_us() -> list[str]:
    """Return what makes the kernel end a program with the thread that started it, also when that is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
