"""What a kind of task has of torch: its head and its loss, under the kind's name in ``selfpretrain.kinds.KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from selfpretrain.config import FinetuneConfig, ModelConfig, UserError
from selfpretrain.data.examples import IGNORED
from selfpretrain.model.heads import SequenceHead, TokenHead
from selfpretrain.tasks.reader import Reader
from selfpretrain.tasks.span import SpanReader
from selfpretrain.tasks.tagging import TagReader


@dataclass(frozen=True)
class TaskHead:
    """``compute_loss`` gives the mean over the batch, of an example's outputs in fp32, [B, S * K], and encoded labels; of
    outputs for tokens, [B, L, K] or of a packed row [1, L, K], that over windows or labelled tokens.

    ``build`` gives the head, from its number of outputs for a sequence, or token, K.
    """

    compute_loss: Callable[[Tensor, Tensor], Tensor]
    build: Callable[[ModelConfig, FinetuneConfig, int], SequenceHead | TokenHead] = lambda model, config, num_outputs: (
        SequenceHead(model, config.head, config.pooling, num_outputs)
    )
    reader: type[Reader] | None = None  # of kinds of tokens


def get_head(name: str | None) -> TaskHead:
    """The head and loss of the kind of that name; UserError for a kind that has none."""
    if name not in HEADS:
        raise UserError(
            f"task.label_kind={name} has no head and loss in tasks.heads.HEADS; allowed: {', '.join(HEADS)}"
        )
    return HEADS[name]


def _build_token_head(model: ModelConfig, config: FinetuneConfig, num_outputs: int) -> TokenHead:
    return TokenHead(model, num_outputs)


def _compute_tag_loss(outputs_BLK: Tensor, labels_BL: Tensor) -> Tensor:
    """The mean over the tokens that have a label."""
    return F.cross_entropy(outputs_BLK.flatten(0, 1), labels_BL.flatten(), ignore_index=IGNORED)


HEADS: dict[str, TaskHead] = {
    "class": TaskHead(F.cross_entropy),
    "score": TaskHead(lambda outputs_B1, labels_B: F.mse_loss(outputs_B1.squeeze(-1), labels_B)),
    "multilabel": TaskHead(F.binary_cross_entropy_with_logits),
    "choice": TaskHead(F.cross_entropy),  # over the options of an example [fairseq sentence_ranking]
    # of [B, L, 2] and [B, 2]: over a window's tokens, the mean of first and last [BERT run_squad.py]
    "span": TaskHead(F.cross_entropy, _build_token_head, SpanReader),
    "token": TaskHead(_compute_tag_loss, _build_token_head, TagReader),
}
