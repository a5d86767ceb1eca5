"""Questions whose answer is a part of a context, as SQuAD's: windows with the first accepted answer, and scores of the best."""

from __future__ import annotations

import numpy as np

from selfpretrain.config import FinetuneConfig, TaskConfig
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.data.windows import WindowedSplit, choose_spans, encode_windows
from selfpretrain.kinds import Array
from selfpretrain.sources.answers import load_answers
from selfpretrain.sources.labelled import Split
from selfpretrain.stats.answers import score_answer
from selfpretrain.tasks.reader import Outputs, Predicted


class SpanReader:
    """The sums of an example are its exact match and its F1."""

    @staticmethod
    def encode(task: TaskConfig, split: Split, tokenizer: Tokenizer, config: FinetuneConfig) -> WindowedSplit:
        questions, contexts = zip(*split.texts, strict=True)
        answers = [load_answers(label)[0] for label in split.labels]
        places = [(answer.start, answer.start + len(answer.text)) for answer in answers]
        return encode_windows(
            tokenizer, split.ids, questions, contexts, places, config.seq_len, config.doc_stride
        )  # fmt: skip

    @staticmethod
    def read(task: TaskConfig, split: Split, encoded: WindowedSplit, outputs: list[Outputs]) -> Predicted:
        spans = choose_spans(encoded, outputs)
        given = [context[start:end].strip() for (_, context), (start, end) in zip(split.texts, spans, strict=True)]
        accepted = [[answer.text for answer in load_answers(label)] for label in split.labels]
        sums = np.array([score_answer(*pair) for pair in zip(given, accepted, strict=True)], np.float32)
        return Predicted(np.ones_like(sums), sums, given)

    @staticmethod
    def make_up(num_windows: int, length: int) -> Array:
        return np.zeros((num_windows, 2), np.int64)
