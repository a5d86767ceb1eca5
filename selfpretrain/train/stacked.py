"""Several seeds of one run, trained together: the Trainer's loop over stacked weights.

Each seed keeps its own Trainer (here a *member*) with its run, tracker and evaluation. The members' modules hold slices
of the stacked weights, so a member logs, evaluates and saves by its ordinary code, and its run folder does not tell
whether it was trained alone. On a CPU in fp32 a seed equals its separate run up to the rounding of sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfpretrain.model.stacking import SeedStreams, stack_modules, vmap_seeds
from selfpretrain.seeds import derive_seed
from selfpretrain.tracking import NullTracker
from selfpretrain.train.optim import StackedAdamW
from selfpretrain.train.trainer import NEVER, Arrays, BatchSource, Diverged, Trainer

LENGTHS = "own_lengths"  # [S] of a stacked micro-batch: the seeds' sequence lengths before they were filled up


class StackedBatches:
    """The micro-batches of several sources as one of arrays [S, B, ...]."""

    def __init__(self, sources: Sequence[BatchSource]):
        self.sources = sources

    def __getitem__(self, step: int) -> list[tuple[float, Arrays]]:
        stacked = []
        for parts in zip(*(source[step] for source in self.sources), strict=True):
            weights = {weight for weight, _ in parts}
            assert len(weights) == 1, "the seeds' micro-batches differ in size"
            stacked.append((weights.pop(), stack_arrays([arrays for _, arrays in parts])))
        return stacked


def stack_arrays(parts: Sequence[Arrays]) -> Arrays:
    """One micro-batch per seed as one: shorter sequences are filled up with zeros.

    The attention mask hides those, or, in packed rows, the lengths of their texts.
    """
    lengths = np.array([arrays["input_ids"].shape[1] for arrays in parts])
    packed = "lengths" in parts[0]
    if not packed and (len(set(lengths)) > 1 or any("attention_mask" in arrays for arrays in parts)):
        parts = [{"attention_mask": np.ones(arrays["input_ids"].shape, bool), **arrays} for arrays in parts]
    names = parts[0].keys()
    assert all(arrays.keys() == names for arrays in parts)
    return {LENGTHS: lengths} | {name: _stack_filled([arrays[name] for arrays in parts]) for name in names}


def _stack_filled(values: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    shapes = [value.shape for value in values]
    if len(set(shapes)) > 1:
        gaps = np.max(shapes, axis=0) - shapes
        values = [np.pad(value, [(0, gap) for gap in own]) for value, own in zip(values, gaps, strict=True)]
    return np.stack(values)


class StackedTrainer(Trainer):
    """Trains several members at once; a member whose loss is not finite leaves, the others go on.

    The members must differ in their seeds alone and stand at the same step.
    """

    def __init__(self, members: Sequence[Trainer]):
        first = members[0]
        super().__init__(
            first.module, StackedBatches([member.batches for member in members]), first.config, first.total_steps,
            run=first.run, runtime=first.runtime, tracker=NullTracker(), seed=first.seed, evaluation=first.evaluation,
            multiplier=first.multiplier,
        )  # fmt: skip
        assert self.world == 1, "seeds are stacked in one process"
        assert {member.total_steps for member in members} == {self.total_steps}
        self.members = list(members)
        self.places = list(range(len(members)))  # of the members in a batch
        self.streams = SeedStreams()

    # a step

    def step(self, step: int, micro_batches: list[tuple[float, Arrays]]) -> None:
        if len(self.places) < len(next(iter(micro_batches[0][1].values()))):  # batches are made for all that began
            micro_batches = [(w, {name: value[self.places] for name, value in a.items()}) for w, a in micro_batches]
        super().step(step, micro_batches)

    def compute_loss(self, step: int, index: int, arrays: Arrays) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses [S] and measures [S]."""
        seeds = [derive_seed(member.seed, "dropout", step, index) for member in self.members]
        self.streams.start(seeds, arrays[LENGTHS].tolist())
        return super().compute_loss(step, index, {name: value for name, value in arrays.items() if name != LENGTHS})

    # what happens now and then: by the members

    def log(self, done: int) -> None:
        def log_member(index: int, member: Trainer) -> None:
            member.sums = {name: total[index] for name, total in self.sums.items()}
            member.num_summed, member.logged_at = self.num_summed, self.logged_at
            member.tokens = self.tokens // len(self.members)
            member.log(done)

        self._ask_members(log_member)
        self.sums, self.num_summed, self.tokens, self.logged_at = {}, 0, 0, time.perf_counter()

    def evaluate(self, done: int) -> None:
        self._ask_members(lambda _, member: member.evaluate(done))

    def check_finite(self, done: int) -> None:
        self._ask_members(lambda _, member: member.check_finite(done))

    def save(self, done: int) -> None:
        def save_member(index: int, member: Trainer) -> None:
            member.optimizer.set_state(self._get_state(index))
            member.save(done)
            member.optimizer.set_state({})

        self._ask_members(save_member)

    def resume(self) -> int:
        steps = {member.resume() for member in self.members}
        assert len(steps) == 1, f"the runs stand at different steps: {sorted(steps)}"
        self._stack()
        return steps.pop()

    def _ask_members(self, ask: Callable[[int, Trainer], None]) -> None:
        """Call ``ask`` for every member and go on with those that have not diverged; Diverged when none is left."""
        kept: list[int] = []
        for index, member in enumerate(self.members):
            member.bad_step = self.bad_step[index]
            try:
                ask(index, member)
                kept.append(index)
            except Diverged as error:  # its run says so
                last = error
        if not kept:
            raise last
        if len(kept) < len(self.members):
            self._keep(kept)

    # the stack

    def _stack(self) -> None:
        """Stack the members' weights and optimizer states."""
        self.name = "+".join(member.run.id for member in self.members)
        self.module = stack_modules([member.module for member in self.members]).train()
        forward = vmap_seeds(self.module, self.streams)
        # on a CPU masks come from the seeds' own generators, which a compiler cannot trace
        compiles = self.runtime.compile and self.device.type != "cpu"
        self.forward = torch.compile(forward, mode=self.runtime.compile_mode) if compiles else forward
        states = [member.optimizer.get_state() for member in self.members]
        self.optimizer = StackedAdamW(self.module, self.config, self.multiplier)
        self.optimizer.set_state(
            {name: value if name == "step" else torch.stack([state[name] for state in states])
             for name, value in states[0].items()}
        )  # fmt: skip
        for member in self.members:
            member.optimizer.set_state({})
        self.bad_step = torch.full((len(self.members),), NEVER, dtype=torch.int64, device=self.device)

    def _get_state(self, index: int) -> dict[str, Tensor]:
        """One seed's part of the optimizer's state."""
        state = self.optimizer.get_state()
        return {name: value if name == "step" else value[index] for name, value in state.items()}

    def _keep(self, kept: list[int]) -> None:
        """Go on with the members at these places alone."""
        for index in kept:
            self.members[index].optimizer.set_state(self._get_state(index))
        self.members, self.places = [self.members[i] for i in kept], [self.places[i] for i in kept]
        self.sums = {name: total[kept] for name, total in self.sums.items()}
        self._stack()
