"""What sits on the encoder: token prediction, replaced-token detection, sequence classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfpretrain.config import ModelConfig
from selfpretrain.model.dropout import Dropout
from selfpretrain.model.encoder import Embeddings, Packing
from selfpretrain.model.linear import Linear, apply_linear


class MaskedTokenHead(nn.Module):
    """Linear, GELU, LayerNorm, then the tied token embeddings and a bias [ELECTRA, RoBERTa: the same head]."""

    def __init__(self, config: ModelConfig, embeddings: Embeddings):
        super().__init__()
        self.dense = Linear(config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(embeddings.word.num_embeddings))

    def forward(self, hidden_ND: Tensor, word_VE: Tensor) -> Tensor:
        """Logits [N, V] for hidden states [N, D]; ``word_VE`` is the encoder's own token embedding matrix."""
        return apply_linear(self.norm(F.gelu(self.dense(hidden_ND))), word_VE, self.bias)


class ReplacedTokenHead(nn.Module):
    """Linear, GELU, one logit per token: was it replaced? [ELECTRA]"""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.out = Linear(config.hidden_size, 1)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        logits: Tensor = self.out(F.gelu(self.dense(hidden_BLD)))
        return logits.squeeze(-1)


class Pooler(nn.Module):
    """A sequence's first vector through Linear and tanh [BERT]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, first_BD: Tensor) -> Tensor:
        return torch.tanh(self.dense(first_BD))


class BertHead(nn.Module):
    """BERT's two heads: of the tokens at chosen positions, and of whether the second text follows the first."""

    def __init__(self, config: ModelConfig, embeddings: Embeddings):
        super().__init__()
        self.tokens = MaskedTokenHead(config, embeddings)
        self.pooler = Pooler(config)
        self.follows = Linear(config.hidden_size, 2)

    def forward(self, first_BD: Tensor, chosen_ND: Tensor, word_VE: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of the chosen tokens, and [B, 2] of the first vectors: 0 it follows, 1 it does not [BERT]."""
        return self.tokens(chosen_ND, word_VE), self.follows(self.pooler(first_BD))


class TokenHead(nn.Module):
    """Each token's vector to ``num_outputs`` logits: dropout, linear [BERT's run_squad.py and CoNLL recipe]."""

    pooling = None

    def __init__(self, config: ModelConfig, num_outputs: int):
        super().__init__()
        self.out = Linear(config.hidden_size, num_outputs)
        self.dropout = Dropout(config.dropout_prob)

    def forward(self, hidden_BLD: Tensor, attention_mask_BL: Tensor | None, packing: Packing | None = None) -> Tensor:
        """Logits [B, L, num_outputs], at padding the lowest number there is."""
        logits_BLK: Tensor = self.out(self.dropout(hidden_BLD))
        if attention_mask_BL is None:
            return logits_BLK
        return logits_BLK.masked_fill(~attention_mask_BL.unsqueeze(-1), torch.finfo(logits_BLK.dtype).min)


class SequenceHead(nn.Module):
    """One vector per sequence to ``num_outputs`` logits.

    ``kind``: linear (dropout, linear) [ELECTRA code]; gelu and tanh put one hidden layer between, as transformers'
    ELECTRA and RoBERTa classifiers do, with a dropout on either side of it; pooler has one behind it alone, as BERT's
    run_classifier.py. ``pooling``: the first token, or the mean over real tokens.
    """

    def __init__(self, config: ModelConfig, kind: str, pooling: str, num_outputs: int):
        super().__init__()
        self.kind, self.pooling = kind, pooling
        self.dense = None if kind == "linear" else Linear(config.hidden_size, config.hidden_size)
        self.out = Linear(config.hidden_size, num_outputs)
        self.dropout = Dropout(config.dropout_prob)

    def forward(self, hidden_BLD: Tensor, attention_mask_BL: Tensor | None, packing: Packing | None = None) -> Tensor:
        """Logits [B, num_outputs]. Of a packed row's texts ``hidden_BLD`` has the first tokens alone for pooling cls."""
        pooled_BD = self.pool(hidden_BLD, attention_mask_BL, packing)
        if self.kind != "pooler":
            pooled_BD = self.dropout(pooled_BD)
        if self.dense is not None:
            activate = F.gelu if self.kind == "gelu" else torch.tanh
            pooled_BD = self.dropout(activate(self.dense(pooled_BD)))
        return self.out(pooled_BD)

    def pool(self, hidden_BLD: Tensor, attention_mask_BL: Tensor | None, packing: Packing | None) -> Tensor:
        if packing is not None:
            return hidden_BLD[0] if self.pooling == "cls" else packing.average(hidden_BLD)
        if self.pooling == "cls":
            return hidden_BLD[:, 0]
        if attention_mask_BL is None:
            return hidden_BLD.mean(dim=1)
        weights_BL1 = attention_mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        return (hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1)
