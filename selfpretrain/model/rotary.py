"""Rotary position embedding: queries and keys are turned by their place, so that their products hang on distances alone.

Su et al. 2021 (RoFormer, arXiv 2104.09864), equation 34: neighbouring features, 2i and 2i + 1, are the two coordinates
of a point that is turned by place * 10000^(-2i / K); other codes pair feature i with i + K / 2, which is the same but for
the order of features. Suffixes: B batch, L places, H heads, K head size, F = K / 2 frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def compute_turns(places_BL: Tensor, head_size: int) -> Tensor:
    """Cosine and sine of every angle, [B, L, F, 2] in fp32."""
    exponents_F = torch.arange(0, head_size, 2, device=places_BL.device, dtype=torch.float32) / head_size
    angles_BLF = places_BL.unsqueeze(-1) * BASE**-exponents_F
    return torch.stack((angles_BLF.cos(), angles_BLF.sin()), dim=-1)


def turn(x_BHLK: Tensor, turns_BLF2: Tensor) -> Tensor:
    """The features of each place, turned; in their own precision, computed in fp32."""
    cos_B1LF, sin_B1LF = turns_BLF2.unsqueeze(1).unbind(-1)
    even_BHLF, odd_BHLF = x_BHLK.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = even_BHLF * cos_B1LF - odd_BHLF * sin_B1LF, even_BHLF * sin_B1LF + odd_BHLF * cos_B1LF
    return torch.stack(turned, dim=-1).flatten(-2).to(x_BHLK.dtype)
