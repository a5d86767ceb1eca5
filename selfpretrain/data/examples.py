"""Labelled examples as token ids, how much of them is cut, and the batches of fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.kinds import Texts
from selfpretrain.seeds import make_generator

IGNORED = -100  # the label of a token that has none [torch's cross_entropy]
MAX_TEXTS = 1000  # measured by describe_cut, evenly over the split
BLOCK_TEXTS = 10_000  # tokenised at once

Arrays = dict[str, npt.NDArray[np.generic]]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodedSplit:
    """N examples as token ids with special tokens; lengths differ. Of S sequences each, most often one, side by side."""

    ids: list[str]  # [N] example ids
    tokens: list[npt.NDArray[np.int32]]  # [N * S]
    second_starts: Ints  # [N * S] where segment B begins; the length where there is none
    # int64 [N], or float32 [N] or [N, K]; of tokens an object array [N] of int64 [tokens]
    labels: npt.NDArray[np.generic]

    @property
    def labels_tokens(self) -> bool:
        """Whether every token has a label, or IGNORED."""
        return self.labels.dtype == object

    @property
    def num_sequences(self) -> int:
        """S."""
        return max(1, len(self.tokens) // max(1, len(self.ids)))

    @cached_property
    def lengths(self) -> Ints:
        """[N * S], in tokens."""
        return np.array([len(tokens) for tokens in self.tokens])

    @cached_property
    def num_labelled(self) -> Ints:
        """[N], the tokens of each example that have a label, where tokens have."""
        return np.array([np.count_nonzero(labels != IGNORED) for labels in self.labels])

    @cached_property
    def longest(self) -> Ints:
        """[N], the length of each example's longest sequence, in tokens."""
        return np.asarray(self.lengths.reshape(-1, self.num_sequences).max(axis=1))

    def find_sequences(self, rows: Sequence[int] | Ints) -> Ints:
        """Where the sequences of B examples stand, [B * S]."""
        return np.asarray((np.asarray(rows)[:, None] * self.num_sequences + np.arange(self.num_sequences)).ravel())

    def __len__(self) -> int:
        return len(self.ids)


