"""Methods: ways to get one mask per class for an image. One file per method; all are scored by the same code.

>>> masks = method.masks(image, wanted)            # doctest: +SKIP
>>> merged = merge(masks, target)                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Method(Protocol):
    """A way to get masks. `name` is how tables call it."""

    @property
    def name(self) -> str: ...

    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        """Return float32 [N, C, H, W], 0 to 1, without a graph.

        Parameters
        ----------
        image : float32 [N, 3, H, W], normalised
        wanted : bool [N, C], the classes whose masks will be used; those of other classes may be left 0
        """
        ...


def merge(masks: Tensor, chosen: Tensor) -> Tensor:
    """Merge the masks of the chosen classes: their maximum at each pixel.

    The sigmoid is monotonic, so this equals the sigmoid of the maximum of the upsampled logits.

    Parameters
    ----------
    masks : float [N, C, H, W], 0 to 1
    chosen : bool [N, C]

    Returns
    -------
    float [N, H, W]; 0 where nothing is chosen
    """
    return torch.where(chosen[:, :, None, None], masks, 0.0).amax(dim=1)
