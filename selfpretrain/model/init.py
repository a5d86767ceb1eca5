"""Weights at the start: the usual normal draw, or the mimetic scheme."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from selfpretrain.config import ModelConfig
from selfpretrain.model.encoder import Embeddings, Encoder, Layer
from selfpretrain.model.heads import ReplacedTokenHead

VALUE_GAIN = 0.6  # value and output weights multiply to -0.36 I (arXiv 2305.09828, section 4)
# The paper starts vision models; these three were measured by this project on masked language modelling (2 layers of
# width 128): attention must start sharp enough to single out the neighbours, and position must outweigh the
# likeness of all [MASK] tokens.
QUERY_GAIN = 2.0  # on the orthonormal blocks of queries and keys
POSITION_GAIN = 2.0  # standard deviation of positions over that of token embeddings
POSITION_BASE = 100.0  # longest wavelength / 2 pi; Vaswani et al. 2017 have 10,000, for longer texts


def init_weights(module: nn.Module, config: ModelConfig, generator: torch.Generator) -> None:
    """Draw every weight of ``module`` from ``generator``: N(0, init_std) but for what follows, biases 0, LayerNorm 1.

    ELECTRA and BERT cut the normal at two standard deviations; two layers that ELECTRA leaves to TensorFlow's default
    start as that, Glorot's uniform: what projects the embeddings, and the discriminator's last [ELECTRA modeling.py,
    run_pretraining.py]. RoBERTa does neither [RoBERTa].
    ``init_scheme=mimetic`` then sets attention and positions of every encoder inside ``module``; rotary positions have no
    weights to set.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            if config.family == "roberta":
                nn.init.normal_(part.weight, std=config.init_std, generator=generator)
            else:
                cut = 2 * config.init_std
                nn.init.trunc_normal_(part.weight, std=config.init_std, a=-cut, b=cut, generator=generator)
        if isinstance(part, (nn.Linear, nn.LayerNorm)) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
    if config.family != "roberta":
        for part in module.modules():
            if isinstance(part, Encoder) and isinstance(part.project, nn.Linear):
                nn.init.xavier_uniform_(part.project.weight, generator=generator)
            if isinstance(part, ReplacedTokenHead):
                nn.init.xavier_uniform_(part.out.weight, generator=generator)
    if config.init_scheme == "mimetic":
        for part in module.modules():
            if isinstance(part, Embeddings) and part.position is not None:
                init_mimetic_positions(part.position, config.init_std)
            if isinstance(part, Layer):
                init_mimetic_attention(part, generator)


def build_orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix [size, size]."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return (q * torch.sign(torch.diagonal(r))).float()


@torch.no_grad()
def init_mimetic_attention(layer: Layer, generator: torch.Generator) -> None:
    """Queries equal keys (one random orthonormal block per head); output x value = -0.36 I.

    Trockman & Kolter 2023 (arXiv 2305.09828): attention starts local and each layer subtracts a little of what
    it attends to, as trained Transformers are seen to do. Here without the paper's random part.
    """
    attention = layer.attention
    width = attention.out.weight.shape[0]
    blocks_DD = build_orthogonal(width, generator)  # rows of head h: its orthonormal block
    values_DD = build_orthogonal(width, generator)
    attention.qkv.weight.copy_(torch.cat([QUERY_GAIN * blocks_DD, QUERY_GAIN * blocks_DD, VALUE_GAIN * values_DD]))
    attention.out.weight.copy_(-VALUE_GAIN * values_DD.T)


@torch.no_grad()
def init_mimetic_positions(position: nn.Embedding, std: float) -> None:
    """Sinusoids (Vaswani et al. 2017), scaled against the standard deviation ``std`` of the token embeddings."""
    num_positions, width = position.weight.shape
    angles = torch.arange(num_positions)[:, None] * torch.exp(
        -math.log(POSITION_BASE) * torch.arange(0, width, 2)[None, :] / width
    )
    waves = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).reshape(num_positions, -1)[:, :width]
    position.weight.copy_(waves * (POSITION_GAIN * std * math.sqrt(2)))


def build_encoder(config: ModelConfig, vocab_size: int, pad_id: int, seed: int) -> Encoder:
    """A fresh encoder whose weights are a function of ``seed`` alone."""
    encoder = Encoder(config, vocab_size, pad_id)
    init_weights(encoder, config, torch.Generator().manual_seed(seed))
    return encoder
