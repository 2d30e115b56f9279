"""The one place that imports torchvision.

Torchvision has no CPU build for recent torch releases: its compiled operators do not load beside a CPU torch, and then
`import torchvision` fails while it registers fakes for `torchvision::nms` and `torchvision::qnms`. Defining those two
schemas first, when they are missing, makes its models usable. Detection operators and `torchvision.io` stay unusable.
"""

from __future__ import annotations

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []  # a definition lives as long as its Library object


def _define_missing_schemas() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call,unused-ignore]
    for name, schema in _SCHEMAS.items():
        if not torch._C._dispatch_has_kernel(f"torchvision::{name}"):
            library.define(schema)
    _libraries.append(library)


_define_missing_schemas()

import torchvision  # noqa: E402

__all__ = ["torchvision"]
