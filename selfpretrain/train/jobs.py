"""Carrying runs out: one by itself, or several that differ in their seeds alone as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from selfpretrain.config import RuntimeConfig
from selfpretrain.devices import return_freed_memory
from selfpretrain.runs.folder import Busy, RunFolder
from selfpretrain.train import checkpoint, distributed
from selfpretrain.train.stacked import StackedTrainer
from selfpretrain.train.trainer import Diverged, Trainer


class Job(Protocol):
    """A run to be trained, before its lock is taken. ``build`` and ``finish`` are for the native engine."""

    run: RunFolder
    device: torch.device
    runtime: RuntimeConfig
    engine: Engine

    def build(self, num_seeds: int) -> Trainer:
        """Mark the run as running and make its trainer; ``num_seeds`` are trained together. Under the lock."""

    def finish(self, trainer: Trainer) -> None:
        """Store what the training gave."""


@dataclass(frozen=True)
class Engine:
    """Who trains what a stage has resolved, named and locked.

    ``train(jobs)`` marks each job as running (``start``), trains it from its token files into its run folder, and gives
    what came of it to ``store``, under their locks. Raises Diverged, with the run's status set, and Interrupted.
    :class:`selfpretrain.stages.pretrain.Pretraining` says what a job has; a fine-tuning is the native engine's.
    """

    train: Callable[[Sequence[Any]], None]
    stacks: bool = False  # several runs that differ in their seeds alone as one; else it gets one at a time


def carry_out(job: Job, wait: bool) -> RunFolder:
    """Train a run and store its result, or return it if it is done.

    Raises Diverged, (on a signal, after saving) Interrupted, and, unless to wait, Busy.
    """
    with distributed.hold(job.run, job.device, wait) as is_open:
        if is_open:
            job.engine.train([job])
    return job.run


def carry_out_together(jobs: Sequence[Job]) -> None:
    """The same for runs that differ in their seeds alone, stacked as far as they stand at the same step.

    Runs that are done, that another process holds, or whose engine trains one at a time are left out; one that
    diverges leaves the others.
    """
    with ExitStack() as stack:
        held = [job for job in jobs if job.engine.stacks and _hold(stack, job)]
        for step, party in choose_parties(held):
            for job in party:
                checkpoint.remove_newer(job.run.checkpoints, step)
            with suppress(Diverged):  # the runs say so
                party[0].engine.train(party)


def _hold(stack: ExitStack, job: Job) -> bool:
    try:
        return stack.enter_context(distributed.hold(job.run, job.device, wait_for_lock=False))
    except Busy:
        return False


def choose_parties(jobs: Sequence[Job]) -> Iterator[tuple[int, list[Job]]]:
    """Jobs that can go on from one and the same step, the largest party first.

    A kill between two checkpoints' writing leaves some runs one behind. The others go back to theirs: at most
    ``runtime.save_every`` steps are computed again, to the same bits.
    """
    rest = {job.run.id: job for job in jobs}
    steps = {name: list_starts(job) for name, job in rest.items()}
    while rest:
        counts = Counter(step for name in rest for step in steps[name])
        step = max(counts, key=lambda step: (counts[step], step))
        party = [name for name in rest if step in steps[name]]
        yield step, [rest.pop(name) for name in party]


def list_starts(job: Job) -> list[int]:
    """The steps a job may go on from: that of its last checkpoint, and others not much before."""
    steps = [0, *checkpoint.list_steps(job.run.checkpoints)]
    return [step for step in steps if step >= steps[-1] - job.runtime.save_every]


def train_native(jobs: Sequence[Job]) -> None:
    """Build the jobs' trainers, train them, stacked if there are several, and finish those that did not diverge."""
    return_freed_memory()
    trainers: list[Trainer] = []
    try:
        for job in jobs:
            trainers.append(job.build(len(jobs)))
        whole = trainers[0] if len(trainers) == 1 else StackedTrainer(trainers)
        whole.train()
        for job, trainer in zip(jobs, trainers, strict=True):
            if job.run.status == "running":  # else it diverged
                job.finish(trainer)
                trainer.tracker.finish(0)
    finally:
        for trainer in trainers:
            trainer.tracker.finish(1)  # those that did not come to their end


NATIVE = Engine(train_native, stacks=True)
