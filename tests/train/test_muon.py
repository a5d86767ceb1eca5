"""Muon against torch's, on fused and stacked matrices, and over an interruption."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.config import ModelConfig, OptimConfig
from selfpretrain.model.encoder import Encoder
from selfpretrain.train.muon import Muon, is_matrix, join, orthogonalize, split

TINY = ModelConfig(
    hidden_size=16, embedding_size=8, num_layers=2, num_heads=2, intermediate_size=32, max_positions=8,
    dropout_prob=0.0, attention_dropout_prob=0.0,
)  # fmt: skip
BIAS = "encoder.layers.0.up.bias"  # for AdamW, which does not go without a parameter
CONFIG = OptimConfig(optimizer="muon", weight_decay=0.1)


def make_named(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    encoder = Encoder(TINY, vocab_size=11, pad_id=0)
    return {f"encoder.{name}": parameter for name, parameter in encoder.named_parameters()}


def set_gradients(named, step, seed: int = 0):
    generator = torch.Generator().manual_seed(1000 * seed + step)
    for parameter in named.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def take_steps(optimizer, steps, seed: int = 0):
    for step in steps:
        set_gradients(optimizer.named, step, seed)
        optimizer.step(0.01, step)


def test_the_matrices_of_the_layers_and_nothing_else():
    names = {name.partition(".layers.")[2][2:] for name in make_named() if is_matrix(name)}
    assert names == {
        "attention.qkv.weight",
        "attention.out.weight",
        "up.weight",
        "down.weight",
    }
    assert not is_matrix("encoder.project.weight")


def test_singular_values_come_near_one():
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonalize(torch.randn(4, 16, 64)))
    assert found.min() > 0.5
    assert found.max() < 1.5
    assert orthogonalize(torch.zeros(1, 4, 4)).abs().max() == 0  # a gradient of nothing moves nothing


@pytest.mark.parametrize("shape", [(24, 8), (8, 8), (8, 32), (2, 24, 8), (2, 32, 8)])
def test_split_and_join_are_inverse(shape):
    value = torch.randn(shape)
    for name in ("layers.0.qkv.weight", "layers.0.up.weight"):
        if "qkv" not in name or shape[-2] % 3 == 0:
            assert torch.equal(join(split(value, name), value, name), value)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_the_update_is_that_of_torch():
    torch.manual_seed(0)
    start = {
        f"encoder.layers.{i}.up.weight": torch.randn(shape) for i, shape in enumerate([(16, 16), (32, 16), (16, 32)])
    }
    ours = {name: value.clone().requires_grad_() for name, value in start.items()}
    theirs = {name: value.clone().requires_grad_() for name, value in start.items()}
    peer = torch.optim.Muon(theirs.values(), lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon(ours | {BIAS: torch.zeros(1, requires_grad=True)}, CONFIG)
    for step in range(5):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step(0.01, step)
        peer.step()
    for name in start:
        moved = (theirs[name] - start[name]).abs().max()
        assert (ours[name] - theirs[name]).abs().max() < 0.02 * moved  # torch's products are in bf16


def test_queries_keys_and_values_are_orthogonalised_each_by_itself():
    torch.manual_seed(0)
    gradient = torch.randn(48, 16) * torch.tensor([1.0, 100.0, 0.01]).repeat_interleave(16)[:, None]
    fused = {"encoder.layers.0.attention.qkv.weight": torch.zeros(48, 16, requires_grad=True)}
    fused["encoder.layers.0.attention.qkv.weight"].grad = gradient
    alone = {f"encoder.layers.{i}.attention.out.weight": torch.zeros(16, 16, requires_grad=True) for i in range(3)}
    for parameter, part in zip(alone.values(), gradient.chunk(3), strict=True):
        parameter.grad = part
    Muon(fused | {BIAS: torch.zeros(1)}, CONFIG).step(0.01, 0)
    Muon(alone | {BIAS: torch.zeros(1)}, CONFIG).step(0.01, 0)
    assert torch.allclose(*fused.values(), torch.cat(list(alone.values())), atol=1e-7)


def test_stacked_seeds_are_their_separate_runs():
    separate = [make_named(seed) for seed in range(2)]
    stacked = {name: torch.stack([named[name].detach() for named in separate]).requires_grad_() for name in separate[0]}
    optimizers, together = [Muon(named, CONFIG) for named in separate], Muon(stacked, CONFIG)
    for step in range(3):
        for seed, optimizer in enumerate(optimizers):
            set_gradients(optimizer.named, step, seed)
        for name, parameter in stacked.items():
            parameter.grad = torch.stack([named[name].grad for named in separate])
        for optimizer in (*optimizers, together):
            optimizer.step(0.01, step)
    for name, parameter in stacked.items():
        for seed, named in enumerate(separate):
            assert torch.allclose(parameter[seed], named[name], atol=1e-6), name


def test_a_state_restored_goes_on_bit_for_bit():
    whole, first, second = make_named(), make_named(), make_named()
    take_steps(Muon(whole, CONFIG), range(6))
    interrupted = Muon(first, CONFIG)
    take_steps(interrupted, range(3))
    for name, parameter in second.items():
        parameter.data.copy_(first[name])
    resumed = Muon(second, CONFIG)
    resumed.set_state({name: value.clone() for name, value in interrupted.get_state().items()})
    take_steps(resumed, range(3, 6))
    assert all(torch.equal(whole[name], second[name]) for name in whole)


def test_a_parameter_without_a_gradient_stays():
    named = make_named()
    before = {name: value.detach().clone() for name, value in named.items()}
    optimizer = Muon(named, CONFIG)
    set_gradients(named, 0)
    still = "encoder.layers.1.attention.out.weight"
    assert still in named
    named[still].grad = None
    optimizer.step(0.01, 0)
    assert torch.equal(named[still], before[still])
    assert not any(torch.equal(named[name], before[name]) for name in named if name != still)
