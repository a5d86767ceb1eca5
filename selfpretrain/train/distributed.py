"""Several processes, one run: started by torchrun, gradients summed, files written by rank 0."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from selfpretrain.runs.folder import RunFolder


def start(device: torch.device) -> tuple[int, int]:
    """(rank, world size); joins the process group when torchrun started us, until :func:`leave`."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        # its functions keep the group there is when they are first imported (an optimizer does so) as their default,
        # and with it the threads that leave() has to end
        importlib.import_module("torch.distributed.nn.functional")
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # numbers on the CPU go by gloo, so that agreeing on them waits for no kernel
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return get_rank(), dist.get_world_size() if dist.is_initialized() else 1


def leave() -> None:
    """End this process's part in the group, if it has one, and its threads.

    One that lets go of its last tensor while the interpreter ends would abort the process.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def get_rank() -> int:
    """This process's place among those of its group; 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Replace every gradient by its sum over ranks; each rank's loss is already weighted by its share."""
    if world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def sum_measures(measures: dict[str, float], world: int) -> dict[str, float]:
    """Every measure summed over ranks; one without a micro-batch has none to add."""
    if world == 1:
        return measures
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, measures)
    totals: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def find_lowest(number: int, world: int) -> int:
    """The lowest of the ranks' numbers, so that all of them decide alike."""
    if world == 1:
        return number
    lowest = torch.tensor(number)
    dist.all_reduce(lowest, dist.ReduceOp.MIN)
    return int(lowest)


def wait(world: int) -> None:
    if world > 1:
        dist.barrier()


@contextmanager
def hold(run: RunFolder, device: torch.device, wait_for_lock: bool) -> Iterator[bool]:
    """Lock a run: rank 0 for all ranks. Yields whether it is still to be done; ends when every rank has ended."""
    rank, world = start(device)
    with run.lock(wait_for_lock) if rank == 0 else nullcontext():
        is_open = rank != 0 or run.status != "done"
        yield bool(find_lowest(int(is_open), world))
        wait(world)
