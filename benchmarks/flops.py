"""Floating-point operations of one optimizer step, by formula.

To be replaced by ``selfpretrain.model.flops.count_step_flops`` once that exists; the same meaning.
"""

from __future__ import annotations

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.data.packing import count_slots
from selfpretrain.model.encoder import build_generator_config

BACKWARD = 2  # times the forward pass: one product for the inputs' gradient, one for the weights'


def count_step_flops(
    model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, batch_size: int, seq_len: int
) -> float:
    """Matrix products of the forward and backward pass of a pretraining batch, a multiply-add as two operations.

    Logits are counted at the chosen positions only: the work the objective needs, whatever a program computes.
    """
    tokens, slots = batch_size * seq_len, batch_size * count_slots(objective, seq_len)
    forward = tokens * count_encoder_flops(model, seq_len)
    if objective.name == "rtd":
        small = build_generator_config(model)
        forward += tokens * count_encoder_flops(small, seq_len) + slots * _count_head_flops(small, vocab_size)
        forward += tokens * (2 * model.hidden_size**2 + 2 * model.hidden_size)
    else:
        forward += slots * _count_head_flops(model, vocab_size)
    return float((1 + BACKWARD) * forward)


def count_encoder_flops(model: ModelConfig, seq_len: int) -> int:
    """Forward operations per token."""
    width = model.hidden_size
    layer = 2 * 4 * width**2 + 2 * 2 * width * model.intermediate_size + 2 * 2 * seq_len * width
    project = 0 if model.embedding_size == width else 2 * model.embedding_size * width
    return project + model.num_layers * layer


def _count_head_flops(model: ModelConfig, vocab_size: int) -> int:
    return 2 * model.hidden_size * model.embedding_size + 2 * model.embedding_size * vocab_size
