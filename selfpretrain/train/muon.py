"""Muon: the layers' matrices move by their orthogonalised momentum; everything else moves by AdamW.

Jordan et al. 2024, as torch.optim.Muon has it, with its scale .2 sqrt(max(rows, columns)), at which AdamW's rates and
decay hold. torch's own takes single matrices only: here queries, keys and values, which lie in one parameter, are a
matrix each, so are several seeds' weights [S, ...], and all matrices of one shape are orthogonalised at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from selfpretrain.config import OptimConfig
from selfpretrain.train.optim import AdamW, Multiplier

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of its quintic steps; these and what follows: torch.optim.Muon
NUM_STEPS = 5
SCALE = 0.2


def is_matrix(name: str) -> bool:
    """Whether a parameter is a matrix inside a layer; embeddings, heads, norms and biases are not."""
    return "layers." in name and name.endswith(".weight") and "norm" not in name


@torch.no_grad()
def orthogonalize(matrices_NRC: Tensor) -> Tensor:
    """U V^T of every matrix U S V^T with rows <= columns, about: its singular values end between .5 and 1.5."""
    a, b, c = NEWTON_SCHULZ
    x_NRC = matrices_NRC.bfloat16() if matrices_NRC.is_cuda else matrices_NRC
    x_NRC = x_NRC / x_NRC.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NUM_STEPS):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = torch.baddbmm(x_NRC, torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c), x_NRC, beta=a)
    return x_NRC.to(matrices_NRC.dtype)


def split(value: Tensor, name: str) -> Tensor:
    """A parameter (or its like) as matrices [N, rows, columns] with rows <= columns."""
    num_fused = 3 if name.endswith("qkv.weight") else 1
    matrices = value.unflatten(-2, (num_fused, -1)).flatten(0, -3)
    return matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices


def join(matrices: Tensor, like: Tensor, name: str) -> Tensor:
    """What :func:`split` gave, in the shape of the parameter."""
    rows = like.shape[-2] // (3 if name.endswith("qkv.weight") else 1)
    return (matrices.mT if matrices.shape[1] != rows else matrices).reshape(like.shape)


class Muon:
    """The same methods as :class:`AdamW`, which has the parameters that are no matrices of a layer."""

    def __init__(self, named: Mapping[str, Tensor], config: OptimConfig, multiplier: Multiplier = lambda _: 1.0):
        self.config, self.multiplier = config, multiplier
        self.matrices = {name: value for name, value in named.items() if is_matrix(name)}
        self.rest = AdamW({name: value for name, value in named.items() if not is_matrix(name)}, config, multiplier)
        self.named = self.rest.named | self.matrices
        self.parameters = list(self.named.values())
        self.momentum: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float, step: int) -> None:
        """Apply the gradients at rate ``lr``; ``step`` counts from 0."""
        self.rest.step(lr, step)
        groups: dict[torch.Size, dict[str, Tensor]] = {}  # by the shape of a matrix
        for name, value in self.matrices.items():
            if value.grad is not None:
                update = split(self._follow(name, value.grad), name)
                groups.setdefault(update.shape[1:], {})[name] = update
        for (_, columns), group in groups.items():
            updates = list(group.values())
            found = orthogonalize(torch.cat(updates)).split([len(update) for update in updates])
            for name, matrices in zip(group, found, strict=True):
                value, rate = self.matrices[name], lr * self.multiplier(name)
                value.mul_(1 - rate * self.config.weight_decay)
                value.add_(join(matrices, value, name), alpha=-rate * SCALE * math.sqrt(columns))

    def _follow(self, name: str, gradient: Tensor) -> Tensor:
        """The momentum with the gradient added, seen from one step ahead (Nesterov)."""
        momentum = self.momentum.setdefault(name, torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - self.config.momentum)
        return gradient.lerp(momentum, self.config.momentum)

    def get_state(self) -> dict[str, Tensor]:
        """That of AdamW, and ``momentum.<name>`` of the matrices."""
        return self.rest.get_state() | {f"momentum.{name}": value for name, value in self.momentum.items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`get_state` gave; an empty state is that of the start."""
        self.rest.set_state(state)
        self.momentum = {
            name: state[f"momentum.{name}"].to(value.device).clone()
            for name, value in self.matrices.items()
            if f"momentum.{name}" in state
        }
