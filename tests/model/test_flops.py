"""FLOPs by formula against torch's counter, which adds up the matrix products it sees.

The counter has no formula for the CPU's fused attention nor for oneDNN's product, and would leave them out: here both
are computed as plain products.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from selfpretrain.config import FinetuneConfig, ModelConfig, ObjectiveConfig, TaskConfig
from selfpretrain.model import flops, linear
from selfpretrain.model.encoder import Encoder
from selfpretrain.pretext.objectives import (
    OBJECTIVES,
    build_objective,
    count_pretrain_flops,
    count_slots,
    count_step_flops,
)
from selfpretrain.tasks.sequence import SequenceModel

VOCAB = 90
ELECTRA = ModelConfig(hidden_size=32, embedding_size=16, num_layers=2, num_heads=4, intermediate_size=72, max_positions=48,
                      generator_fraction=0.5)  # fmt: skip
MODELS = {
    "electra": ELECTRA,
    "electra without projection": dataclasses.replace(ELECTRA, embedding_size=32, generator_fraction=1.0),
    "electra, quarter": dataclasses.replace(ELECTRA, generator_fraction=0.25, num_layers=3),
    "roberta": dataclasses.replace(ELECTRA, family="roberta", embedding_size=32, type_vocab_size=1),
    "bert with projection": dataclasses.replace(ELECTRA, family="bert", num_layers=1),
}
SHAPES = [(1, 8), (3, 16), (2, 48)]


@pytest.fixture(autouse=True)
def plain_products(monkeypatch):
    monkeypatch.setattr(linear, "HAS_ONEDNN", False)
    with sdpa_kernel(SDPBackend.MATH):
        yield


def measure(module, *inputs) -> tuple[int, int]:
    """(forward, forward and backward) of a module that returns its loss first."""
    with FlopCounterMode(display=False) as counter:
        loss = module(*inputs)[0]
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops()


def make_batch(objective, batch_size, seq_len):
    slots = count_slots(objective, seq_len)
    return {
        "input_ids": torch.randint(5, VOCAB, (batch_size, seq_len)),
        "original_ids": torch.randint(5, VOCAB, (batch_size, seq_len)),
        "masked_positions": torch.randint(0, seq_len, (batch_size, slots)),
        "sample_uniforms": torch.rand(batch_size, slots),
        "next_labels": torch.randint(0, 2, (batch_size,)),
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("model", "name"), [(m, n) for m in MODELS.values() for n, o in OBJECTIVES.items() if m.family in o.families]
)
def test_pretraining(model, name, shape):
    objective = ObjectiveConfig(name=name, mask_prob=0.2)
    module = build_objective(model, objective, VOCAB, 0, 0)
    forward, both = measure(module, make_batch(objective, *shape))
    assert count_pretrain_flops(model, objective, VOCAB, *shape) == forward
    assert count_step_flops(model, objective, VOCAB, *shape) == both


@pytest.mark.parametrize("model", [m for m in MODELS.values() if m.family == "electra"])
def test_a_detector_that_learns_masked_tokens_first_takes_the_mean(model):
    objective = ObjectiveConfig(mask_prob=0.2, mlm_fraction=0.25)
    module, batch = build_objective(model, objective, VOCAB, 0, 0), make_batch(objective, *SHAPES[0])
    whole, _ = measure(module, batch)
    first, _ = measure(module, {name: value for name, value in batch.items() if name != "sample_uniforms"})
    assert first < whole
    assert count_pretrain_flops(model, objective, VOCAB, *SHAPES[0]) == round(0.25 * first + 0.75 * whole)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_encoder(model, shape):
    encoder = Encoder(model, VOCAB, 0)
    forward, both = measure(lambda ids: (encoder(ids).sum(),), torch.randint(5, VOCAB, shape))
    assert flops.count_encoder_flops(model, *shape) == forward
    assert (1 + flops.BACKWARD) * forward == both


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("head", "pooling"), [("linear", "cls"), ("gelu", "cls"), ("tanh", "mean"), ("pooler", "cls")])
def test_finetuning(head, pooling, shape):
    task = TaskConfig(name="t", label_kind="class", label_names=["a", "b", "c"])
    module = SequenceModel(Encoder(ELECTRA, VOCAB, 0), FinetuneConfig(head=head, pooling=pooling), task, 0)
    batch_size, _ = shape
    batch = {
        "input_ids": torch.randint(5, VOCAB, shape),
        "attention_mask": torch.ones(shape, dtype=torch.bool),
        "labels": torch.randint(0, 3, (batch_size,)),
    }
    forward, both = measure(module, batch)
    assert flops.count_sequence_flops(ELECTRA, head, pooling, 3, *shape) == forward
    assert (1 + flops.BACKWARD) * forward == both


def test_a_layer_by_hand():
    # D 4, I 6, L 3, one sequence; per token 8 D^2 + 4 D I = 128 + 96, attention 4 L^2 D = 144
    model = ModelConfig(hidden_size=4, embedding_size=4, num_layers=1, num_heads=1, intermediate_size=6)
    assert flops.count_layer_flops(model, 1, 3) == 3 * (128 + 96) + 144
    # one query: keys and values of three, the rest of one
    assert flops.count_layer_flops(model, 1, 3, 1) == 3 * 64 + 64 + 48 + 96
    assert flops.count_layer_flops(model, 5, 3, 3) == 5 * flops.count_layer_flops(model, 1, 3)


def test_no_torch_is_needed():
    code = "import sys, selfpretrain.model.flops; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
