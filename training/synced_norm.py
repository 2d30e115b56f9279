"""Batch-norm over all processes, on any device, so that N processes train as one does.

torch.nn.SyncBatchNorm does this on GPUs only; there it is used. With one process nothing is replaced.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    total: Tensor = SumOverProcesses.apply(value)  # type: ignore[no-untyped-call]
    return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in train mode are those of the global batch."""

    def forward(self, features: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(features)
        count = features.numel() / features.shape[1] * dist.get_world_size()  # all hold equally many
        mean = _sum(features.sum(dim=(0, 2, 3))) / count
        centred = features - mean[:, None, None]
        # A second pass: mean of squares less square of mean would lose the digits that a small batch needs.
        variance = _sum((centred**2).sum(dim=(0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def synced(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every BatchNorm2d of `model`, in place on a CPU; parameters, buffers and their names stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d  # same fields; only forward differs
    return model
