"""An Explanandum as this project trains it: a body that makes feature maps, and a new linear head over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Class logits from an image.

    Attributes
    ----------
    body : image [N, 3, H, W] to feature maps [N, F, h, w]
    neck : feature maps to one vector [N, D] per image (pooling; for VGG also its two wide layers), or to one per
        place, [N, P, D]
    head : dropout and a linear layer, [N, D] to [N, C]; places are pooled after it, by log-mean-exp, a soft maximum
        that lets a small object speak for itself where a mean dilutes it (Pinheiro and Collobert, CVPR 2015)
    """

    def __init__(self, body: nn.Module, neck: nn.Module, width: int, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.body = body
        self.neck = neck
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.neck(self.body(image)))
        return logits if logits.ndim == 2 else torch.logsumexp(logits, dim=1) - math.log(logits.shape[1])


def global_pool() -> nn.Module:
    """Mean over height and width: [N, F, h, w] to [N, F]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class EveryPlace(nn.Module):
    """One vector per place: [N, F, h, w] to [N, h * w, F]."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).transpose(1, 2)
