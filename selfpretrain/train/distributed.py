"""Several processes, one run: started by torchrun, gradients summed, files written by rank 0."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def start() -> tuple[int, int]:
    """(rank, world size); joins the process group when torchrun started us."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def sum_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Replace every gradient by its sum over ranks; each rank's loss is already weighted by its share."""
    if world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def wait(world: int) -> None:
    if world > 1:
        dist.barrier()
