"""The heads against their formulas."""

from __future__ import annotations

import pytest
import torch

from selfpretrain.config import ModelConfig
from selfpretrain.model.encoder import Embeddings
from selfpretrain.model.heads import BertHead, MaskedTokenHead, ReplacedTokenHead, SequenceHead

TINY = ModelConfig(
    hidden_size=6, embedding_size=4, num_layers=1, num_heads=1, intermediate_size=8, max_positions=8, dropout_prob=0.0
)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


@torch.no_grad()
def test_masked_token_head():
    torch.manual_seed(0)
    embeddings = Embeddings(TINY, 11, 0)
    head = MaskedTokenHead(TINY, embeddings)
    head.bias.normal_()
    head.norm.weight.normal_()
    head.norm.bias.normal_()
    hidden = torch.randn(5, 6)
    inner = gelu(hidden @ head.dense.weight.T + head.dense.bias)
    inner = (inner - inner.mean(1, keepdim=True)) / inner.var(1, unbiased=False, keepdim=True).add(1e-12).sqrt()
    expected = (inner * head.norm.weight + head.norm.bias) @ embeddings.word.weight.T + head.bias
    torch.testing.assert_close(head(hidden, embeddings.word.weight), expected, rtol=0, atol=1e-5)
    # the output matrix is the caller's: none is stored here
    assert sorted(dict(head.named_parameters())) == ["bias", "dense.bias", "dense.weight", "norm.bias", "norm.weight"]


@torch.no_grad()
def test_replaced_token_head():
    torch.manual_seed(0)
    head = ReplacedTokenHead(TINY)
    hidden = torch.randn(2, 3, 6)
    expected = gelu(hidden @ head.dense.weight.T + head.dense.bias) @ head.out.weight[0] + head.out.bias
    assert head(hidden).shape == (2, 3)
    torch.testing.assert_close(head(hidden), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_bert_head():
    torch.manual_seed(0)
    embeddings = Embeddings(TINY, 11, 0)
    head, first, chosen = BertHead(TINY, embeddings), torch.randn(2, 6), torch.randn(5, 6)
    tokens, follows = head(first, chosen, embeddings.word.weight)
    torch.testing.assert_close(tokens, head.tokens(chosen, embeddings.word.weight))
    pooled = torch.tanh(first @ head.pooler.dense.weight.T + head.pooler.dense.bias)
    torch.testing.assert_close(follows, pooled @ head.follows.weight.T + head.follows.bias, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["linear", "gelu", "tanh", "pooler"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sequence_head(kind, pooling):
    torch.manual_seed(0)
    head = SequenceHead(TINY, kind, pooling, 3).eval()
    hidden, mask = torch.randn(2, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    pooled = hidden[:, 0] if pooling == "cls" else torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    if kind != "linear":
        pooled = {"gelu": gelu, "tanh": torch.tanh, "pooler": torch.tanh}[kind](
            pooled @ head.dense.weight.T + head.dense.bias
        )
    expected = pooled @ head.out.weight.T + head.out.bias
    torch.testing.assert_close(head(hidden, mask), expected, rtol=0, atol=1e-6)
    assert (head.dense is None) == (kind == "linear")


@torch.no_grad()
def test_no_mask_is_a_mask_of_ones():
    head = SequenceHead(TINY, "linear", "mean", 2)
    hidden = torch.randn(2, 4, 6)
    torch.testing.assert_close(head(hidden, None), head(hidden, torch.ones(2, 4).bool()), rtol=0, atol=1e-6)


@torch.no_grad()
def test_dropout_stands_before_the_linear_layer():
    head = SequenceHead(ModelConfig(hidden_size=6, dropout_prob=0.5), "linear", "cls", 6)
    head.out.weight.copy_(torch.eye(6))
    head.out.bias.zero_()
    torch.manual_seed(0)
    out = head(torch.ones(200, 4, 6), None)
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert set(head.eval()(torch.ones(200, 4, 6), None).unique().tolist()) == {1.0}


@torch.no_grad()
def test_a_pooler_is_fed_without_dropout():
    config = ModelConfig(hidden_size=6, dropout_prob=0.5)
    head = SequenceHead(config, "pooler", "cls", 6).train()
    head.dense.weight.copy_(torch.eye(6)), head.out.weight.copy_(torch.eye(6)), head.out.bias.zero_()
    hidden = torch.full((400, 1, 6), 0.5)
    expected = torch.tanh(hidden[0, 0] + head.dense.bias)
    outputs = head(hidden, None)
    kept = outputs != 0
    assert kept.float().mean() == pytest.approx(0.5, abs=0.05)  # one dropout, behind the dense layer
    torch.testing.assert_close(outputs[kept], (2 * expected).expand(400, 6)[kept])
