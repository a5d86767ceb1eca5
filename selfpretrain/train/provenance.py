"""What a run is computed on, and what it starts from: written down at every start."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from selfpretrain.devices import choose_autocast
from selfpretrain.runs.folder import RunFolder
from selfpretrain.train import distributed


def note_start(
    run: RunFolder, config_yaml: str, command: str, num_seeds: int, module: nn.Module, precision: str,
    device: torch.device,
) -> None:  # fmt: skip
    """Mark a run as running and add this start to its provenance: rank 0 for all ranks.

    ``module`` holds the weights before any training, also where the run will go on from a checkpoint.
    """
    rank, world = distributed.start(device)
    if rank == 0:
        facts = {"world_size": world, "initial_weights": hash_weights(module)}
        run.start(config_yaml, command, num_seeds, describe_device(precision, device) | facts)
    distributed.wait()


def describe_device(precision: str, device: torch.device) -> dict[str, Any]:
    dtype = choose_autocast(precision, device)
    return {
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "precision": {None: "fp32", torch.bfloat16: "bf16"}[dtype],
    }


def hash_weights(module: nn.Module) -> str:
    """SHA-256 (hex) of every parameter's name and bytes."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
