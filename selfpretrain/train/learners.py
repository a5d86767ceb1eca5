"""What learns: the weights of one run, or those of several seeds as one stack, with their optimizer.

The modules of stacked runs become slices of the stack, so that each is evaluated and saved as if it were trained alone.
On a CPU in fp32 a stacked seed equals its separate run up to the rounding of sums. S: the runs, in one order throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from selfpretrain.config import OptimConfig
from selfpretrain.data.examples import IGNORED, Arrays
from selfpretrain.model.stacking import SeedStreams, stack_modules, vmap_seeds
from selfpretrain.train.keeper import Keeper
from selfpretrain.train.muon import Muon
from selfpretrain.train.optim import AdamW, Multiplier, clip_gradients, clip_seeds

WeightedBatches = list[tuple[float, Arrays]]  # of an optimizer step, each with its weight in the step's loss
# what a run may do to its gradients when they are summed and not yet clipped: gets the step (from 0) and the parameters
# by name, [S, ...] of a stack
Hook = Callable[[int, Mapping[str, Tensor]], None]
State = dict[str, Tensor]  # of one run's optimizer
FILL = {"labels": IGNORED}  # what a shorter sequence is filled up with, where not by zeros
LENGTHS = "own_lengths"  # [S] of a stacked micro-batch: the seeds' sequence lengths before they were filled up


class BatchSource(Protocol):
    def __getitem__(self, step: int) -> WeightedBatches:
        """A pure function of the step; the weights sum to 1."""


@dataclass
class Member:
    """One of the runs that a trainer trains: most often the only one."""

    keeper: Keeper  # which has the module
    batches: BatchSource
    config: OptimConfig
    total_steps: int
    seed: int  # of dropout
    multiplier: Multiplier = lambda _: 1.0
    hook: Hook | None = None


class SingleLearner:
    """The module of one run, as it is."""

    clip = staticmethod(clip_gradients)

    def __init__(self, members: Sequence[Member], device: torch.device):
        (member,) = members
        module, runtime = member.keeper.module.train(), member.keeper.runtime
        self.device = device
        self.forward = torch.compile(module, mode=runtime.compile_mode) if runtime.compile else module
        self.optimizer = build_optimizer(module, member)

    @staticmethod
    def join(runs: Sequence[WeightedBatches]) -> WeightedBatches:
        """What every run has for a step, as :meth:`compute_loss` takes it."""
        return runs[0]

    def compute_loss(self, arrays: Arrays, seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and measures, a number each or [S]; ``seeds`` are of the runs' dropout."""
        return self.forward(move(arrays, self.device))

    def get_states(self) -> list[State]:
        """The optimizer's state of every run."""
        return [self.optimizer.get_state()]

    def set_states(self, states: Sequence[State]) -> None:
        self.optimizer.set_state(states[0])


class StackedLearner:
    """The modules of runs that differ in their seeds alone, as one with parameters [S, ...]; else the same."""

    clip = staticmethod(clip_seeds)

    def __init__(self, members: Sequence[Member], device: torch.device):
        self.num_seeds, self.device, self.streams = len(members), device, SeedStreams()
        first, runtime = members[0], members[0].keeper.runtime
        stack = stack_modules([member.keeper.module for member in members]).train()
        forward = vmap_seeds(stack, self.streams)
        # on a CPU masks come from the seeds' own generators, which a compiler cannot trace
        compiles = runtime.compile and device.type != "cpu"
        self.forward = torch.compile(forward, mode=runtime.compile_mode) if compiles else forward
        self.optimizer = build_optimizer(stack, first)

    @staticmethod
    def join(runs: Sequence[WeightedBatches]) -> WeightedBatches:
        stacked = []
        for parts in zip(*runs, strict=True):
            assert len({weight for weight, _ in parts}) == 1, "the seeds' micro-batches differ in size"
            stacked.append((parts[0][0], stack_arrays([arrays for _, arrays in parts])))
        return stacked

    def compute_loss(self, arrays: Arrays, seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        self.streams.start(seeds, arrays[LENGTHS].tolist())
        return self.forward(move({name: value for name, value in arrays.items() if name != LENGTHS}, self.device))

    def get_states(self) -> list[State]:
        state = self.optimizer.get_state()
        return [{k: v if k == "step" else v[i] for k, v in state.items()} for i in range(self.num_seeds)]

    def set_states(self, states: Sequence[State]) -> None:
        first = states[0]
        self.optimizer.set_state({k: first[k] if k == "step" else torch.stack([s[k] for s in states]) for k in first})


def build_optimizer(module: nn.Module, member: Member) -> AdamW | Muon:
    kind: type[AdamW | Muon] = Muon if member.config.optimizer == "muon" else AdamW
    return kind(dict(module.named_parameters()), member.config, member.multiplier)


def move(arrays: Arrays, device: torch.device) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    if device.type == "cpu":
        return tensors
    return {name: value.pin_memory().to(device, non_blocking=True) for name, value in tensors.items()}


def stack_arrays(parts: Sequence[Arrays]) -> Arrays:
    """One micro-batch per seed as one of arrays [S, B, ...]: shorter sequences are filled up with zeros, their labels with
    IGNORED.

    The attention mask hides those, or, in packed rows, the lengths of their texts.
    """
    lengths = np.array([arrays["input_ids"].shape[1] for arrays in parts])
    packed = "lengths" in parts[0]
    if not packed and (len(set(lengths)) > 1 or any("attention_mask" in arrays for arrays in parts)):
        parts = [{"attention_mask": np.ones(arrays["input_ids"].shape, bool), **arrays} for arrays in parts]
    names = parts[0].keys()
    assert all(arrays.keys() == names for arrays in parts)
    filled = {name: _stack_filled([arrays[name] for arrays in parts], FILL.get(name, 0)) for name in names}
    return {LENGTHS: lengths} | filled


def _stack_filled(values: Sequence[npt.NDArray[np.generic]], fill: int) -> npt.NDArray[np.generic]:
    shapes = [value.shape for value in values]
    if len(set(shapes)) > 1:
        gaps = np.max(shapes, axis=0) - shapes
        values = [
            np.pad(value, [(0, gap) for gap in own], constant_values=fill)
            for value, own in zip(values, gaps, strict=True)
        ]
    return np.stack(values)
