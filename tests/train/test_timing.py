"""Timing a step: how many steps are taken, and that nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.train import trainer as trainer_module
from selfpretrain.train.trainer import time_steps


class Clock:
    """Stands in for the module ``time``; a step moves it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Model(nn.Module):
    """Each step takes its seconds; the last one's is repeated."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def forward(self, batch):
        self.clock.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1
        loss = (self.weight * batch["input_ids"]).sum()
        return loss, {"loss": loss.detach()}


class Rows:
    def __getitem__(self, step):
        return [(1.0, {"input_ids": np.ones(3, np.float32)})]


@pytest.fixture
def measure(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trainer_module, "time", clock)

    def measure(seconds, *limits):
        model = Model(clock, seconds)
        return time_steps(model, Rows(), OptimConfig(precision="fp32"), RuntimeConfig(device="cpu"), *limits), model

    return measure


def test_the_median_without_the_first_step(measure):
    seconds, model = measure([100.0, 2.0, 3.0, 50.0], 1e9, 3)
    assert (seconds, model.calls) == (3.0, 4)


@pytest.mark.parametrize(("limit", "calls"), [(0.0, 2), (3.0, 3), (5.0, 5), (1e9, 6)])
def test_as_many_steps_as_fit_but_at_least_one(measure, limit, calls):
    seconds, model = measure([10.0, 1.0], limit, 5)
    assert (seconds, model.calls) == (1.0, calls)


def test_it_writes_nothing_and_hardly_moves_the_weights(measure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, model = measure([0.0], 1.0)
    assert list(tmp_path.iterdir()) == []
    assert torch.allclose(model.weight, torch.ones(3), atol=1e-6)
