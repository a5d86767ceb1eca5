"""How long an optimizer step takes here: the trainer's own step, timed."""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.runs.folder import RunFolder
from selfpretrain.tracking import NullTracker
from selfpretrain.train import distributed
from selfpretrain.train.keeper import Keeper
from selfpretrain.train.learners import BatchSource, Member
from selfpretrain.train.trainer import Trainer


def time_steps(
    module: nn.Module, batches: BatchSource, config: OptimConfig, runtime: RuntimeConfig, limit_seconds: float,
    max_steps: int = 20,
) -> float:  # fmt: skip
    """Median seconds of a step after one that warms up: as many as fit into the limit, at least one.

    Writes nothing, and hardly changes the weights. With several ranks the slowest decides how many steps.
    """
    gentle = dataclasses.replace(config, peak_lr=1e-9)  # a diverging model may compute at another speed
    keeper = Keeper(module, RunFolder(Path("timing")), runtime, NullTracker())
    trainer = Trainer([Member(keeper, batches, gentle, 1 + max_steps, seed=0)])
    seconds: list[float] = []
    count = 2
    start = time.perf_counter()
    for done in trainer.run_steps(0):
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        if done == 2:
            count = distributed.find_lowest(int(limit_seconds / max(seconds[1], 1e-9)))
        if done >= count:
            break
        start = time.perf_counter()
    return statistics.median(seconds[1:])
