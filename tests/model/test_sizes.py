"""Sizes by formula against the networks themselves."""

from __future__ import annotations

import dataclasses

import pytest

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import SequenceHead
from selfpretrain.model.sizes import (
    build_generator_config,
    count_encoder_parameters,
    count_head_parameters,
)
from selfpretrain.pretext.objectives import (
    OBJECTIVES,
    build_objective,
    count_handed_parameters,
    count_pretrain_parameters,
)

ELECTRA = ModelConfig(hidden_size=16, embedding_size=8, num_layers=2, num_heads=4, intermediate_size=40, max_positions=12,
                      generator_fraction=0.5)  # fmt: skip
MODELS = [
    ELECTRA,
    dataclasses.replace(ELECTRA, embedding_size=16),
    dataclasses.replace(ELECTRA, family="roberta", embedding_size=16, type_vocab_size=1),
    dataclasses.replace(ELECTRA, family="bert", num_layers=3),
    dataclasses.replace(ELECTRA, positions="rotary"),
]


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("model", "name"), [(m, n) for m in MODELS for n, o in OBJECTIVES.items() if m.family in o.families]
)
@pytest.mark.parametrize("pad_id", [0, 1])
def test_parameters(model, name, pad_id):
    assert count_encoder_parameters(model, 30, pad_id) == count(Encoder(model, 30, pad_id))
    objective = ObjectiveConfig(name=name)
    module = build_objective(model, objective, 30, pad_id, 0)
    expected = count(module)
    if model.family != "roberta":  # whose positions begin after the padding's id
        handed = sum(count(part) for part in module.hand_over().values() if part is not None)
        assert count_handed_parameters(model, objective, 30) == handed
    assert OBJECTIVES[objective.name].count_parameters(model, 30, pad_id) == expected
    first = dataclasses.replace(objective, mlm_fraction=0.25)  # of rtd alone
    assert count_pretrain_parameters(model, first, 30, pad_id) == count(build_objective(model, first, 30, pad_id, 0))


@pytest.mark.parametrize("kind", ["linear", "gelu", "tanh", "pooler"])
def test_parameters_of_heads(kind):
    assert count_head_parameters(ELECTRA, kind, 3) == count(SequenceHead(ELECTRA, kind, "cls", 3))


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ((256, 4, 1024), 0.25, (64, 1, 256)),  # ELECTRA-small
        ((768, 12, 3072), 1 / 3, (256, 4, 1024)),  # ELECTRA-base
        ((1024, 16, 4096), 0.25, (256, 4, 1024)),  # ELECTRA-large
        ((256, 4, 1024), 1.0, (256, 4, 1024)),  # the released small
        ((64, 1, 256), 0.25, (16, 1, 64)),
    ],
)
def test_generator_sizes(sizes, fraction, expected):
    hidden, heads, inner = sizes
    config = ModelConfig(
        hidden_size=hidden, num_heads=heads, intermediate_size=inner, num_layers=12, generator_fraction=fraction
    )
    small = build_generator_config(config)
    assert (small.hidden_size, small.num_heads, small.intermediate_size) == expected
    assert (small.num_layers, small.embedding_size) == (12, config.embedding_size)  # depth and embeddings stay
