"""How long an optimizer step takes here: the trainer's own step, timed."""

from __future__ import annotations

import dataclasses
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.runs.folder import RunFolder
from selfpretrain.tracking import NullTracker
from selfpretrain.train import distributed
from selfpretrain.train.trainer import BatchSource, Trainer

MAX_STEPS = 20


def build_timed_trainer(
    module: nn.Module, batches: BatchSource, config: OptimConfig, runtime: RuntimeConfig
) -> Trainer:
    """A trainer to time and throw away, with ``module``: it writes nothing, and hardly changes the weights."""
    gentle = dataclasses.replace(config, peak_lr=1e-9)  # a diverging model may compute at another speed
    nowhere = RunFolder(Path("timing"))
    return Trainer(module, batches, gentle, MAX_STEPS, run=nowhere, runtime=runtime, tracker=NullTracker(), seed=0)


def time_steps(trainer: Trainer, limit_seconds: float, max_steps: int = MAX_STEPS) -> float:
    """Median seconds of a step after one that warms up: as many as fit into the limit, at least one.

    The next batch is prepared meanwhile, as in training. With several ranks the slowest decides how many steps.
    """
    trainer.module.train()
    seconds: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(trainer.batches.__getitem__, 0)
        step, count = 0, 2
        while step < count:
            start = time.perf_counter()
            micro_batches, upcoming = upcoming.result(), pool.submit(trainer.batches.__getitem__, step + 1)
            trainer.step(step, micro_batches)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            step += 1
            if step == 2:
                fits = int(limit_seconds / max(seconds[1], 1e-9))
                count = distributed.find_lowest(min(1 + max_steps, max(2, fits)), trainer.world)
    return statistics.median(seconds[1:])
