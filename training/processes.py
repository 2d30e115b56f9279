"""Several training processes as one: who is here, means and sums over them, and stopping together."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor


def open_fabric(device: str, precision: str) -> Fabric:
    """Return Fabric for this process; under torchrun it is one of several, on one machine or more."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // local
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=nodes,
        strategy="ddp" if local * nodes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def mean_of_terms(fabric: Fabric, terms: Mapping[str, Tensor]) -> dict[str, float]:
    """Average [N] tensors over images and processes, which all hold equally many."""
    means = torch.stack([value.detach().float().mean() for value in terms.values()])
    if fabric.world_size > 1:
        means = _reduced(fabric, means, "mean")
    return dict(zip(terms, means.tolist(), strict=True))


def sum_of_rows(fabric: Fabric, table: Tensor) -> Tensor:
    """Merge a table of which each process filled its own rows and left the others at 0."""
    return table if fabric.world_size == 1 else _reduced(fabric, table.to(fabric.device), "sum").cpu()


def any_process(fabric: Fabric, mine: bool) -> bool:
    """Agree on stopping: a process that stopped alone would leave the others waiting for ever."""
    if fabric.world_size == 1:
        return mine
    return bool(_reduced(fabric, torch.tensor(float(mine), device=fabric.device), "sum") > 0)


def _reduced(fabric: Fabric, value: Tensor, operation: str) -> Tensor:
    reduced = fabric.all_reduce(value, reduce_op=operation)
    assert isinstance(reduced, Tensor)
    return reduced
