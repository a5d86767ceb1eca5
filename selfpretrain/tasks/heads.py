"""What a kind of task has of torch: its head and its loss, under the kind's name in ``selfpretrain.kinds.KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from selfpretrain.config import FinetuneConfig, ModelConfig, TaskConfig, UserError
from selfpretrain.data.examples import EncodedSplit
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.kinds import Array
from selfpretrain.model.heads import SequenceHead, TokenHead
from selfpretrain.sources.labelled import Split

Outputs = npt.NDArray[np.float32]


class Predicted(NamedTuple):
    """What a model says of a split's N examples, as it is scored and stored."""

    labels: Array  # in the form of the kind, or [N, sums] of perfect answers
    outputs: Outputs  # [N, S * K], or [N, sums]
    answers: list[str] | None = None  # [N] in words, of kinds whose answers are parts of the text


class Reader(Protocol):
    """What stands between the texts of a split and tokens, of a kind whose answers are parts of the text (numpy alone)."""

    @staticmethod
    def encode(task: TaskConfig, split: Split, tokenizer: Tokenizer, seq_len: int) -> EncodedSplit:
        """Windows of the examples' texts, with the encoded labels of each."""

    @staticmethod
    def read(task: TaskConfig, split: Split, encoded: EncodedSplit, outputs: list[Outputs]) -> Predicted:
        """The examples' answers and their sums, from each window's outputs, [tokens, K]."""


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


HEADS: dict[str, TaskHead] = {
    "class": TaskHead(F.cross_entropy),
    "score": TaskHead(lambda outputs_B1, labels_B: F.mse_loss(outputs_B1.squeeze(-1), labels_B)),
    "multilabel": TaskHead(F.binary_cross_entropy_with_logits),
    "choice": TaskHead(F.cross_entropy),  # over the options of an example [fairseq sentence_ranking]
}
