"""AdamW against its formula, its schedules and its groups."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from selfpretrain.config import FinetuneConfig, ModelConfig, OptimConfig
from selfpretrain.door import compose_settings
from selfpretrain.model.encoder import Encoder
from selfpretrain.train.optim import (
    AdamW,
    clip_gradients,
    clip_seeds,
    compute_depth_multiplier,
    compute_lr,
    compute_warmup_steps,
    has_decay,
)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.dense = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.embedding = nn.Embedding(4, 3)

    def gradients(self, step):
        generator = torch.Generator().manual_seed(step)
        return {name: torch.randn(p.shape, generator=generator) for name, p in self.named_parameters()}


def set_gradients(module, step):
    for name, gradient in module.gradients(step).items():
        module.get_parameter(name).grad = gradient.clone()


def run_by_hand(config, rates, multiplier):
    """The published update, in float64, parameter by parameter."""
    module = Small()
    values = {name: p.detach().double() for name, p in module.named_parameters()}
    m = {name: torch.zeros_like(v) for name, v in values.items()}
    v = {name: torch.zeros_like(value) for name, value in values.items()}
    for step, rate in enumerate(rates):
        for name, gradient in module.gradients(step).items():
            g = gradient.double()
            m[name] = config.beta1 * m[name] + (1 - config.beta1) * g
            v[name] = config.beta2 * v[name] + (1 - config.beta2) * g * g
            first, second = m[name], v[name]
            if config.bias_correction:
                first, second = first / (1 - config.beta1 ** (step + 1)), second / (1 - config.beta2 ** (step + 1))
            eps = config.eps
            if config.eps_uncorrected:
                eps /= math.sqrt(1 - config.beta2 ** (step + 1))
            update = first / (second.sqrt() + eps)
            if name in ("dense.weight", "embedding.weight"):
                update = update + config.weight_decay * values[name]
            values[name] = values[name] - rate * multiplier(name) * update
    return values


@pytest.mark.parametrize(
    "correction",
    [{"bias_correction": False}, {"bias_correction": True}, {"bias_correction": True, "eps_uncorrected": True}],
)
@pytest.mark.parametrize("eps", [1e-6, 1e-1])  # a large one shows where it stands in the formula
@pytest.mark.parametrize("depth", [False, True])
def test_five_steps_are_those_of_the_formula(correction, eps, depth):
    config = OptimConfig(**correction, weight_decay=0.3, eps=eps, beta2=0.98)
    multiplier = (lambda name: 0.5 if name.startswith("dense") else 2.0) if depth else (lambda name: 1.0)
    rates = [0.01, 0.03, 0.02, 0.01, 0.004]
    module = Small()
    optimizer = AdamW(dict(module.named_parameters()), config, multiplier)
    for step, rate in enumerate(rates):
        set_gradients(module, step)
        optimizer.step(rate, step)
    for name, expected in run_by_hand(config, rates, multiplier).items():
        torch.testing.assert_close(module.get_parameter(name).double(), expected, rtol=0, atol=1e-6)


def test_the_two_corrections_differ():
    ways = [
        run_by_hand(OptimConfig(bias_correction=on), [0.01] * 5, lambda _: 1.0)["dense.weight"] for on in (False, True)
    ]
    assert (ways[0] - ways[1]).abs().max() > 1e-3


def test_decay_spares_biases_and_norms_only():
    encoder = Encoder(
        ModelConfig(hidden_size=16, embedding_size=8, num_layers=1, num_heads=2, intermediate_size=16), 20, 0
    )
    spared = {name for name, p in encoder.named_parameters() if not has_decay(name, OptimConfig())}
    assert spared == {name for name, p in encoder.named_parameters() if p.ndim == 1}
    assert has_decay("encoder.embeddings.word.weight", OptimConfig())
    assert not has_decay("generator_head.bias", OptimConfig())

    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    optimizer = AdamW(dict(encoder.named_parameters()), OptimConfig(weight_decay=0.5))
    for parameter in encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.1, 0)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter, before[name] * (1 if name in spared else 0.95), rtol=1e-5, atol=1e-7)


def test_decay_of_everything_as_in_fairseq():
    config = compose_settings("pretrain", ["model=roberta_tiny"]).pretrain
    assert config.decay_all and not compose_settings("pretrain", ["model=electra_tiny"]).pretrain.decay_all
    layer = nn.LayerNorm(4)
    optimizer = AdamW(
        dict(nn.ModuleDict({"norm": layer}).named_parameters()), dataclasses.replace(config, weight_decay=0.5)
    )
    layer.weight.grad, layer.bias.grad = torch.zeros(4), torch.zeros(4)
    optimizer.step(0.1, 0)
    torch.testing.assert_close(layer.weight, torch.full((4,), 0.95))


def test_layerwise_rates_are_those_of_the_released_code():
    def multiplier(name):
        return compute_depth_multiplier(name, num_layers=12, decay=0.8)

    assert multiplier("head.out.weight") == 1.0
    assert multiplier("encoder.layers.11.up.weight") == pytest.approx(0.64)
    assert multiplier("encoder.layers.0.attention.qkv.weight") == pytest.approx(0.055, abs=5e-4)
    assert multiplier("encoder.embeddings.word.weight") == pytest.approx(0.044, abs=5e-4)
    assert multiplier("encoder.project.weight") == multiplier("encoder.embeddings.norm.bias") == pytest.approx(0.8**14)
    assert compute_depth_multiplier("encoder.layers.3.up.bias", 12, 1.0) == 1.0
    every = [multiplier(f"encoder.layers.{i}.down.weight") for i in range(12)]
    assert every == pytest.approx([0.8 ** (13 - i) for i in range(12)])


def test_the_multiplier_reaches_every_parameter():
    module = nn.ModuleDict(
        {
            "encoder": Encoder(
                ModelConfig(hidden_size=16, embedding_size=8, num_layers=2, num_heads=2, intermediate_size=16), 20, 0
            ),
            "head": nn.Linear(16, 2),
        }
    )
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = AdamW(
        dict(module.named_parameters()),
        FinetuneConfig(weight_decay=0.0),
        lambda name: compute_depth_multiplier(name, 2, 0.5),
    )
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.01, 0)
    moved = {name: (p - before[name]).abs().max().item() for name, p in module.named_parameters()}
    for name, distance in moved.items():
        assert distance == pytest.approx(moved["head.weight"] * compute_depth_multiplier(name, 2, 0.5), rel=1e-2)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # t = 1 .. 10, W = 4, T = 10, peak 1
        ("joint", [0.25 * 1.0, 0.5 * 0.9, 0.75 * 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("linear", [0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_schedules(schedule, rates):
    config = OptimConfig(peak_lr=1.0, warmup_steps=4, schedule=schedule)
    assert [compute_lr(config, step, 10) for step in range(10)] == pytest.approx(rates)


@pytest.mark.parametrize("schedule", ["joint", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 10, 100])
def test_no_step_is_at_rate_0_or_above_the_peak(schedule, warmup):
    config = OptimConfig(peak_lr=3e-4, warmup_steps=warmup, schedule=schedule)
    rates = [compute_lr(config, step, 10) for step in range(10)]
    assert all(0 < rate <= 3e-4 for rate in rates)


def test_warmup_by_steps_by_share_or_none():
    assert compute_warmup_steps(OptimConfig(warmup_steps=7), 100) == 7
    assert compute_warmup_steps(OptimConfig(warmup_fraction=0.06), 2036) == 122  # RoBERTa on RTE
    assert compute_warmup_steps(OptimConfig(), 100) == 0


def test_clipping_is_global_and_0_switches_it_off():
    module = Small()
    set_gradients(module, 0)
    norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in module.parameters()))
    before = module.dense.weight.grad.clone()
    assert clip_gradients(list(module.parameters()), 0.0).item() == pytest.approx(norm, rel=1e-6)
    assert torch.equal(module.dense.weight.grad, before)
    assert clip_gradients(list(module.parameters()), 0.5).item() == pytest.approx(norm, rel=1e-6)
    torch.testing.assert_close(module.dense.weight.grad, before * 0.5 / norm)
    assert clip_gradients(list(module.parameters()), 0.5).item() == pytest.approx(0.5, rel=1e-5)
    clip_gradients(list(module.parameters()), 5.0)
    torch.testing.assert_close(module.dense.weight.grad, before * 0.5 / norm)  # a short one stays


def test_state_goes_to_another_optimizer_bit_for_bit():
    first, second = Small(), Small()
    optimizers = [
        AdamW(dict(module.named_parameters()), OptimConfig(), lambda name: 0.5 if "dense" in name else 1.0)
        for module in (first, second)
    ]
    for step in range(3):
        set_gradients(first, step)
        optimizers[0].step(0.01, step)
    state = {name: value.clone() for name, value in optimizers[0].get_state().items()}
    assert len(state) == 2 * 5 + 1 and state["step"].item() == 3
    second.load_state_dict(first.state_dict())
    optimizers[1].set_state(state)
    for step in range(3, 6):
        for module, optimizer in zip((first, second), optimizers, strict=True):
            set_gradients(module, step)
            optimizer.step(0.01, step)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(v, optimizers[1].get_state()[name]) for name, v in optimizers[0].get_state().items())


@pytest.mark.parametrize("limit", [0, 0.5, 100.0])
def test_stacked_seeds_are_clipped_each_by_its_own_norm(limit):
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([0.01, 1.0, 30.0])
    stacked = nn.Linear(4, 3)
    for parameter in stacked.parameters():
        parameter.data = torch.randn(3, *parameter.shape, generator=generator)
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.grad = noise * sizes.view(-1, *[1] * (noise.ndim - 1))
    expected, norms = [], []
    for seed in range(3):
        alone = nn.Linear(4, 3)
        for parameter, whole in zip(alone.parameters(), stacked.parameters(), strict=True):
            parameter.grad = whole.grad[seed].clone()
        norms.append(clip_gradients(list(alone.parameters()), limit))
        expected.append([parameter.grad for parameter in alone.parameters()])
    assert torch.equal(clip_seeds(list(stacked.parameters()), limit), torch.stack(norms))
    for seed, grads in enumerate(expected):
        for parameter, grad in zip(stacked.parameters(), grads, strict=True):
            torch.testing.assert_close(parameter.grad[seed], grad, rtol=1e-6, atol=0)


def test_an_empty_state_is_the_start():
    module = nn.Linear(2, 2)
    optimizer = AdamW(dict(module.named_parameters()), OptimConfig())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step(1e-3, 0)
    assert optimizer.get_state()
    optimizer.set_state({})
    assert optimizer.get_state() == {}


def test_the_polynomial_schedule_is_fairseq_s():
    """[fairseq optim/lr_scheduler/polynomial_decay_schedule.py, step_update(num_updates)]"""
    config = OptimConfig(schedule="polynomial", peak_lr=0.5, warmup_steps=4)
    rates = [compute_lr(config, step, 10) for step in range(10)]
    assert rates == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.5 * 5 / 6, 0.5 * 4 / 6, 0.25, 0.5 * 2 / 6, 0.5 / 6])
    without = dataclasses.replace(config, warmup_steps=0)
    assert [compute_lr(without, step, 4) for step in range(4)] == pytest.approx([0.5, 0.375, 0.25, 0.125])
