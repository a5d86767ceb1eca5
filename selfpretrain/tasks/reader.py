"""What a kind whose answers are parts of the text has between texts and tokens."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from selfpretrain.config import FinetuneConfig, TaskConfig
from selfpretrain.data.examples import EncodedSplit
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.kinds import Array
from selfpretrain.sources.labelled import Split

Outputs = npt.NDArray[np.float32]


class Predicted(NamedTuple):
    """What a model says of a split's N examples, as it is scored and stored."""

    labels: Array  # in the form of the kind, or [N, sums] of perfect answers
    outputs: Outputs  # [N, S * K], or [N, sums]
    answers: list[str] | None = None  # [N] in words, of kinds whose answers are parts of the text


class Reader(Protocol):
    """What stands between the texts of a split and tokens (numpy alone)."""

    @staticmethod
    def encode(task: TaskConfig, split: Split, tokenizer: Tokenizer, config: FinetuneConfig) -> EncodedSplit:
        """Windows of the examples' texts, of ``config.seq_len`` tokens at most, with the encoded labels of each."""

    @staticmethod
    def read(task: TaskConfig, split: Split, encoded: Any, outputs: list[Outputs]) -> Predicted:
        """The examples' answers and their sums, from each window's outputs, [tokens, K]; ``encoded`` is what
        :meth:`encode` gave for the split.
        """

    @staticmethod
    def make_up(num_windows: int, length: int) -> Array:
        """Encoded labels of windows of ``length`` made-up tokens, to time a step with."""
