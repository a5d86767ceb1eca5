"""How much of a task's texts an encoder sees at the length that ``finetune.seq_len`` sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selfpretrain.data.tokenizer import Tokenizer

MAX_TEXTS = 1000  # measured, evenly over the split


def describe_cut(texts: Sequence[tuple[str, ...]], seq_len: int, tokenizer: Tokenizer | None) -> str:
    """The share of examples longer than ``seq_len`` tokens, and of tokens cut off: one line.

    Without a tokenizer (its corpus is not built) words are counted: a word is one token at least, so this is the
    least that is cut.
    """
    step = -(-len(texts) // MAX_TEXTS)
    chosen = texts[::step]
    if tokenizer is None:
        lengths = np.array([sum(len(part.split()) for part in parts) for parts in chosen])
    else:
        columns = [tokenizer.encode_batch([parts[i] for parts in chosen]) for i in range(len(chosen[0]))]
        lengths = np.array([sum(map(len, parts)) for parts in zip(*columns, strict=True)])
    cut, lost = measure_cut(lengths, seq_len - count_special(len(chosen[0]), tokenizer))
    of = f"of {len(chosen):,} training texts" if step > 1 else "of the training texts"
    least, unit, note = (
        ("at least ", "words", " (a word is a token or more)") if tokenizer is None else ("", "tokens", "")
    )
    return f"{least}{cut:.0%} {of} are cut and {lost:.0%} of the {unit} never seen at finetune.seq_len={seq_len}{note}"


def count_special(num_columns: int, tokenizer: Tokenizer | None) -> int:
    """Tokens that are no text: [CLS] A [SEP], and [SEP] once more (byte-level BPE: twice more) for a pair."""
    if num_columns == 1:
        return 2
    return 4 if tokenizer is not None and tokenizer.kind == "bpe" else 3


def measure_cut(lengths: npt.NDArray[np.int64], room: int) -> tuple[float, float]:
    """The share of texts longer than ``room``, and of their tokens beyond it."""
    beyond = np.maximum(lengths - room, 0)
    return float((beyond > 0).mean()), float(beyond.sum() / max(1, lengths.sum()))
