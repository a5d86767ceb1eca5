"""How much of the texts is cut: by tokens as they are laid out, by words as a lower bound."""

import numpy as np
import pytest

from selfpretrain.data.examples import encode_split
from selfpretrain.data.lengths import MAX_TEXTS, describe_cut, measure_cut


class Characters:
    """A tokenizer whose tokens are characters."""

    cls_id, sep_id = 1, 2

    def __init__(self, kind):
        self.kind = kind

    def encode_batch(self, texts):
        return [np.arange(len(text), dtype=np.int32) for text in texts]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("columns", [1, 2])
def test_tokens_never_seen_are_those_the_layout_cuts(kind, columns):
    texts = [("x" * (3 * n), "y" * n)[:columns] for n in range(1, 40)]
    tokenizer = Characters(kind)
    encoded = encode_split(tokenizer, ["e"] * len(texts), texts, np.zeros(len(texts)), 32)
    special = {1: 2, 2: 3 if kind == "wordpiece" else 4}[columns]
    total = sum(len(part) for parts in texts for part in parts)
    kept = sum(len(tokens) - special for tokens in encoded.tokens)
    cut = np.mean([sum(map(len, parts)) + special > 32 for parts in texts])
    line = describe_cut(texts, 32, tokenizer)
    assert line.startswith(
        f"{cut:.0%} of the training texts are cut and {1 - kept / total:.0%} of the tokens never seen"
    )
    assert line.endswith("at finetune.seq_len=32")


def test_words_are_a_lower_bound():
    texts = [("a bc " * 20,)] * MAX_TEXTS + [("short",)] * MAX_TEXTS
    assert describe_cut(texts, 32, None) == (
        "at least 50% of 1,000 training texts are cut and 24% of the words never seen at finetune.seq_len=32 "
        "(a word is a token or more)"
    )


def test_nothing_cut():
    assert measure_cut(np.array([3, 5]), 5) == (0, 0)
    assert measure_cut(np.array([0]), 5) == (0, 0)
