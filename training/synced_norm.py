"""Batch-norm over all processes, on any device, so that N processes train as one does.

torch.nn.SyncBatchNorm does this on GPUs only; there it is used. With one process nothing is replaced.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in train mode are those of the global batch."""

    def forward(self, features: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(features)
        count = features.new_tensor([features.numel() / features.shape[1]])
        sums = torch.cat([features.sum(dim=(0, 2, 3)), (features**2).sum(dim=(0, 2, 3)), count])
        total: Tensor = all_reduce(sums)  # type: ignore[no-untyped-call]  # differentiable
        mean, square = (total[:-1] / total[-1]).chunk(2)
        variance = (square - mean**2).clamp(min=0)
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                n = total[-1]
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return features * scale[:, None, None] + shift[:, None, None]


def synced(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every BatchNorm2d of `model` in place; parameters, buffers and their names stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d  # same fields; only forward differs
    return model
