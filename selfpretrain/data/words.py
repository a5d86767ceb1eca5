"""Tagged sentences in windows of ``seq_len`` tokens: a word's first token has its tag, every other token none [BERT].

The tokens are those of the running text, words with single spaces between, as pretraining reads it. A sentence that is longer
than a window goes on in the next with the first word that did not fit, so that every word is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.data.examples import IGNORED, EncodedSplit, Ints, join
from selfpretrain.data.tokenizer import Ids, Tokenizer


@dataclass(frozen=True)
class WordWindows(EncodedSplit):
    """W windows of N sentences: ids, tokens and second_starts are a window's, labels its tokens', an object array [W]."""

    examples: Ints  # [W] the number of the window's sentence, ascending
    words: list[Ints]  # [W] of each token, the number of the word that begins with it; -1 where none does


def encode_words(
    tokenizer: Tokenizer, ids: Sequence[str], sentences: Sequence[Sequence[str]], tags: Sequence[Ints], seq_len: int
) -> WordWindows:
    """Windows of N sentences in their order; ``tags`` are the numbers of each sentence's tags, one for each word.

    A word of more tokens than a window holds is cut; one of none (control characters) stands in no window.
    """
    running = [[word if number == 0 else f" {word}" for number, word in enumerate(words)] for words in sentences]
    distinct = list(dict.fromkeys(word for words in running for word in words))
    known = dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))
    tokens, labels, examples, places = [], [], [], []
    for example, (words, numbers) in enumerate(zip(running, tags, strict=True)):
        pieces = [known[word][: seq_len - 2] for word in words]
        for start, end in iter_windows(list(map(len, pieces)), seq_len - 2):
            window = join(tokenizer, [np.concatenate(pieces[start:end])], seq_len)[0]
            begins = mark_words(pieces[start:end], start, len(window))
            tokens.append(window)
            labels.append(np.where(begins < 0, IGNORED, numbers[begins]))
            examples.append(example)
            places.append(begins)
    return WordWindows(
        [ids[example] for example in examples], tokens, np.array(list(map(len, tokens))),
        np.fromiter(labels, object, len(labels)), np.array(examples, np.int64), places,
    )  # fmt: skip


def iter_windows(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """From and to which word each window of ``room`` tokens goes, of words of these lengths, none above ``room``."""
    start, used = 0, 0
    for number, length in enumerate(lengths):
        if used + length > room:
            yield start, number
            start, used = number, 0
        used += length
    if used:
        yield start, len(lengths)


def mark_words(pieces: Sequence[Ids], first: int, num_tokens: int) -> Ints:
    """The number of the word that begins with each token of a window, -1 for none; its words are numbered from ``first``."""
    lengths = np.array(list(map(len, pieces)))
    begins = np.full(num_tokens, -1, np.int64)
    present = np.flatnonzero(lengths)
    begins[1 + np.cumsum(lengths)[present] - lengths[present]] = first + present  # behind the first special token
    return begins
