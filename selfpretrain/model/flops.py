"""Floating-point operations by formula: what a forward pass and a training step cost; plain integers, no torch.

A multiply-add counts as 2. Counted are the products of matrices, attention scores and their weighted sums included;
element-wise work, LayerNorm, softmax and table look-ups are not. The backward pass multiplies twice as much as the
forward pass (gradients of inputs and of weights), so a training step costs 3 forward passes. What is counted is the
work a loss needs: nothing is added where an implementation computes something twice to save memory.

Letters: B sequences, L tokens of each, M chosen positions of each, D hidden width, G the generator's, E embedding
width, I width of the feed-forward layer, V vocabulary, K outputs.
"""

from __future__ import annotations

from selfpretrain.config import ModelConfig
from selfpretrain.model.sizes import build_generator_config

BACKWARD = 2  # times the forward pass


def count_layer_flops(model: ModelConfig, batch_size: int, seq_len: int, num_positions: int | None = None) -> int:
    """One layer forward: 8 B L D^2 (projections) + 4 B L^2 D (attention) + 4 B L D I (feed-forward).

    With ``num_positions`` M, only those are queries and go on: 4 B (L + M) D^2 + 4 B M L D + 4 B M D I.
    """
    width, chosen = model.hidden_size, seq_len if num_positions is None else num_positions
    projections = 4 * (seq_len + chosen) * width**2  # keys and values of all, queries and outputs of the chosen
    attention = 4 * chosen * seq_len * width
    return batch_size * (projections + attention + 4 * chosen * width * model.intermediate_size)


def count_encoder_flops(model: ModelConfig, batch_size: int, seq_len: int, num_positions: int | None = None) -> int:
    """The encoder forward: its layers, and 2 B L E D where the embeddings are projected.

    ``num_positions``: how many states per sequence are used; the last layer then computes no others. None: all.
    """
    width, embedding = model.hidden_size, model.embedding_size
    project = 0 if embedding == width else 2 * batch_size * seq_len * embedding * width
    below = (model.num_layers - 1) * count_layer_flops(model, batch_size, seq_len)
    return project + below + count_layer_flops(model, batch_size, seq_len, num_positions)


def count_mlm_flops(model: ModelConfig, vocab_size: int, slots: int, batch_size: int, seq_len: int) -> int:
    """Masked language modelling forward: the encoder, and at the M chosen positions the token head, 2 B M (D E + E V)."""
    head = 2 * batch_size * slots * model.embedding_size * (model.hidden_size + vocab_size)
    return count_encoder_flops(model, batch_size, seq_len, slots) + head


def count_rtd_flops(model: ModelConfig, vocab_size: int, slots: int, batch_size: int, seq_len: int) -> int:
    """ELECTRA forward: the generator (MLM at width G), the discriminator, and its head, 2 B L (D^2 + D)."""
    generator = count_mlm_flops(build_generator_config(model), vocab_size, slots, batch_size, seq_len)
    head = 2 * batch_size * seq_len * model.hidden_size * (model.hidden_size + 1)
    return generator + count_encoder_flops(model, batch_size, seq_len) + head


def count_mlm_nsp_flops(model: ModelConfig, vocab_size: int, slots: int, batch_size: int, seq_len: int) -> int:
    """BERT forward: the encoder of M + 1 positions, the token head at M of them, pooler and output of one, 2 B (D^2 + 2 D)."""
    width, embedding = model.hidden_size, model.embedding_size
    head = 2 * batch_size * (slots * embedding * (width + vocab_size) + width * (width + 2))
    return count_encoder_flops(model, batch_size, seq_len, slots + 1) + head


def count_sequence_flops(model: ModelConfig, head: str, pooling: str, num_outputs: int, batch_size: int, seq_len: int) -> int:  # fmt: skip
    """Sequence classification forward: the encoder (of the first token, M = 1, or of all), and the head.

    The head costs 2 B D K; with a hidden layer (gelu, tanh, pooler) another 2 B D^2.
    """
    encoder = count_encoder_flops(model, batch_size, seq_len, 1 if pooling == "cls" else None)
    hidden = 0 if head == "linear" else 2 * batch_size * model.hidden_size**2
    return encoder + hidden + 2 * batch_size * model.hidden_size * num_outputs


def count_token_flops(model: ModelConfig, num_outputs: int, batch_size: int, seq_len: int) -> int:
    """K outputs for each token, forward: the encoder of all tokens, and 2 B L D K."""
    head = 2 * batch_size * seq_len * model.hidden_size * num_outputs
    return count_encoder_flops(model, batch_size, seq_len) + head
