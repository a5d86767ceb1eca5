"""Tags of words, as those of named entities: windows of sentences, and what each sentence adds to the scores."""

from __future__ import annotations

import numpy as np

from selfpretrain.config import FinetuneConfig, TaskConfig
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.data.words import WordWindows, encode_words
from selfpretrain.kinds import Array
from selfpretrain.sources.labelled import Split
from selfpretrain.stats.entities import OUTSIDE, count_sums
from selfpretrain.tasks.reader import Outputs, Predicted


class TagReader:
    """The sums of a sentence are those of stats.entities; its answer is its words' tags with spaces between."""

    @staticmethod
    def encode(task: TaskConfig, split: Split, tokenizer: Tokenizer, config: FinetuneConfig) -> WordWindows:
        index = {name: number for number, name in enumerate(task.label_names)}
        sentences = [text.split(" ") for (text,) in split.texts]
        tags = [np.array([index[tag] for tag in label.split(" ")]) for label in split.labels]
        return encode_words(tokenizer, split.ids, sentences, tags, config.seq_len)

    @staticmethod
    def read(task: TaskConfig, split: Split, encoded: WordWindows, outputs: list[Outputs]) -> Predicted:
        """Of each word the tag with the highest output of its first token; O where it has no token."""
        tags = [[OUTSIDE] * len(label.split(" ")) for label in split.labels]
        for example, words, logits in zip(encoded.examples.tolist(), encoded.words, outputs, strict=True):
            for word, number in zip(words.tolist(), logits.argmax(axis=1).tolist(), strict=True):
                if word >= 0:
                    tags[example][word] = task.label_names[number]
        answers, scheme = list(map(" ".join, tags)), str(task.tag_scheme)
        perfect = count_sums(split.labels, split.labels, scheme)
        return Predicted(perfect, count_sums(split.labels, answers, scheme).astype(np.float32), answers)

    @staticmethod
    def make_up(num_windows: int, length: int) -> Array:
        return np.fromiter((np.zeros(length, np.int64) for _ in range(num_windows)), object, num_windows)