def cut_pair(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths after cutting the longer text first, of equal ones the second, by one token [BERT truncate_seq_pair]."""
    first = min(first, max(room - second, (room + 1) // 2))
    return first, min(second, room - first)


def join(
    tokenizer: Tokenizer, texts: Sequence[npt.NDArray[np.int32]], seq_len: int
) -> tuple[npt.NDArray[np.int32], int]:
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP]; byte-level BPE puts two separators between A and B [RoBERTa].

    Returns the ids and the position at which segment B begins (the length for a single text).
    """
    cls, sep = [tokenizer.cls_id], [tokenizer.sep_id]
    if len(texts) == 1:
        ids = np.concatenate([cls, texts[0][: seq_len - 2], sep]).astype(np.int32)
        return ids, len(ids)
    between = sep * (2 if tokenizer.kind == "bpe" else 1)
    first, second = cut_pair(len(texts[0]), len(texts[1]), seq_len - 2 - len(between))
    ids = np.concatenate([cls, texts[0][:first], between, texts[1][:second], sep]).astype(np.int32)
    return ids, 1 + first + len(between)


def encode_split(
    tokenizer: Tokenizer,
    ids: list[str],
    texts: Sequence[tuple[str, ...]],
    labels: npt.NDArray[np.generic],
    seq_len: int,
) -> EncodedSplit:
    """Tokenise one split; texts are one or two strings per sequence, cut to ``seq_len`` tokens in all."""
    assert len(texts) % max(1, len(ids)) == 0, (len(texts), len(ids))
    joined = []
    for first in range(0, len(texts), BLOCK_TEXTS):
        block = zip(*texts[first : first + BLOCK_TEXTS], strict=True)
        columns = [tokenizer.encode_batch(column) for column in block]
        joined += [join(tokenizer, parts, seq_len) for parts in zip(*columns, strict=True)]
    return EncodedSplit(ids, [tokens for tokens, _ in joined], np.array([start for _, start in joined]), labels)


def describe_cut(
    texts: Sequence[Texts],
    seq_len: int,
    tokenizer: Tokenizer | None,
    arrange: Callable[[Sequence[Texts]], Sequence[Texts]] = lambda texts: texts,
    in_windows: bool = False,
) -> str:
    """The share of examples longer than ``seq_len`` tokens, and of tokens cut off: one line; ``in_windows`` nothing is.

    ``arrange`` makes sequences of the examples, of which some are looked at, evenly over all. Without a tokenizer (its
    corpus is not built) words are counted: a word is one token at least, so this is the least that is cut.
    """
    step = -(-len(texts) // MAX_TEXTS)
    examples = texts[::step]
    chosen = arrange(examples)
    columns: list[Sequence[Sized]]
    if tokenizer is None:
        least, unit, note = "at least ", "words", " (a word is a token or more)"
        columns = [[text.split() for text in column] for column in zip(*chosen, strict=True)]
        num_special = len(columns) + 1
    else:
        least, unit, note = "", "tokens", ""
        columns = [tokenizer.encode_batch(column) for column in zip(*chosen, strict=True)]
        num_special = len(join(tokenizer, [np.empty(0, np.int32)] * len(columns), seq_len)[0])
    cut, lost = measure_cut(
        np.array([sum(map(len, parts)) for parts in zip(*columns, strict=True)]), seq_len - num_special
    )
    of = f"of {len(examples):,} training texts" if step > 1 else "of the training texts"
    if in_windows:
        return f"{least}{cut:.0%} {of} are longer than finetune.seq_len={seq_len}{note} and read in several windows"
    return f"{least}{cut:.0%} {of} are cut and {lost:.0%} of the {unit} never seen at finetune.seq_len={seq_len}{note}"


def measure_cut(lengths: Ints, room: int) -> tuple[float, float]:
    """The share of texts longer than ``room``, and of their tokens beyond it."""
    beyond = np.maximum(lengths - room, 0)
    return float((beyond > 0).mean()), float(beyond.sum() / max(1, lengths.sum()))


def pack(split: EncodedSplit, rows: Sequence[int] | Ints, has_segments: bool) -> Arrays:
    """A batch of B examples, their sequences one after the other, without padding: input_ids, position_ids and segment
    ids if used [1, tokens]; the sequences' lengths [B * S] and the examples' labels, or the tokens' [1, tokens].
    """
    rows, sequences = np.asarray(rows), split.find_sequences(rows)
    lengths = split.lengths[sequences]
    positions = np.concatenate([np.arange(length) for length in lengths])[None]
    batch: Arrays = {
        "input_ids": np.concatenate([split.tokens[sequence] for sequence in sequences], dtype=np.int64)[None],
        "position_ids": positions,
        "lengths": lengths,
        "labels": np.concatenate(split.labels[rows])[None] if split.labels_tokens else split.labels[rows],
        "num_tokens": np.asarray(lengths.sum()),
    }
    if has_segments:
        batch["token_type_ids"] = (positions >= np.repeat(split.second_starts[sequences], lengths)).astype(np.int64)
    return batch


def pad(split: EncodedSplit, rows: Sequence[int] | Ints, pad_id: int, has_segments: bool) -> Arrays:
    """A batch padded to its longest sequence: input_ids and segment ids if used [B * S, L], the examples' labels, or the
    tokens' [B, L].

    Where something is padding, attention_mask (bool, True at real tokens).
    """
    packed = pack(split, rows, has_segments)
    lengths = packed["lengths"]
    mask = np.arange(lengths.max()) < lengths[:, None]
    batch = {"labels": packed["labels"], "num_tokens": packed["num_tokens"]}
    of_tokens = {"input_ids": pad_id, "token_type_ids": 0} | ({"labels": IGNORED} if split.labels_tokens else {})
    for name, padding in of_tokens.items():
        if name in packed:
            batch[name] = np.full(mask.shape, padding, np.int64)
            batch[name][mask] = packed[name][0]
    if not mask.all():
        batch["attention_mask"] = mask
    return batch


class FinetuneBatches:
    """``batches[step]``: the micro-batches of an optimizer step.

    An epoch is a permutation by (seed, epoch). Within a batch, examples are sorted by length before they are cut into
    micro-batches: the optimizer sees the same examples, the padding shrinks. ``packed`` ones have none at all. Where tokens
    are labelled, ``loss_scale`` is what makes the weighted sum of the micro-batches' losses the mean over their tokens.
    """

    def __init__(
        self, split: EncodedSplit, batch_size: int, micro_batch_size: int, seed: int, pad_id: int, has_segments: bool,
        packed: bool = False,
    ):  # fmt: skip
        self.split, self.seed, self.pad_id, self.has_segments = split, seed, pad_id, has_segments
        self.packed = packed
        self.batch_size = min(batch_size, len(split))
        self.micro_batch_size = micro_batch_size
        self.steps_per_epoch = -(-len(split) // self.batch_size)

    def __getitem__(self, step: int) -> list[tuple[float, Arrays]]:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = make_generator(self.seed, "order", epoch).permutation(len(self.split))
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        rows = rows[np.argsort(self.split.longest[rows], kind="stable")]
        parts = [rows[i : i + self.micro_batch_size] for i in range(0, len(rows), self.micro_batch_size)]
        return [(len(part) / len(rows), self._arrange(part, rows)) for part in parts]

    def _arrange(self, part: Ints, rows: Ints) -> Arrays:
        split = self.split
        batch = (
            pack(split, part, self.has_segments) if self.packed else pad(split, part, self.pad_id, self.has_segments)
        )
        if split.labels_tokens:
            # the loss is a mean over labelled tokens, the weight one over examples, which seeds that are stacked share
            mean_part, mean = split.num_labelled[part].mean(), split.num_labelled[rows].mean()
            batch["loss_scale"] = np.asarray(mean_part / mean, np.float32)
        return batch


def iter_by_length(
    split: EncodedSplit, batch_size: int, pad_id: int, has_segments: bool
) -> Iterator[tuple[Ints, Arrays]]:
    """All examples in batches of similar length, each with its row numbers."""
    order = np.argsort(split.longest, kind="stable")
    for i in range(0, len(order), batch_size):
        rows = order[i : i + batch_size]
        yield rows, pad(split, rows, pad_id, has_segments)
