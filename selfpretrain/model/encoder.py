"""One Transformer encoder for ELECTRA, RoBERTa and BERT (post-LayerNorm; positions learned, or rotary).

Shape suffixes: B batch, L length, D hidden, E embedding, H heads, K head size, V vocabulary, M masked slots.
Texts come as rows [B, L], the shorter ones padded, or packed: one after the other in a single row [1, L].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import ModelConfig
from selfpretrain.model.attention import attend, attend_packed
from selfpretrain.model.dropout import Dropout
from selfpretrain.model.linear import Linear, apply_linear, runs_bf16
from selfpretrain.model.rotary import compute_turns, turn

Turns = tuple[Tensor, Tensor]  # of the queries and of the keys, where positions are rotary


def gather_positions(hidden_BLD: Tensor, positions_BM: Tensor) -> Tensor:
    """The hidden states at the chosen positions, [B, M, D]."""
    return hidden_BLD.gather(1, positions_BM.unsqueeze(-1).expand(-1, -1, hidden_BLD.shape[-1]))


@dataclass(frozen=True)
class Packing:
    """Where the texts of a packed row are."""

    positions_1L: Tensor  # of each token in its own text
    lengths_B: Tensor  # int64, on the CPU; together less than L where the row was filled up

    @property
    def starts_1B(self) -> Tensor:
        return (self.lengths_B.cumsum(0) - self.lengths_B).unsqueeze(0)

    def average(self, hidden_1LD: Tensor) -> Tensor:
        """The mean [B, D] over each text's tokens."""
        starts_B1, lengths_B1 = self.starts_1B.t(), self.lengths_B.unsqueeze(-1)
        places_L = torch.arange(hidden_1LD.shape[1], device=hidden_1LD.device)
        inside_BL = (places_L >= starts_B1) & (places_L < starts_B1 + lengths_B1)
        return inside_BL.to(hidden_1LD.dtype) @ hidden_1LD[0] / lengths_B1


