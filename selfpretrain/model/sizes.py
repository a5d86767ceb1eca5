"""How large the networks are, from their settings alone; no torch.

Letters: D hidden width, E embedding width, I width of the feed-forward layer, V vocabulary, P positions, T segments.
"""

from __future__ import annotations

import dataclasses

from selfpretrain.config import ModelConfig


def build_generator_config(config: ModelConfig) -> ModelConfig:
    """ELECTRA's generator: the same depth and embeddings, a fraction of the width [ELECTRA configure_pretraining.py]."""
    return dataclasses.replace(
        config,
        hidden_size=round(config.hidden_size * config.generator_fraction),
        num_heads=max(1, round(config.num_heads * config.generator_fraction)),
        intermediate_size=round(config.intermediate_size * config.generator_fraction),
    )


def count_body_parameters(model: ModelConfig) -> int:
    """Per layer 4 D^2 + 2 D I + 9 D + I, and the projection D (E + 1) where E is not D."""
    width, inner = model.hidden_size, model.intermediate_size
    project = 0 if model.embedding_size == width else width * (model.embedding_size + 1)
    return model.num_layers * (4 * width**2 + 2 * width * inner + 9 * width + inner) + project


def count_encoder_parameters(model: ModelConfig, vocab_size: int, pad_id: int = 1) -> int:
    """What fine-tuning starts from: three tables and a LayerNorm, E (V + P + T + 2), and the body.

    RoBERTa's positions begin after ``pad_id``; rotary ones have no table, P = 0.
    """
    positions = 0
    if model.positions == "learned":
        positions = model.max_positions + (pad_id + 1 if model.family == "roberta" else 0)
    embeddings = model.embedding_size * (vocab_size + positions + model.type_vocab_size + 2)
    return embeddings + count_body_parameters(model)


def count_mlm_parameters(model: ModelConfig, vocab_size: int, pad_id: int = 1) -> int:
    """The encoder and the token head."""
    return count_encoder_parameters(model, vocab_size, pad_id) + count_token_head_parameters(model, vocab_size)


def count_token_head_parameters(model: ModelConfig, vocab_size: int) -> int:
    """E (D + 1) + 2 E + V, its output matrix being the embeddings."""
    return model.embedding_size * (model.hidden_size + 3) + vocab_size


def count_rtd_parameters(model: ModelConfig, vocab_size: int, pad_id: int = 1) -> int:
    """ELECTRA: the generator (MLM at width G), the discriminator's body on the same embeddings, its head D^2 + 2 D + 1."""
    width = model.hidden_size
    generator = count_mlm_parameters(build_generator_config(model), vocab_size, pad_id)
    return generator + count_body_parameters(model) + width**2 + 2 * width + 1


def count_pooler_parameters(model: ModelConfig) -> int:
    """D^2 + D."""
    return model.hidden_size * (model.hidden_size + 1)


def count_mlm_nsp_parameters(model: ModelConfig, vocab_size: int, pad_id: int = 1) -> int:
    """BERT: MLM, the pooler, and what follows it, 2 (D + 1)."""
    head = count_pooler_parameters(model) + 2 * (model.hidden_size + 1)
    return count_mlm_parameters(model, vocab_size, pad_id) + head


def count_head_parameters(model: ModelConfig, head: str, num_outputs: int) -> int:
    """(D + 1) K, and D^2 + D for the hidden layer of ``gelu``, ``tanh`` and ``pooler``."""
    width = model.hidden_size
    return (width + 1) * num_outputs + (0 if head == "linear" else width**2 + width)
