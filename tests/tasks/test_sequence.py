"""A task's model: the layout of a batch changes neither the loss nor its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit, pack, pad
from selfpretrain.model.heads import Pooler
from selfpretrain.model.init import build_encoder
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.train.learners import move

VOCAB, PAD, COUNT, OPTIONS = 60, 1, 19, 3
SMALL = {"hidden_size": 16, "embedding_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 32,
         "max_positions": 24, "dropout_prob": 0.0, "attention_dropout_prob": 1e-9}  # fmt: skip
MODELS = {
    "electra": ModelConfig(**SMALL),
    "roberta": ModelConfig(**SMALL, family="roberta", type_vocab_size=1, layer_norm_eps=1e-5),
}
LABELS = {
    "class": np.arange(COUNT) % 3,
    "multilabel": np.random.default_rng(0).integers(0, 2, (COUNT, 3)).astype(np.float32),
    "score": np.linspace(0, 1, COUNT, dtype=np.float32),
    "choice": np.arange(COUNT) % OPTIONS,
}


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_pooler_goes_on_from_the_start_s_or_begins_as_the_encoder_does(family):
    config = ModelConfig(**{**SMALL, "hidden_size": 64, "embedding_size": 64}, family=family, init_std=0.1)
    task, pooler = TaskConfig(label_kind="class", label_names=["a", "b", "c"]), Pooler(config)
    encoder = build_encoder(config, VOCAB, PAD, 0)
    given, fresh = (
        SequenceModel(encoder, FinetuneConfig(head="pooler"), task, 0, start).head for start in (pooler, None)
    )
    assert torch.equal(given.dense.weight, pooler.dense.weight) and torch.equal(given.dense.bias, pooler.dense.bias)
    assert torch.equal(given.out.weight, fresh.out.weight)
    values = torch.cat([fresh.dense.weight.flatten(), fresh.out.weight.flatten()])
    cut = family == "bert"  # at two deviations, after which .88 of the deviation is left
    assert values.std().item() == pytest.approx(0.1 * (0.88 if cut else 1), rel=0.05)
    assert (values.abs().max().item() <= 0.2) == cut and not fresh.dense.bias.any()
    span = TaskConfig(label_kind="span")
    SequenceModel(encoder, FinetuneConfig(head="pooler"), span, 0, pooler)  # which has no use for one


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("kind", LABELS)
def test_packed_and_padded_batches_train_alike(family, pooling, kind):
    rng = np.random.default_rng(3)
    lengths = np.sort(rng.integers(2, 24, COUNT * (OPTIONS if kind == "choice" else 1)))
    tokens = [rng.integers(5, VOCAB, length).astype(np.int32) for length in lengths]
    split = EncodedSplit([""] * COUNT, tokens, lengths // 2, LABELS[kind])
    task = TaskConfig(label_kind=kind, label_names=[] if kind == "score" else ["a", "b", "c"])
    encoder = build_encoder(MODELS[family], VOCAB, PAD, 0)
    model = SequenceModel(encoder, FinetuneConfig(head="gelu", pooling=pooling), task, 0).train()
    has_segments, results = MODELS[family].type_vocab_size > 1, []
    for batch in (pad(split, range(COUNT), PAD, has_segments), pack(split, range(COUNT), has_segments)):
        loss, _ = model(move(batch, torch.device("cpu")))
        results.append([loss, *torch.autograd.grad(loss, model.parameters(), allow_unused=True)])
    for padded, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
