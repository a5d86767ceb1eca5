"""Words in windows: the tokens are those of the running text, and every word is read once."""

from __future__ import annotations

import random

import numpy as np
import pytest

from selfpretrain.config import TokenizerConfig
from selfpretrain.data.examples import IGNORED
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.data.words import encode_words, iter_windows

PLAIN = ["the", "tokenizer's", "café", "naïve", "Unbelievable", "re-entry", "1984", "x_y", "don't"]
ODD = ["'s", "'", "''ll", "``", "...", "%", "U.S.", "[MASK]", "</s>", "<mask>", "東京", "Straße", "e\u0301", "\u0301", "🙂", "A\u200bB", "\ufeff",
       "½", "٣", "ﬁ", "#tag", "##s", "a" * 130, "-LRB-", "İ", "Σς", "\ufffd", "x\x00y", "I'm", "9:30", "$5", "e-mail@x.org", "ĠA"]  # fmt: skip
EMPTY = "\x07"  # WordPiece leaves control characters out


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    chance = random.Random(0)
    documents = [" ".join(chance.choices(PLAIN + ODD[:8], k=30)) for _ in range(200)]
    return train_tokenizer(TokenizerConfig(kind=request.param, vocab_size=500), iter(documents))


def make_sentences(count: int = 300) -> list[list[str]]:
    chance = random.Random(1)
    return [chance.choices([*PLAIN, *ODD, EMPTY], k=chance.randint(1, 12)) for _ in range(count)]


def number(sentences: list[list[str]]) -> list[np.ndarray]:
    return [np.arange(len(words)) + 100 for words in sentences]


def test_tokens_are_those_of_the_running_text(tokenizer):
    sentences = make_sentences()
    windows = encode_words(tokenizer, [str(i) for i in range(300)], sentences, number(sentences), 2000)
    running = tokenizer.encode_batch([" ".join(words) for words in sentences])
    assert len(windows) == 300 - sum(len(ids) == 0 for ids in running)
    for example, tokens in zip(windows.examples, windows.tokens, strict=True):
        assert tokens.tolist() == [tokenizer.cls_id, *running[example], tokenizer.sep_id]
        assert windows.ids[0] == "0" and tokens.dtype == np.int32
    assert windows.second_starts.tolist() == windows.lengths.tolist()


@pytest.mark.parametrize("seq_len", [8, 16, 40])
def test_every_word_begins_once_whatever_the_window(tokenizer, seq_len):
    sentences = make_sentences()
    tags = number(sentences)
    windows = encode_words(tokenizer, [""] * 300, sentences, tags, seq_len)
    assert windows.labels_tokens and windows.lengths.max() <= seq_len and np.all(np.diff(windows.examples) >= 0)
    begun: dict[int, list[int]] = {}
    for example, tokens, labels, words in zip(
        windows.examples.tolist(), windows.tokens, windows.labels, windows.words, strict=True
    ):
        assert tokens[0] == tokenizer.cls_id and tokens[-1] == tokenizer.sep_id
        assert len(tokens) == len(labels) == len(words) and words[0] == words[-1] == -1 and labels.dtype == np.int64
        assert np.array_equal(labels == IGNORED, words < 0)
        assert labels[words >= 0].tolist() == (words[words >= 0] + 100).tolist()
        begun.setdefault(example, []).extend(words[words >= 0].tolist())
    for example, words in enumerate(sentences):
        with_tokens = [place for place, word in enumerate(words) if len(tokenizer.encode_batch([word])[0])]
        assert begun.get(example, []) == with_tokens
    assert (len(tokenizer.encode_batch([EMPTY])[0]) == 0) == (tokenizer.kind == "wordpiece")


def test_windows_by_hand():
    assert list(iter_windows([2, 2, 3, 1, 4], 5)) == [(0, 2), (2, 4), (4, 5)]
    assert list(iter_windows([5, 5, 1], 5)) == [(0, 1), (1, 2), (2, 3)]
    assert list(iter_windows([0, 1, 0], 5)) == [(0, 3)]
    assert list(iter_windows([0, 0], 5)) == list(iter_windows([], 5)) == []


def test_a_word_longer_than_a_window_is_cut(tokenizer):
    windows = encode_words(tokenizer, ["x"], [["a", "東京" * 30, "b"]], [np.arange(3)], 10)
    assert windows.lengths.max() == 10
    assert [words[words >= 0].tolist() for words in windows.words] == [[0], [1], [2]]
