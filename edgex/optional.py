"""Import of optional packages, inside functions only: what is missing is named with the command that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgex.errors import MissingDependencyError

EXTRAS = {  # module -> extra of this package that brings it
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "rtx",
    "pycuda": "gpu",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "prometheus_client": "serve",
}


def require(module: str) -> ModuleType:
    """Import an optional module.

    Raises
    ------
    MissingDependencyError
        If it is not installed; the message holds the exact install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = EXTRAS.get(module.partition(".")[0])
        command = f"pip install 'edgex[{extra}]'" if extra else f"pip install {module}"
        raise MissingDependencyError(f"expected the package {module}, got {error}; run: {command}") from error
