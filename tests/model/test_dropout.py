"""Dropout's masks: rate, scale, gradient, repeatability."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.model.dropout import Dropout, draw_keep_mask


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("count", [400_000, 399_997])
def test_share_of_dropped_elements(prob, count):
    torch.manual_seed(0)
    dropped = 1 - draw_keep_mask(torch.Size((count,)), prob).double().mean().item()
    assert abs(dropped - prob) < 4 * (prob * (1 - prob) / count) ** 0.5


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    dropped = ~draw_keep_mask(torch.Size((400_000,)), 0.5)
    for distance in (1, 2, 3, 4):  # four mask elements come from one random word
        both = (dropped[distance:] & dropped[:-distance]).double().mean().item()
        assert abs(both - 0.25) < 0.004


def test_kept_elements_are_scaled_and_the_mean_stays():
    torch.manual_seed(0)
    x = torch.full((500, 400), 3.0)
    out = Dropout(0.2)(x)
    assert set(out.unique().tolist()) == {0.0, 3.75}
    assert out.mean().item() == pytest.approx(3.0, abs=0.02)


def test_gradient_is_the_mask_times_the_scale():
    torch.manual_seed(0)
    x = torch.randn(64, 33, requires_grad=True)
    out = Dropout(0.25)(x)
    weights = torch.randn(64, 33)
    (out * weights).sum().backward()
    kept = out != 0
    assert 0 < kept.float().mean() < 1
    torch.testing.assert_close(x.grad, torch.where(kept, weights / 0.75, torch.zeros(())))


def test_evaluation_and_zero_change_nothing_and_draw_nothing():
    x = torch.randn(5, 7)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mask_is_a_function_of_torch_s_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(1000))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
