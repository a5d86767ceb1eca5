"""Scaled dot-product attention, by the fastest of three ways to the same sum; and for packed texts.

Suffixes: B batch, H heads, M queries, L keys, K head size; N the tokens of all texts of a packed batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, product

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import wrap_torch_function

from selfpretrain.model.dropout import Dropout, draw_keep_mask
from selfpretrain.model.linear import can_multiply, multiply

HEAD_BY_HEAD_FROM = 512 * 512  # queries x keys; measured even at 256 x 256 and half as long again at 128 x 128
TEXTS_AT_ONCE = 8  # of a packed batch: few waste little padding, many are few products


def attend(q_BHMK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, mask_B11L: Tensor | None, weight_dropout: Dropout) -> Tensor:
    """The context [B, H, M, K]: softmax(q k^T / sqrt(K)), dropped out, times v; ``mask`` is True at keys to see."""
    prob = weight_dropout.prob if weight_dropout.training else 0.0
    if not prob or q_BHMK.device.type != "cpu":
        return F.scaled_dot_product_attention(q_BHMK, k_BHLK, v_BHLK, attn_mask=mask_B11L, dropout_p=prob)
    # with dropout the CPU's scaled_dot_product_attention leaves its fused kernel
    q_BHMK = q_BHMK * (1 / math.sqrt(q_BHMK.shape[-1]))
    long = q_BHMK.shape[-2] * k_BHLK.shape[-2] >= HEAD_BY_HEAD_FROM
    if long and type(weight_dropout) is Dropout and can_multiply(q_BHMK, k_BHLK, v_BHLK):  # a stack's is another
        keep_BHML = draw_keep_mask(torch.Size((*q_BHMK.shape[:-1], k_BHLK.shape[-2])), prob, weight_dropout.generator)
        return _HeadByHead.apply(q_BHMK, k_BHLK, v_BHLK, mask_B11L, keep_BHML, 1 / (1 - prob))
    scores_BHML = torch.matmul(q_BHMK, k_BHLK.transpose(-1, -2))
    if mask_B11L is not None:
        scores_BHML = scores_BHML.masked_fill(~mask_B11L, float("-inf"))
    return torch.matmul(weight_dropout(torch.softmax(scores_BHML, dim=-1)), v_BHLK)


@wrap_torch_function(lambda *tensors: tensors[:3])  # so that a stack of seeds can have a rule for it
def attend_packed(
    q_1HNK: Tensor, k_1HNK: Tensor, v_1HNK: Tensor, queries_B: Tensor, keys_B: Tensor, weight_dropout: Dropout
) -> Tensor:
    """The context [1, H, N, K] of texts that lie one after the other, each attending to itself alone.

    ``queries_B`` and ``keys_B`` count each text's queries and keys (int64, on the CPU); what lies behind the last text
    gets zeros. Neighbours share their products, so texts sorted by length waste the least.
    """
    num_queries, num_keys = queries_B.tolist(), keys_B.tolist()
    parts = zip(
        _Pad.apply(q_1HNK, num_queries), _Pad.apply(k_1HNK, num_keys), _Pad.apply(v_1HNK, num_keys),
        keys_B.split(TEXTS_AT_ONCE), strict=True,
    )  # fmt: skip
    contexts = [
        attend(q_BHMK, k_BHLK, v_BHLK, _mask_padding(own_B, k_BHLK.shape[2]), weight_dropout)
        for q_BHMK, k_BHLK, v_BHLK, own_B in parts
    ]
    return _Pack.apply(num_queries, q_1HNK.shape[2], *contexts)


def _mask_padding(lengths_B: Tensor, longest: int) -> Tensor | None:
    mask_BL = torch.arange(longest) < lengths_B.unsqueeze(-1)
    return None if mask_BL.all() else mask_BL[:, None, None, :]


def pad_texts(packed_1HNK: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """Packed texts as batches [B, H, L, K] of a few, zeros behind each text."""
    _, heads, total, size = packed_1HNK.shape
    *texts, _ = packed_1HNK[0].split([*lengths, total - sum(lengths)], dim=1)
    batches = []
    for i in range(0, len(lengths), TEXTS_AT_ONCE):
        own = lengths[i : i + TEXTS_AT_ONCE]
        batch_BHLK = packed_1HNK.new_zeros(len(own), heads, max(own), size)
        for row_HLK, text_HLK in zip(batch_BHLK, texts[i : i + TEXTS_AT_ONCE], strict=True):
            row_HLK[:, : text_HLK.shape[1]] = text_HLK
        batches.append(batch_BHLK)
    return tuple(batches)


def pack_texts(batches: Sequence[Tensor], lengths: Sequence[int], total: int) -> Tensor:
    """The inverse of :func:`pad_texts`: [1, H, N, K] of ``total`` tokens, each token's heads side by side in memory."""
    _, heads, _, size = batches[0].shape
    packed_NHK = batches[0].new_empty(total, heads, size)
    *texts, rest = packed_NHK.transpose(0, 1).split([*lengths, total - sum(lengths)], dim=1)
    for text_HLK, row_HLK in zip(texts, chain.from_iterable(batches), strict=True):
        text_HLK.copy_(row_HLK[:, : text_HLK.shape[1]])
    rest.zero_()
    return packed_NHK.transpose(0, 1).unsqueeze(0)


