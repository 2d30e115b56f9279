"""edgex: see, live and on the device, which pixels make a classifier say what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgex.explain import Explainer, Explanation, load

__all__ = ["Explainer", "Explanation", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        import edgex.explain

        return getattr(edgex.explain, name)
    raise AttributeError(f"module 'edgex' has no attribute {name!r}")
