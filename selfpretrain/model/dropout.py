"""Dropout whose masks come from raw random words on a CPU, where torch's Bernoulli sampler is the slow part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16  # a mask element is one 16-bit word compared with a threshold: probabilities are exact to 2^-17


def draw_keep_mask(shape: torch.Size, prob: float, generator: torch.Generator | None = None) -> Tensor:
    """A bool mask that is False with probability ``prob``, from a CPU generator (None: torch's global one)."""
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    threshold = round(prob * LEVELS) - LEVELS // 2
    return (words.view(torch.int16)[:count] >= threshold).view(shape)


def scale_kept(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    """``x * scale`` where ``keep``, else 0. Read as bytes, since a product with bools is a slow one."""
    return (x * keep.view(torch.uint8)).mul_(scale)


class MaskedScale(torch.autograd.Function):
    """:func:`scale_kept` with its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, keep: Tensor, scale: float) -> Tensor:  # type: ignore[override,no-untyped-def]
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return scale_kept(x, keep, scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override,no-untyped-def]
        (keep,) = ctx.saved_tensors
        return scale_kept(grad, keep, ctx.scale), None, None


class Dropout(nn.Module):
    """Inverted dropout, the same distribution on every device; ``generator`` (None: torch's global one) for a CPU."""

    def __init__(self, prob: float, generator: torch.Generator | None = None):
        super().__init__()
        self.prob, self.generator = prob, generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.prob == 0:
            return x
        if x.device.type == "cpu":
            return MaskedScale.apply(x, draw_keep_mask(x.shape, self.prob, self.generator), 1 / (1 - self.prob))
        return F.dropout(x, self.prob)