class Embeddings(nn.Module):
    """Token + position + segment embeddings, LayerNorm, dropout. ELECTRA's two networks share one of these.

    With rotary positions there is no table of them: attention has them.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, pad_id: int):
        super().__init__()
        # RoBERTa counts positions from pad_id + 1; the rows below are never read [RoBERTa]
        self.position_offset = pad_id + 1 if config.family == "roberta" else 0
        self.word = nn.Embedding(vocab_size, config.embedding_size)
        self.position: nn.Embedding | None = None
        if config.positions == "learned":
            self.position = nn.Embedding(config.max_positions + self.position_offset, config.embedding_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout_prob)

    def forward(self, input_ids_BL: Tensor, token_type_ids_BL: Tensor | None, packing: Packing | None = None) -> Tensor:
        placed = self.word(input_ids_BL)
        if self.position is not None:
            if packing is None:
                end = self.position_offset + input_ids_BL.shape[1]
                placed = placed + self.position.weight[self.position_offset : end]
            else:
                placed = placed + self.position(packing.positions_1L + self.position_offset)
        types = self.token_type.weight[0] if token_type_ids_BL is None else self.token_type(token_type_ids_BL)
        embedded_BLE = self.dropout(self.norm(placed + types))
        return embedded_BLE.bfloat16() if runs_bf16(embedded_BLE) else embedded_BLE


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = Linear(config.hidden_size, config.hidden_size)
        self.weight_dropout = Dropout(config.attention_dropout_prob)

    def forward(
        self, chosen_BMD: Tensor, hidden_BLD: Tensor, mask_B11L: Tensor | None, packing: Packing | None,
        turns: Turns | None = None,
    ) -> Tensor:  # fmt: skip
        """Every chosen position attends to all of its text (``chosen_BMD`` is ``hidden_BLD`` where all are chosen)."""
        if chosen_BMD is hidden_BLD:
            parts = self.qkv(hidden_BLD).chunk(3, dim=-1)
        else:
            width = hidden_BLD.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            keys_values = apply_linear(hidden_BLD, weight[width:], bias[width:])
            parts = (apply_linear(chosen_BMD, weight[:width], bias[:width]), *keys_values.chunk(2, dim=-1))
        q_BHMK, k_BHLK, v_BHLK = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if turns is not None:
            q_BHMK, k_BHLK = turn(q_BHMK, turns[0]), turn(k_BHLK, turns[1])
        if packing is None:
            context_BHMK = attend(q_BHMK, k_BHLK, v_BHLK, mask_B11L, self.weight_dropout)
        else:
            keys_B = packing.lengths_B
            queries_B = keys_B if chosen_BMD is hidden_BLD else torch.ones_like(keys_B)
            context_BHMK = attend_packed(q_BHMK, k_BHLK, v_BHLK, queries_B, keys_B, self.weight_dropout)
        return self.out(context_BHMK.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and feed-forward, each followed by dropout, the residual sum and LayerNorm."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up = Linear(config.hidden_size, config.intermediate_size)
        self.down = Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout_prob)

    def forward(
        self, hidden_BLD: Tensor, mask_B11L: Tensor | None, positions_BM: Tensor | None = None,
        packing: Packing | None = None, turns: Turns | None = None,
    ) -> Tensor:  # fmt: skip
        """The hidden states after this layer, of all positions or of the chosen ones alone."""
        chosen_BMD = hidden_BLD if positions_BM is None else gather_positions(hidden_BLD, positions_BM)
        attended_BMD = self.dropout(self.attention(chosen_BMD, hidden_BLD, mask_B11L, packing, turns))
        chosen_BMD = self.attention_norm(chosen_BMD + attended_BMD)
        return self.output_norm(chosen_BMD + self.dropout(self.down(F.gelu(self.up(chosen_BMD)))))


class Encoder(nn.Module):
    """Embeddings (own or shared), a projection where the widths differ, and the layers."""

    def __init__(self, config: ModelConfig, vocab_size: int, pad_id: int, embeddings: Embeddings | None = None):
        super().__init__()
        self.config, self.vocab_size, self.pad_id = config, vocab_size, pad_id
        self.embeddings = embeddings or Embeddings(config, vocab_size, pad_id)
        same = config.embedding_size == config.hidden_size
        self.project = nn.Identity() if same else Linear(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))

    def forward(
        self, input_ids_BL: Tensor, token_type_ids_BL: Tensor | None = None, attention_mask_BL: Tensor | None = None,
        positions_BM: Tensor | None = None, packing: Packing | None = None,
    ) -> Tensor:  # fmt: skip
        """Hidden states [B, L, D]; ``attention_mask_BL`` is bool, True at real tokens, None where none is padding.

        With ``positions_BM`` only theirs, [B, M, D]: the last layer then computes no others. For a packed row, which
        has no mask, they are one of each text.
        """
        hidden_BLD: Tensor = self.project(self.embeddings(input_ids_BL, token_type_ids_BL, packing))
        mask_B11L = None if attention_mask_BL is None else attention_mask_BL[:, None, None, :]
        of_all, of_chosen = self.compute_turns(input_ids_BL, positions_BM, packing)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            chosen_BM, turns = (positions_BM, of_chosen) if index == last else (None, of_all)
            hidden_BLD = layer(hidden_BLD, mask_B11L, chosen_BM, packing, turns)
        return hidden_BLD

    def compute_turns(
        self, input_ids_BL: Tensor, positions_BM: Tensor | None, packing: Packing | None
    ) -> tuple[Turns | None, Turns | None]:
        """What queries and keys are turned by, in all layers but the last, and in that; None where positions are learned."""
        if self.config.positions == "learned":
            return None, None
        head_size = self.config.hidden_size // self.config.num_heads
        if packing is None:
            places_1L = torch.arange(input_ids_BL.shape[1], device=input_ids_BL.device).unsqueeze(0)
        else:
            places_1L = packing.positions_1L
        of_all = of_chosen = compute_turns(places_1L, head_size)
        if positions_BM is not None:
            chosen_BM = positions_BM if packing is None else places_1L.gather(1, positions_BM)
            of_chosen = compute_turns(chosen_BM, head_size)
        return (of_all, of_all), (of_chosen, of_all)
