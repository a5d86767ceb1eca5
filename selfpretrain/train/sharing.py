"""Layers that begin as one and part later: share weights, then unshare [Yang et al. 2021, arXiv 2110.03848].

The layers of each network (the encoder's, and by themselves those of ELECTRA's generator) are B units of ``share_unit``
consecutive layers. Units that are tied have the same weights and move by the mean of their gradients; embeddings, heads
and what projects between widths are never shared.

Every unit keeps parameters and moments of its own, which are equal as long as it is tied: to part is to average no longer,
checkpoints have the form they always have, and a step takes the memory and the FLOPs of an untied one. What is gained is
fewer steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from selfpretrain.config import SHARE_CHECKS, PretrainConfig

LAYER = re.compile(r"(.+?)\.layers\.(\d+)\..+")  # a parameter's name: network, place of the layer


@dataclass
class Stack:
    """The units of one network, and which of them are still tied. Lists over neighbours have B - 1 elements."""

    units: list[list[str]]  # the names of each one's parameters, in one order
    parted: list[int | None]  # neighbours: the steps taken until they part, where that is known
    streaks: list[int]  # neighbours: checks in a row that were for parting

    def list_groups(self, step: int) -> list[list[int]]:
        """The places of units that are one at step ``step`` (from 0), in order."""
        groups = [[0]]
        for below, steps in enumerate(self.parted):
            if steps is None or step < steps:
                groups[-1].append(below + 1)
            else:
                groups.append([below + 1])
        return groups


class Sharing:
    """Which layers of a run are tied, and what that does to their gradients and weights.

    ``fixed`` parts all units of a network after ``share_until`` of the steps. The others look at the gradients before the
    steps ``share_check_every``, 2 ``share_check_every``, ... and part, from that step on, after three checks in a row:
    ``adaptive`` all units, where more than half of the neighbours correlate below ``share_threshold``; ``multistep`` those
    neighbours that do, so that groups are split until none is left. Each network decides for itself.
    """

    def __init__(self, config: PretrainConfig, names: Iterable[str], total_steps: int):
        self.config, self.total_steps = config, total_steps
        self.is_fixed = config.weight_sharing == "fixed"
        until = round(config.share_until * total_steps) if self.is_fixed else None
        self.stacks = {
            name: Stack(units, [until] * (len(units) - 1), [0] * (len(units) - 1))
            for name, units in list_units(names, config.share_unit).items()
        }
        self.firsts: dict[str, str] = {}  # at this step: a parameter that is a copy -> the first of its kind

    @torch.no_grad()
    def average(self, step: int, named: Mapping[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Give tied parameters the mean of their gradients, as one tensor that all of them have.

        Returns the parameters to be clipped, each tied one once: their norm counts it once, and scaling it scales all. And
        measures by name: the number of ``<network>_groups``; of a check also ``<network>_correlation``, the mean over the
        neighbours that were tied, and ``<network>_correlation_lowest``.
        """
        measures: dict[str, Tensor] = {}
        self.firsts = {}
        for name, stack in self.stacks.items():
            if not self.is_fixed and step and step % self.config.share_check_every == 0:
                measures |= {f"{name}_{key}": value for key, value in self._check(stack, step, named).items()}
            groups = stack.list_groups(step)
            measures[f"{name}_groups"] = torch.tensor(float(len(groups)))
            for first, *others in groups:
                for same in zip(*(stack.units[place] for place in (first, *others)), strict=True):
                    average_gradients([named[each] for each in same])
                    self.firsts |= dict.fromkeys(same[1:], same[0])
        return [parameter for name, parameter in named.items() if name not in self.firsts], measures

    @torch.no_grad()
    def copy_weights(self, named: Mapping[str, Tensor]) -> None:
        """After the optimizer's step: tied weights are the first's to the bit, also where it rounds by place, as products
        of many matrices do (Muon).
        """
        for name, first in self.firsts.items():
            named[name].copy_(named[first])

    def _check(self, stack: Stack, step: int, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Look at the gradients of neighbours that are tied, and part those whose time has come.

        Gradients without a correlation (none yet, all zero, not finite) tell nothing.
        """
        tied = [place for place, steps in enumerate(stack.parted) if steps is None]
        gradients = [[grad for name in unit if (grad := named[name].grad) is not None] for unit in stack.units]
        if not tied or not all(gradients):
            return {}
        found = torch.stack([correlate(gradients[place], gradients[place + 1]) for place in tied])
        if not found.isfinite().all():
            return {}
        votes = vote(found.tolist(), self.config.share_threshold, self.config.weight_sharing == "adaptive")
        for place, parts in zip(tied, votes, strict=True):
            stack.streaks[place] = stack.streaks[place] + 1 if parts else 0
            if stack.streaks[place] == SHARE_CHECKS:
                stack.parted[place] = step
        return {"correlation": found.mean(), "correlation_lowest": found.min()}

    # what is kept

    def describe(self) -> dict[str, list[int | None]]:
        """By network: the steps after which each unit and the next parted; None: not in this run."""
        return {
            name: [None if steps is None or steps >= self.total_steps else steps for steps in stack.parted]
            for name, stack in self.stacks.items()
        }

    def get_state(self) -> dict[str, Any]:
        """What :meth:`set_state` restores, as JSON."""
        return {name: {"parted": stack.parted, "streaks": stack.streaks} for name, stack in self.stacks.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        for name, stack in self.stacks.items():
            stack.parted, stack.streaks = list(state[name]["parted"]), list(state[name]["streaks"])


def list_units(names: Iterable[str], size: int) -> dict[str, list[list[str]]]:
    """The parameters inside layers: by network, for each ``size`` consecutive layers their names."""
    layers: dict[str, dict[int, list[str]]] = {}
    for name in names:
        if found := LAYER.fullmatch(name):
            layers.setdefault(found[1], {}).setdefault(int(found[2]), []).append(name)
    return {
        network: [[name for i in range(first, first + size) for name in own[i]] for first in range(0, len(own), size)]
        for network, own in layers.items()
    }


@torch.no_grad()
def copy_first_unit(module: nn.Module, size: int) -> None:
    """Let all units of a network begin with the weights of its first."""
    named = dict(module.named_parameters())
    for units in list_units(named, size).values():
        for same in zip(*units, strict=True):
            for name in same[1:]:
                named[name].copy_(named[same[0]])


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Their mean in the place of each, in no memory but the first's; nothing where they are in no loss."""
    mean = parameters[0].grad
    if mean is None or len(parameters) == 1:
        return
    for parameter in parameters[1:]:
        assert parameter.grad is not None
        mean.add_(parameter.grad)
    mean.div_(len(parameters))
    for parameter in parameters[1:]:
        parameter.grad = mean


def correlate(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Pearson's correlation of two lists of tensors of the same shapes, over all of their elements."""
    return torch.corrcoef(torch.stack([torch.cat([part.flatten() for part in each]) for each in (first, second)]))[0, 1]


def vote(correlations: Sequence[float], threshold: float, together: bool) -> list[bool]:
    """Whether neighbours should part: each that is below, or, together, all if more than half are."""
    below = [value < threshold for value in correlations]
    return [2 * sum(below) > len(below)] * len(below) if together else below