class _Pad(torch.autograd.Function):
    """:func:`pad_texts`, whose gradient is the other function; autograd would write a whole one for every text."""

    @staticmethod
    def forward(ctx, packed_1HNK: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:  # type: ignore[override,no-untyped-def]
        ctx.lengths, ctx.total = lengths, packed_1HNK.shape[2]
        return pad_texts(packed_1HNK, lengths)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return pack_texts(grads, ctx.lengths, ctx.total), None


class _Pack(torch.autograd.Function):
    """:func:`pack_texts`, whose gradient is the other function."""

    @staticmethod
    def forward(ctx, lengths: Sequence[int], total: int, *batches: Tensor) -> Tensor:  # type: ignore[override,no-untyped-def]
        ctx.lengths = lengths
        return pack_texts(batches, lengths, total)

    @staticmethod
    def backward(ctx, grad_1HNK: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override,no-untyped-def]
        return None, None, *pad_texts(grad_1HNK, ctx.lengths)


class _HeadByHead(torch.autograd.Function):
    """One head's weights after another's, for lengths at which those of all heads outgrow the cache.

    Operands are contiguous: oneDNN has no fast product for rows as far apart as those of a fused projection.
    """

    @staticmethod
    def forward(ctx, q_BHMK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, mask_B11L: Tensor | None, keep_BHML: Tensor, scale: float) -> Tensor:  # type: ignore[override,no-untyped-def]  # fmt: skip
        """``q`` comes scaled; ``keep`` says which weights dropout spares, ``scale`` is what those are times."""
        q_BHMK, k_BHLK, v_BHLK = q_BHMK.contiguous(), k_BHLK.contiguous(), v_BHLK * scale
        v_BHLK, keep_BHML = v_BHLK.contiguous(), keep_BHML.view(torch.uint8)
        weights_BHML, context_BHMK = q_BHMK.new_empty(keep_BHML.shape), torch.empty_like(q_BHMK)
        for b, h in product(*map(range, q_BHMK.shape[:2])):
            scores_ML = multiply(q_BHMK[b, h], k_BHLK[b, h])
            if mask_B11L is not None:
                scores_ML.masked_fill_(~mask_B11L[b, 0], float("-inf"))
            weights_ML = torch.softmax(scores_ML, dim=-1, out=weights_BHML[b, h])
            context_BHMK[b, h] = multiply(weights_ML * keep_BHML[b, h], v_BHLK[b, h].t())
        ctx.save_for_backward(q_BHMK, k_BHLK, v_BHLK, weights_BHML, keep_BHML, context_BHMK)
        ctx.scale = scale
        return context_BHMK

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BHMK: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override,no-untyped-def]
        """The softmax's sum(grad * weights) over the keys is sum(grad * context) over the head, so that its gradient
        is elementwise [Dao et al. 2022, arXiv 2205.14135, section B.2]."""
        q_BHMK, k_BHLK, v_BHLK, weights_BHML, keep_BHML, context_BHMK = ctx.saved_tensors
        grad_BHMK = grad_BHMK.contiguous()
        grad_q, grad_k, grad_v = (torch.empty_like(each) for each in (q_BHMK, k_BHLK, v_BHLK))
        shares_BHM1 = (grad_BHMK * context_BHMK).sum(-1, keepdim=True)
        for b, h in product(*map(range, q_BHMK.shape[:2])):
            grad_MK, weights_ML, keep_ML = grad_BHMK[b, h], weights_BHML[b, h], keep_BHML[b, h]
            grad_v[b, h] = multiply((weights_ML * keep_ML).t(), grad_MK.t())
            grad_ML = multiply(grad_MK, v_BHLK[b, h]).mul_(keep_ML).sub_(shares_BHM1[b, h]).mul_(weights_ML)
            grad_q[b, h] = multiply(grad_ML, k_BHLK[b, h].t())
            grad_k[b, h] = multiply(grad_ML.t(), q_BHMK[b, h].t())
        return grad_q, grad_k, grad_v * ctx.scale, None, None, None
