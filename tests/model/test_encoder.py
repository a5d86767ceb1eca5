"""The encoder against sums written out by hand, and its invariances."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from selfpretrain.config import ModelConfig
from selfpretrain.model import linear
from selfpretrain.model.encoder import Embeddings, Encoder, Packing, gather_positions
from selfpretrain.model.init import init_weights

TINY = ModelConfig(
    hidden_size=12,
    embedding_size=8,
    num_layers=2,
    num_heads=3,
    intermediate_size=20,
    max_positions=16,
    dropout_prob=0.0,
    attention_dropout_prob=0.0,
)
PAD = 1
ROTARY = dataclasses.replace(TINY, positions="rotary")
POSITIONS = pytest.mark.parametrize("config", [TINY, ROTARY], ids=["learned", "rotary"])


def build(config=TINY, seed=0):
    encoder = Encoder(config, 30, PAD)
    init_weights(encoder, dataclasses.replace(config, init_std=0.3), torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in encoder.parameters():  # biases and norms too: an unused one must not go unseen
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return encoder.eval()


@pytest.mark.skipif(not linear.HAS_BF16, reason="oneDNN has no bf16 products on this processor")
@POSITIONS
def test_under_autocast_a_cpu_computes_in_bf16_near_the_same(config):
    encoder, ids = build(config), torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])
    exact = encoder(ids)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder(ids)
    assert rounded.dtype == torch.bfloat16 and exact.dtype == torch.float32
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.02
    rounded.sum().backward()
    assert {parameter.grad.dtype for parameter in encoder.parameters()} == {torch.float32}


def normalise(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def encode_by_hand(encoder, ids, types):
    """One sequence, one head and one query at a time."""
    tables = encoder.embeddings
    rows = [
        tables.word.weight[t] + tables.position.weight[i] + tables.token_type.weight[s]
        for i, (t, s) in enumerate(zip(ids, types, strict=True))
    ]
    hidden = normalise(torch.stack(rows), tables.norm) @ encoder.project.weight.T + encoder.project.bias
    for layer in encoder.layers:
        width, heads = hidden.shape[1], layer.attention.num_heads
        size = width // heads
        q, k, v = (hidden @ layer.attention.qkv.weight.T + layer.attention.qkv.bias).split(width, dim=1)
        context = torch.zeros_like(hidden)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(ids)):
                scores = torch.stack([(q[i, part] * k[j, part]).sum() / size**0.5 for j in range(len(ids))])
                shares = scores.exp() / scores.exp().sum()
                context[i, part] = sum(share * v[j, part] for j, share in enumerate(shares))
        attended = context @ layer.attention.out.weight.T + layer.attention.out.bias
        hidden = normalise(hidden + attended, layer.attention_norm)
        inner = gelu(hidden @ layer.up.weight.T + layer.up.bias)
        hidden = normalise(hidden + inner @ layer.down.weight.T + layer.down.bias, layer.output_norm)
    return hidden


@torch.no_grad()
def test_the_encoder_is_the_sum_written_out_by_hand():
    encoder = build().double()
    ids, types = torch.tensor([[2, 9, 14, 7, 3], [2, 5, 5, 28, 3]]), torch.tensor([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]])
    out = encoder(ids, types)
    for row in range(2):
        by_hand = encode_by_hand(encoder, ids[row].tolist(), types[row].tolist())
        torch.testing.assert_close(out[row], by_hand, rtol=0, atol=1e-9)


@torch.no_grad()
@POSITIONS
def test_padding_changes_nothing_at_real_tokens(config):
    encoder = build(config)
    ids = torch.randint(5, 30, (3, 9))
    mask = torch.arange(9)[None] < torch.tensor([[9], [6], [4]])
    padded = encoder(torch.where(mask, ids, PAD), None, mask)
    for row, length in enumerate((9, 6, 4)):
        torch.testing.assert_close(padded[row, :length], encoder(ids[row : row + 1, :length])[0], rtol=0, atol=1e-5)
    unmasked = encoder(torch.where(mask, ids, PAD))
    assert (unmasked[1, :6] - padded[1, :6]).abs().max() > 1e-3  # the mask does matter


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "positions"), [("electra", "learned"), ("roberta", "learned"), ("roberta", "rotary")]
)
def test_packed_texts_are_the_padded_ones(family, positions):
    encoder = build(dataclasses.replace(TINY, family=family, positions=positions))
    lengths = torch.tensor([4, 6, 9])
    ids, types = torch.randint(5, 30, (3, 9)), torch.randint(0, 2, (3, 9))
    mask = torch.arange(9) < lengths[:, None]
    padded = encoder(torch.where(mask, ids, PAD), types, mask)
    packing = Packing(torch.arange(9).expand(3, 9)[mask][None], lengths)
    packed = encoder(ids[mask][None], types[mask][None], packing=packing)
    torch.testing.assert_close(packed[0], padded[mask], rtol=0, atol=1e-5)
    firsts = encoder(ids[mask][None], types[mask][None], positions_BM=packing.starts_1B, packing=packing)
    torch.testing.assert_close(firsts[0], padded[:, 0], rtol=0, atol=1e-5)
    means = torch.stack([row[:length].mean(0) for row, length in zip(padded, lengths.tolist(), strict=True)])
    filled_up = torch.cat([packed, torch.full((1, 2, packed.shape[2]), 7.0)], dim=1)
    torch.testing.assert_close(packing.average(filled_up), means, rtol=0, atol=1e-5)


@torch.no_grad()
@POSITIONS
def test_the_two_ways_to_attend_are_one(config):
    encoder = build(config)
    ids, mask = torch.randint(5, 30, (2, 7)), torch.arange(7)[None] < torch.tensor([[7], [5]])
    expected = encoder(ids, None, mask)
    for layer in encoder.layers:
        layer.attention.weight_dropout.prob = 1e-9  # drops nothing, but takes the path of training with dropout
    torch.testing.assert_close(encoder.train()(ids, None, mask), expected, rtol=0, atol=1e-5)


@POSITIONS
@pytest.mark.parametrize("training", [False, True])
def test_chosen_positions_are_those_of_the_whole(training, config):
    encoder = build(config).train(
        training
    )  # in training on a CPU: the attention with dropout, which drops nothing here
    for layer in encoder.layers:
        layer.attention.weight_dropout.prob = 1e-9
    ids, mask = torch.randint(5, 30, (2, 7)), torch.arange(7)[None] < torch.tensor([[7], [5]])
    positions = torch.tensor([[1, 4, 4], [0, 2, 3]])
    whole = gather_positions(encoder(ids, None, mask), positions)
    chosen = encoder(ids, None, mask, positions)
    assert chosen.shape == (2, 3, TINY.hidden_size)
    torch.testing.assert_close(chosen, whole, rtol=0, atol=1e-5)
    upstream = torch.randn(chosen.shape)
    named = dict(encoder.named_parameters())
    grads = torch.autograd.grad(chosen, list(named.values()), upstream)
    for name, grad, expected in zip(
        named, grads, torch.autograd.grad(whole, list(named.values()), upstream), strict=True
    ):
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-4, msg=name)


@torch.no_grad()
def test_dropout_acts_in_training_on_embeddings_attention_and_layers():
    ids = torch.randint(5, 30, (2, 7))
    for change in ({"dropout_prob": 0.5}, {"attention_dropout_prob": 0.5}):
        encoder = build(dataclasses.replace(TINY, **change))
        assert torch.equal(encoder(ids), encoder(ids))
        encoder.train()
        assert (encoder(ids) - encoder(ids)).abs().max() > 1e-3


@torch.no_grad()
def test_absent_segments_are_segment_0():
    encoder = build()
    ids = torch.randint(5, 30, (2, 7))
    assert torch.equal(encoder(ids), encoder(ids, torch.zeros_like(ids)))
    assert not torch.equal(encoder(ids), encoder(ids, torch.ones_like(ids)))


@torch.no_grad()
def test_roberta_counts_positions_after_the_padding_id():
    config = dataclasses.replace(TINY, family="roberta", type_vocab_size=1)
    encoder = build(config)
    assert encoder.embeddings.position.num_embeddings == 16 + PAD + 1
    ids = torch.randint(5, 30, (1, 16))
    expected = encoder(ids)  # the longest sequence fits
    encoder.embeddings.position.weight[: PAD + 1] = float("nan")
    assert torch.equal(encoder(ids), expected)
    shifted = build()
    shifted.load_state_dict(
        {
            **encoder.state_dict(),
            "embeddings.position.weight": encoder.embeddings.position.weight[PAD + 1 :],
            "embeddings.token_type.weight": encoder.embeddings.token_type.weight.repeat(2, 1),
        }
    )
    assert torch.equal(shifted(ids), expected)


def test_no_projection_where_the_widths_agree():
    assert isinstance(build(dataclasses.replace(TINY, embedding_size=12)).project, nn.Identity)
    assert isinstance(build().project, nn.Linear)


def test_given_embeddings_are_shared_not_copied():
    embeddings = Embeddings(TINY, 30, PAD)
    first, second = (Encoder(TINY, 30, PAD, embeddings) for _ in range(2))
    assert first.embeddings is embeddings
    assert second.embeddings.word.weight is first.embeddings.word.weight
