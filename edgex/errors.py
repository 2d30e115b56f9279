"""Every error that edgex raises on purpose.

    EdgexError                     exit code 1: could not
    ├── UsageError                 exit code 2: the request itself is wrong
    │   └── UnknownClassError      a class name that the model does not have
    ├── ModelError                 the model file cannot be read, or lacks what is asked of it
    ├── SourceError                frames cannot be read
    ├── DataError                  pictures or annotations to train on are missing or broken
    ├── SinkError                  a picture, video or record cannot be written
    ├── MissingDependencyError     an optional package is not installed
    └── FidelityError              exit code 3: the engine does not explain what the reference explains

A message is one sentence: what was expected, what came, what to do.
"""

from __future__ import annotations


class EdgexError(Exception):
    """Base of all errors that edgex raises on purpose; what others' words bring into a message comes in one line."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(" ".join(str(message).split()))


class UsageError(EdgexError):
    """The request is wrong: an option, a shape, a name."""

    exit_code = 2


class UnknownClassError(UsageError):
    """A class name that the model does not have; the message names the nearest ones."""


class ModelError(EdgexError):
    """The model file cannot be read, or lacks what is asked of it."""


class SourceError(EdgexError):
    """Frames cannot be read."""


class DataError(EdgexError):
    """Pictures or annotations to train on are missing or broken; the message names the file."""


class SinkError(EdgexError):
    """A picture, a video or a record cannot be written."""


class MissingDependencyError(EdgexError):
    """An optional package is not installed; the message holds the command that installs it."""


class FidelityError(EdgexError):
    """An engine does not explain what the reference explains."""

    exit_code = 3
