"""Attention head by head and of packed texts: the sum over the whole, forward and back, mask for mask."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.model import attention, linear
from selfpretrain.model.attention import attend, attend_packed
from selfpretrain.model.dropout import Dropout

needs_onednn = pytest.mark.skipif(not linear.HAS_ONEDNN, reason="this torch has no oneDNN")


def run(queries: int, keys: int, masked: bool, threshold: int, monkeypatch) -> list[torch.Tensor]:
    """The context and the gradients of a fused projection's parts, with dropout 0.3 drawn from seed 1."""
    monkeypatch.setattr(attention, "HEAD_BY_HEAD_FROM", threshold)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, length, 3 * 8, generator=generator).requires_grad_() for length in (queries, keys, keys)]
    q, k, v = (each.unflatten(-1, (3, -1)).transpose(1, 2) for each in inputs)
    mask = torch.arange(keys) < torch.tensor([[keys], [keys - 2]]) if masked else None
    torch.manual_seed(1)
    context = attend(q, k, v, None if mask is None else mask[:, None, None, :], Dropout(0.3)).transpose(1, 2).flatten(2)
    upstream = torch.randn(context.shape, generator=generator)
    return [context, *torch.autograd.grad(context, inputs, upstream)]


@needs_onednn
@pytest.mark.parametrize("queries", [7, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_head_by_head_is_the_whole_sum(queries, masked, monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "multiply", lambda *args: calls.append(1) or linear.multiply(*args))
    whole = run(queries, 7, masked, 1 << 30, monkeypatch)
    assert not calls
    by_head = run(queries, 7, masked, 1, monkeypatch)
    assert len(calls) == 2 * 3 * 6  # two products forward, four back, of each head of each text
    for ours, expected in zip(by_head, whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@needs_onednn
def test_a_stack_of_seeds_and_other_numbers_keep_the_whole_sum(monkeypatch):
    monkeypatch.setattr(attention, "HEAD_BY_HEAD_FROM", 1)
    monkeypatch.setattr(attention, "multiply", lambda *args: pytest.fail("head by head"))
    q = torch.randn(1, 2, 5, 4)

    class Other(Dropout):
        pass

    for dropout, tensor in ((Other(0.1), q), (Dropout(0.1), q.double())):
        assert attend(tensor, tensor, tensor, None, dropout).shape == q.shape


def test_without_dropout_it_is_the_fused_kernel():
    q, k, v = torch.randn(3, 2, 2, 5, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.equal(attend(q, k, v, None, Dropout(0.0)), expected)
    assert torch.equal(attend(q, k, v, None, Dropout(0.5).eval()), expected)


LENGTHS = [3, 5, 5, 9, 2]


@pytest.mark.parametrize("at_once", [2, 3, 8])
@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_packed_texts_attend_each_to_itself_alone(at_once, chosen, training, monkeypatch):
    monkeypatch.setattr(attention, "TEXTS_AT_ONCE", at_once)
    dropout = Dropout(1e-9).train(training)  # drops nothing, but takes the path of training with dropout
    queries, rest = [1] * len(LENGTHS) if chosen else LENGTHS, 4  # the row was filled up by so many
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, 2, sum(each) + rest, 8, generator=generator).requires_grad_()
        for each in (queries, LENGTHS, LENGTHS)
    )
    context = attend_packed(q, k, v, torch.tensor(queries), torch.tensor(LENGTHS), dropout)
    split = [each[:, :, :-rest].split(own, dim=2) for each, own in ((q, queries), (k, LENGTHS), (v, LENGTHS))]
    one_by_one = torch.cat([attend(*own, None, dropout) for own in zip(*split, strict=True)], dim=2)
    assert context.shape == q.shape and not context[:, :, -rest:].any()
    torch.testing.assert_close(context[:, :, :-rest], one_by_one, rtol=1e-5, atol=1e-6)
    upstream = torch.randn(q.shape, generator=generator)
    grads = torch.autograd.grad(context, (q, k, v), upstream)
    expected = torch.autograd.grad(one_by_one, (q, k, v), upstream[:, :, :-rest])
    for grad, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-5, atol=1e-6)


def test_packed_texts_drop_weights_from_the_generator_given():
    tensors = [
        torch.randn(1, 2, sum(LENGTHS), 8),
        torch.randn(1, 2, sum(LENGTHS), 8),
        torch.ones(1, 2, sum(LENGTHS), 8),
    ]
    lengths = torch.tensor(LENGTHS)
    contexts = [
        attend_packed(*tensors, lengths, lengths, Dropout(0.5, torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(contexts[0], contexts[1]) and not torch.equal(contexts[0], contexts[2])
    assert contexts[0].std() > 0.1 and contexts[0].mean() == pytest.approx(1, abs=0.3)  # a row of weights sums to 1
