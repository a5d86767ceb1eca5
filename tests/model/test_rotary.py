"""Rotary positions: against complex numbers, against transformers' RoFormer, and what they are for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from selfpretrain.config import ModelConfig
from selfpretrain.model.encoder import Encoder, Packing
from selfpretrain.model.init import init_weights
from selfpretrain.model.rotary import compute_turns, turn

ROTARY = ModelConfig(
    hidden_size=12, embedding_size=8, num_layers=2, num_heads=3, intermediate_size=20, max_positions=16, dropout_prob=0.0,
    attention_dropout_prob=0.0, positions="rotary", init_std=0.3,
)  # fmt: skip


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def build(config=ROTARY):
    encoder = Encoder(config, 30, 1)
    init_weights(encoder, config, torch.Generator().manual_seed(0))
    return encoder.eval()


def test_pairs_are_points_turned_by_their_place():
    x_BHLK, places = draw(2, 3, 5, 8), torch.tensor([[0, 1, 2, 3, 4], [7, 3, 3, 0, 100]])
    points = torch.view_as_complex(x_BHLK.unflatten(-1, (4, 2)))
    angles = places[:, None, :, None] * 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    expected = torch.view_as_real(points * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    turned = turn(x_BHLK, compute_turns(places, 8))
    torch.testing.assert_close(turned, expected, rtol=0, atol=5e-5)  # angles up to 100 in fp32
    torch.testing.assert_close(turned.norm(dim=-1), x_BHLK.norm(dim=-1), rtol=0, atol=1e-5)


def test_roformer_turns_alike():
    roformer = pytest.importorskip("transformers.models.roformer.modeling_roformer")
    size, length = 8, 6
    table = roformer.RoFormerSinusoidalPositionalEmbedding(length, size)
    table.weight = torch.nn.Parameter(table.create_weight(), requires_grad=False)
    query, key = draw(2, 3, length, size, dtype=torch.float32), draw(2, 3, length, size, dtype=torch.float32).flip(0)
    sinusoids = table(torch.Size((2, length)))[None, None]
    theirs = roformer.RoFormerSelfAttention.apply_rotary_position_embeddings(sinusoids, query, key)
    turns = compute_turns(torch.arange(length)[None], size)
    for own, their in zip((query, key), theirs, strict=True):
        torch.testing.assert_close(turn(own, turns), their, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("shift", [1, 40])
def test_products_hang_on_distances_alone(shift):
    query, key = draw(1, 2, 6, 8), draw(1, 2, 6, 8).flip(2)
    places = torch.arange(6)[None]

    def score(of_queries, of_keys):
        return turn(query, compute_turns(of_queries, 8)) @ turn(key, compute_turns(of_keys, 8)).transpose(2, 3)

    torch.testing.assert_close(score(places, places), score(places + shift, places + shift), rtol=0, atol=1e-4)
    assert (score(places, places) - score(places, places + 1)).abs().max() > 0.1
    encoder, ids = build(), torch.tensor([[5, 6, 7, 8, 9, 5]])
    here, there = (encoder(ids, packing=Packing(places + by, torch.tensor([6]))) for by in (0, shift))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-5)


@torch.no_grad()
def test_order_is_told_and_by_attention_alone():
    encoder, order = build(), torch.tensor([3, 0, 4, 1, 2])
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    assert (encoder(ids)[:, order] - encoder(ids[:, order])).abs().max() > 1e-2
    assert encoder.embeddings.position is None
    bag = encoder(ids, packing=Packing(torch.zeros(1, 5, dtype=torch.long), torch.tensor([5])))
    shuffled = encoder(ids[:, order], packing=Packing(torch.zeros(1, 5, dtype=torch.long), torch.tensor([5])))
    torch.testing.assert_close(bag[:, order], shuffled, rtol=0, atol=1e-5)  # all at one place: a bag of words


def test_half_precision_goes_in_and_comes_out():
    x = draw(1, 2, 4, 8, dtype=torch.float32)
    turns = compute_turns(torch.arange(4)[None] + 200, 8)
    turned = turn(x.bfloat16(), turns)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float(), turn(x, turns), rtol=0.02, atol=0.02)


@torch.no_grad()
def test_a_mimetic_start_has_no_sinusoids_to_set():
    mimetic = build(dataclasses.replace(ROTARY, init_scheme="mimetic"))
    q, k, _ = mimetic.layers[0].attention.qkv.weight.chunk(3)
    assert torch.equal(q, k) and "embeddings.position.weight" not in mimetic.state_dict()
