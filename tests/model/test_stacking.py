"""Modules of several seeds as one: slices, masks, and every rule against the operation it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.attention import attend_packed
from selfpretrain.model.dropout import Dropout, draw_keep_mask
from selfpretrain.model.stacking import SeedDropout, SeedStreams, StackedRules, stack_modules, vmap_seeds
from selfpretrain.pretext.objectives import build_objective

SEEDS = 3
RTD = ModelConfig(hidden_size=16, embedding_size=8, num_layers=1, num_heads=2, intermediate_size=32, max_positions=8, generator_fraction=0.5)  # fmt: skip


def make(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SEEDS, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def assert_rule(function, tensors, fixed=(), exactly=False):
    """``function`` under vmap with the rules is ``function`` seed by seed, and so are the gradients."""
    with StackedRules():
        out = torch.vmap(lambda *own: function(*own, *fixed))(*tensors)
    one_by_one = torch.stack([function(*own, *fixed) for own in zip(*tensors, strict=True)])
    tolerance = 0 if exactly else 1e-5
    torch.testing.assert_close(out, one_by_one, rtol=0, atol=tolerance)
    inputs = [tensor for tensor in tensors if tensor.requires_grad]
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    grads = torch.autograd.grad((out * weights).sum(), inputs)
    expected = torch.autograd.grad((one_by_one * weights).sum(), inputs)
    for grad, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=0, atol=tolerance)
    return out


@pytest.mark.parametrize("lead", [(4,), (2, 5), (2, 3, 4)])
def test_linear(lead):
    x, weight, bias = make((*lead, 6), (7, 6), (7,))
    assert_rule(F.linear, [x, weight, bias])
    assert_rule(F.linear, [x, weight])
    assert_rule(lambda *own: F.linear(own[0], own[1], bias=own[2]), [x, weight, bias])


def test_linear_in_half_precision():
    x, weight, bias = make((4, 6), (7, 6), (7,))
    with torch.autocast("cpu", torch.bfloat16):
        with StackedRules():
            out = torch.vmap(F.linear)(x, weight, bias)
        expected = torch.stack([F.linear(*own) for own in zip(x, weight, bias, strict=True)])
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
    grads = torch.autograd.grad(out.float().sum(), (x, weight, bias))
    for grad, wanted in zip(grads, torch.autograd.grad(expected.float().sum(), (x, weight, bias)), strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked):
    q, k, v = make((2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4))
    mask = (torch.arange(6) < torch.tensor([[6], [4]]))[:, None, None, :].expand(SEEDS, 2, 1, 1, 6)
    attend = F.scaled_dot_product_attention
    if masked:
        assert_rule(lambda q, k, v, mask: attend(q, k, v, attn_mask=mask, dropout_p=0.0), [q, k, v, mask])
    else:
        assert_rule(attend, [q, k, v])


def test_attention_of_packed_texts():
    q, k, v = make((1, 2, 9, 4), (1, 2, 9, 4), (1, 2, 9, 4))
    lengths = [[4, 5], [2, 3], [1, 8]]  # the second seed's row was filled up
    alone = []
    for place, own in enumerate(zip(q, k, v, lengths, strict=True)):
        *tensors, texts = own
        dropout = Dropout(0.5, torch.Generator().manual_seed(place))
        alone.append(
            attend_packed(*(each[:, :, : sum(texts)] for each in tensors), *[torch.tensor(texts)] * 2, dropout)
        )
    streams = SeedStreams()
    streams.start(range(SEEDS), [9, 5, 9])
    with StackedRules():
        run = torch.vmap(lambda *own: attend_packed(*own, own[-1], SeedDropout(0.5, streams)))
        together = run(q, k, v, torch.tensor(lengths))
    assert not together[1, :, :, 5:].any()
    for context, expected in zip(together, alone, strict=True):
        assert torch.equal(context[:, :, : expected.shape[2]], expected)
    grads = torch.autograd.grad(together.square().sum(), (q, k, v))
    wanted = torch.autograd.grad(sum(context.square().sum() for context in alone), (q, k, v))
    assert all(torch.equal(*pair) for pair in zip(grads, wanted, strict=True))


def test_losses_and_norms_are_the_library_s_to_the_bit():
    x, weight, bias = make((5, 16), (16,), (16,))
    assert_rule(lambda x, w, b: F.layer_norm(x, (16,), w, b, 1e-5), [x, weight, bias], exactly=True)
    classes = torch.randint(16, (SEEDS, 5), generator=torch.Generator().manual_seed(1))
    assert_rule(F.cross_entropy, [x, classes], exactly=True)
    assert_rule(F.binary_cross_entropy_with_logits, [x, (x.detach() > 0.3).float()], exactly=True)
    assert_rule(F.mse_loss, [x, x.detach().roll(1, 1)], exactly=True)


def test_without_vmap_the_rules_are_not_for_use():
    x, weight = make((4, 6), (7, 6))
    with StackedRules(), pytest.raises(AssertionError, match="outside of vmap"):
        F.linear(x[0], weight[0])


# masks


def test_each_seed_draws_the_masks_of_its_separate_run():
    streams, shapes = SeedStreams(), [(4, 6, 10), (4, 2, 6, 6), (4, 10), (4, 2, 3, 6), (4, 1, 10)]
    streams.start([7, 8], [4, 6])  # the first was filled up from length 4
    masks = [streams.draw_keep_masks(torch.Size((2, *shape)), 0.3) for shape in shapes]
    alone = [[(4, 4, 10), (4, 2, 4, 4), (4, 10), (4, 2, 3, 4), (4, 1, 10)], shapes]
    for place, (seed, own_shapes) in enumerate(zip((7, 8), alone, strict=True)):
        torch.manual_seed(seed)  # as a separate run does
        for mask, shape in zip(masks, own_shapes, strict=True):
            part = mask[place][tuple(slice(size) for size in shape)]
            assert torch.equal(part, draw_keep_mask(torch.Size(shape), 0.3))
            assert mask[place].sum() == part.sum()  # nothing kept beyond


def test_seeds_of_another_start_draw_other_masks():
    streams = SeedStreams()
    streams.start([7, 8], [6, 6])
    first, second = streams.draw_keep_masks(torch.Size((2, 4, 6, 10)), 0.5)
    assert not torch.equal(first, second)


# modules


class Layered(nn.Module):
    def __init__(self, seed, prob=0.5):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Sequential(nn.Linear(3, 4), Dropout(prob))

    def forward(self, batch):
        loss = self.inner(batch["x"]).square().mean()
        return loss, {"loss": loss.detach()}


def test_modules_become_slices_of_the_stack():
    modules = [Layered(seed) for seed in range(SEEDS)]
    before = [{name: value.detach().clone() for name, value in module.named_parameters()} for module in modules]
    stacked = stack_modules(modules)
    for name, parameter in stacked.named_parameters():
        assert torch.equal(parameter, torch.stack([own[name] for own in before]))
    with torch.no_grad():
        stacked.inner[0].weight[1] += 1
    assert torch.equal(modules[1].inner[0].weight, before[1]["inner.0.weight"] + 1)
    assert torch.equal(modules[2].inner[0].weight, before[2]["inner.0.weight"])
    modules[0].register_buffer("counter", torch.zeros(1))
    with pytest.raises(AssertionError, match="shared by all seeds"):
        stack_modules(modules)


def test_losses_and_gradients_are_each_seed_s_own():
    modules = [Layered(seed).train() for seed in range(SEEDS)]
    x = torch.randn(SEEDS, 5, 3, generator=torch.Generator().manual_seed(3))
    expected = []
    for seed, module in enumerate(modules):
        torch.manual_seed(10 + seed)
        loss, _ = module({"x": x[seed]})
        loss.backward()
        expected.append((loss.detach(), module.inner[0].weight.grad))
    stacked, streams = stack_modules(modules), SeedStreams()
    forward = vmap_seeds(stacked, streams)
    streams.start([10, 11, 12], [3] * SEEDS)
    losses, measures = forward({"x": x})
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), torch.stack([loss for loss, _ in expected]))
    assert torch.equal(measures["loss"], losses.detach())
    torch.testing.assert_close(stacked.inner[0].weight.grad, torch.stack([grad for _, grad in expected]))


def test_shared_embeddings_stay_one_and_stay_stacked():
    objective = ObjectiveConfig(mask_prob=0.2)
    modules = [build_objective(RTD, objective, 50, 0, seed) for seed in range(SEEDS)]
    stacked, streams = stack_modules(modules), SeedStreams()
    forward = vmap_seeds(stacked, streams)
    ids, positions = torch.randint(5, 50, (SEEDS, 2, 8)), torch.tensor([[1, 4], [2, 6]]).expand(SEEDS, 2, 2)
    batch = {"input_ids": ids, "original_ids": ids, "masked_positions": positions,
             "token_type_ids": torch.zeros_like(ids), "sample_uniforms": torch.rand(SEEDS, 2, 2)}  # fmt: skip
    before = {name: (id(value), value.shape) for name, value in stacked.named_parameters()}
    for _ in range(2):
        streams.start(range(SEEDS), [8] * SEEDS)
        forward(batch)[0].sum().backward()
    assert {name: (id(value), value.shape) for name, value in stacked.named_parameters()} == before
    assert stacked.generator.embeddings is stacked.encoder.embeddings
    assert all(value.grad is not None and value.grad.shape == value.shape for value in stacked.parameters())
