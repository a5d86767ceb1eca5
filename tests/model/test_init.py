"""Weights at the start."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model import init
from selfpretrain.model.encoder import Encoder
from selfpretrain.pretext.objectives import build_objective

CONFIG = ModelConfig(
    hidden_size=64,
    embedding_size=32,
    num_layers=2,
    num_heads=4,
    intermediate_size=128,
    max_positions=64,
    generator_fraction=0.5,
)
MIMETIC = dataclasses.replace(CONFIG, init_scheme="mimetic")


def build(config, seed=0):
    return build_objective(config, ObjectiveConfig(), 500, 0, seed)


@pytest.mark.parametrize(("family", "cut"), [("electra", True), ("bert", True), ("roberta", False)])
def test_normal_weights_zero_biases_unit_norms(family, cut):
    encoder = Encoder(dataclasses.replace(CONFIG, family=family), 500, 0)
    init.init_weights(encoder, encoder.config, torch.Generator().manual_seed(0))
    for part in encoder.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)) and part.weight.numel() > 1000:
            if part is encoder.project and cut:
                continue
            # a normal cut at two standard deviations keeps 0.88 of its spread
            assert part.weight.std().item() == pytest.approx(0.02 * (0.8796 if cut else 1), rel=0.05)
            assert (part.weight.abs().max().item() <= 0.04) == cut
        if isinstance(part, nn.Linear):
            assert not part.bias.any()
        if isinstance(part, nn.LayerNorm):
            assert (part.weight == 1).all() and not part.bias.any()


@pytest.mark.parametrize("family", ["electra", "roberta"])
def test_what_electra_leaves_to_tensorflow_starts_as_glorot_s_uniform(family):
    module = build(dataclasses.replace(CONFIG, family=family, embedding_size=16))
    for linear in (module.encoder.project, module.generator.project, module.head.out):
        limit = (6 / sum(linear.weight.shape)) ** 0.5
        largest = linear.weight.abs().max().item()
        if family == "electra":
            assert 0.9 * limit < largest <= limit
            assert linear.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.15)
        else:
            assert largest < 0.12  # six standard deviations of the normal draw
    assert module.head.dense.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    first = build(CONFIG, seed=5).state_dict()
    torch.manual_seed(2)
    second = build(CONFIG, seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build(CONFIG, seed=6).state_dict()
    assert not torch.equal(first["encoder.layers.0.up.weight"], other["encoder.layers.0.up.weight"])


@pytest.mark.parametrize("network", ["encoder", "generator"])
def test_mimetic_attention(network):
    module = build(MIMETIC)
    layers = getattr(module, network).layers
    for layer in layers:
        width = layer.attention.out.weight.shape[0]
        q, k, v = layer.attention.qkv.weight.split(width)
        assert torch.equal(q, k)
        torch.testing.assert_close(layer.attention.out.weight @ v, -0.36 * torch.eye(width), rtol=0, atol=1e-5)
        for block in q.split(width // layer.attention.num_heads):
            torch.testing.assert_close(block @ block.T, init.QUERY_GAIN**2 * torch.eye(len(block)), rtol=0, atol=1e-5)
        assert not layer.attention.qkv.bias.any() and not layer.attention.out.bias.any()
    assert not torch.equal(layers[0].attention.qkv.weight, layers[1].attention.qkv.weight)


def test_mimetic_changes_attention_and_positions_only():
    changed = {
        name
        for (name, normal), mimetic in zip(build(CONFIG).named_parameters(), build(MIMETIC).parameters(), strict=True)
        if not torch.equal(normal, mimetic)
    }
    assert changed == {
        f"{network}.layers.{i}.attention.{part}.weight"
        for network in ("encoder", "generator")
        for i in range(2)
        for part in ("qkv", "out")
    } | {"encoder.embeddings.position.weight"}


def test_mimetic_positions_are_sinusoids_of_the_tokens_spread():
    weight = build(MIMETIC).encoder.embeddings.position.weight
    assert weight.pow(2).mean().sqrt().item() == pytest.approx(init.POSITION_GAIN * 0.02, rel=1e-4)
    gram = weight @ weight.T  # what sinusoids have: the product depends on the distance only
    for distance in (0, 1, 7):
        diagonal = gram.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-6)
    assert gram[0, 1] > gram[0, 8]


def test_orthogonal_matrices_are_spread_evenly():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([init.build_orthogonal(3, generator) for _ in range(2000)])
    torch.testing.assert_close(draws @ draws.mT, torch.eye(3).expand(2000, 3, 3), rtol=0, atol=1e-5)
    # without the sign correction QR's diagonal would always have one sign
    assert draws.mean(0).abs().max() < 0.06
    assert (torch.linalg.det(draws) > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
