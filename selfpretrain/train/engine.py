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
from selfpretrain.train.keeper import Diverged
from selfpretrain.train.learners import Member
from selfpretrain.train.trainer import Trainer


class Training(Protocol):
    """A run to be trained, before its lock is taken. ``build`` and ``finish`` are for the native engine."""

    run: RunFolder
    device: torch.device
    runtime: RuntimeConfig
    engine: Engine

    def build(self, num_seeds: int) -> Member:
        """Mark the run as running and make what is trained; ``num_seeds`` are trained together. Under the lock."""

    def finish(self, member: Member) -> None:
        """Store what the training gave."""


@dataclass(frozen=True)
class Engine:
    """Who trains what a stage has resolved, named and locked.

    ``train(trainings)`` marks each run as running (``start``), trains it from its token files into its folder, and gives
    what came of it to ``store``, under their locks. Raises Diverged, with the run's status set, and Interrupted.
    :class:`selfpretrain.stages.pretrain.Pretraining` and ``stages.finetune.Finetuning`` say what a training has.
    """

    train: Callable[[Sequence[Any]], None]
    stacks: bool = False  # several runs that differ in their seeds alone as one; else it gets one at a time
    describe: Callable[[Any], dict[str, Any]] = lambda training: {}  # what the provenance of each start adds


def carry_out(training: Training, wait: bool) -> RunFolder:
    """Train a run and store its result, or return it if it is done.

    Raises Diverged, (on a signal, after saving) Interrupted, and, unless to wait, Busy.
    """
    with distributed.hold(training.run, training.device, wait, training.runtime.rank_timeout) as is_open:
        if is_open:
            training.engine.train([training])
    return training.run


def carry_out_together(trainings: Sequence[Training]) -> None:
    """The same for runs that differ in their seeds alone, stacked as far as they stand at the same step.

    Runs that are done, that another process holds, or whose engine trains one at a time are left out; one that
    diverges leaves the others.
    """
    with ExitStack() as stack:
        held = []
        for training in (each for each in trainings if each.engine.stacks):
            with suppress(Busy):
                if stack.enter_context(distributed.hold(training.run, training.device, wait_for_lock=False)):
                    held.append(training)
        for step, party in choose_parties(held):
            for training in party:
                checkpoint.remove_newer(training.run.checkpoints, step)
            with suppress(Diverged):  # the runs say so
                party[0].engine.train(party)


def choose_parties(trainings: Sequence[Training]) -> Iterator[tuple[int, list[Training]]]:
    """Those that can go on from one and the same step, the largest party first.

    A kill between two checkpoints' writing leaves some runs one behind. The others go back to theirs: at most
    ``runtime.save_every`` steps are computed again, to the same bits.
    """
    rest: list[tuple[Training, list[int]]] = []  # each with the step of its last checkpoint, and others not much before
    for training in trainings:
        steps = [0, *checkpoint.list_steps(training.run.checkpoints)]
        rest.append((training, [step for step in steps if step >= steps[-1] - training.runtime.save_every]))
    while rest:
        counts = Counter(step for _, steps in rest for step in steps)
        start = max(counts, key=lambda step: (counts[step], step))
        yield start, [training for training, steps in rest if start in steps]
        rest = [(training, steps) for training, steps in rest if start not in steps]


def train_native(trainings: Sequence[Training]) -> None:
    """Train the runs, together if there are several, and finish those that did not diverge."""
    return_freed_memory()
    members: list[Member] = []
    with ExitStack() as stack:
        for training in trainings:
            members.append(training.build(len(trainings)))
            stack.callback(members[-1].keeper.tracker.finish, 1)  # of those that do not come to their end
        Trainer(members).train()
        for training, member in zip(trainings, members, strict=True):
            if training.run.status == "running":  # else it diverged
                training.finish(member)
                member.keeper.tracker.finish(0)


NATIVE = Engine(train_native, stacks=True)
