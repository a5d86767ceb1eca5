"""Questions with their contexts in windows of ``seq_len`` tokens, and where in the context an answer's tokens stand.

As BERT's run_squad.py does it: the question, cut to 64 tokens, then as much of the context as there is room for; a context
that is longer goes on in another window, ``doc_stride`` tokens later. A window that holds not all of an answer has its
first token as the answer's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfpretrain.data.examples import EncodedSplit, Ints, join
from selfpretrain.data.tokenizer import Ids, Tokenizer

MAX_QUESTION_TOKENS = 64  # [BERT run_squad.py: max_query_length]
MAX_ANSWER_TOKENS = 30  # [BERT run_squad.py: max_answer_length]


@dataclass(frozen=True)
class WindowedSplit(EncodedSplit):
    """W windows of N examples: ids, tokens and second_starts are a window's, labels its answer's first and last token,
    int64 [W, 2].
    """

    examples: Ints  # [W] the number of the window's example, ascending
    firsts: Ints  # [W] the token of the context that it begins with
    offsets: list[Ids]  # [N] of the context's tokens, [tokens, 2]: from and to which character

    def get_context(self, window: int) -> tuple[int, int]:
        """From and to which of its tokens a window holds the context: all after the question, but the last one."""
        return int(self.second_starts[window]), len(self.tokens[window]) - 1


def encode_windows(
    tokenizer: Tokenizer, ids: Sequence[str], questions: Sequence[str], contexts: Sequence[str],
    answers: Sequence[tuple[int, int]], seq_len: int, doc_stride: int,
) -> WindowedSplit:  # fmt: skip
    """Windows of N examples in their order; ``answers`` are from and to which character of the context.

    From one window to the next it is ``doc_stride`` tokens, but at most half of what there is room for, so that every
    answer of up to half of a window stands whole in one.
    """
    distinct = list(dict.fromkeys(contexts))
    read = dict(zip(distinct, tokenizer.iter_offsets(distinct), strict=True))
    asked = tokenizer.encode_batch(questions)
    empty = np.empty(0, np.int32)
    room = seq_len - len(join(tokenizer, [empty, empty], seq_len)[0])
    tokens, second_starts, labels, examples, firsts = [], [], [], [], []
    for example, (question, context, answer) in enumerate(zip(asked, contexts, answers, strict=True)):
        question = question[: min(MAX_QUESTION_TOKENS, room // 2)]
        context_ids, offsets = read[context]
        first_token, last_token = find_tokens(offsets, answer)
        for start, end in iter_windows(len(context_ids), room - len(question), doc_stride):
            joined, second_start = join(tokenizer, [question, context_ids[start:end]], seq_len)
            holds = start <= first_token <= last_token < end
            label = (second_start + first_token - start, second_start + last_token - start) if holds else (0, 0)
            tokens.append(joined)
            second_starts.append(second_start)
            labels.append(label)
            examples.append(example)
            firsts.append(start)
    return WindowedSplit(
        [ids[example] for example in examples], tokens, np.array(second_starts), np.array(labels, np.int64).reshape(-1, 2),
        np.array(examples), np.array(firsts), [read[context][1] for context in contexts],
    )  # fmt: skip


def iter_windows(num_tokens: int, room: int, doc_stride: int) -> Iterator[tuple[int, int]]:
    """From and to which token of a context each window holds it; one, be it empty, at least."""
    step = max(1, min(doc_stride, room // 2))
    for start in range(0, max(1, num_tokens - room + step), step):
        yield start, min(start + room, num_tokens)


def find_tokens(offsets: Ids, answer: tuple[int, int]) -> tuple[int, int]:
    """The first and the last token that hold a character of the answer; the last before the first where none does."""
    start, end = answer
    return int(np.searchsorted(offsets[:, 1], start, side="right")), int(np.searchsorted(offsets[:, 0], end)) - 1


def choose_spans(split: WindowedSplit, outputs: Sequence[npt.NDArray[np.float32]]) -> list[tuple[int, int]]:
    """From and to which character of its context each example is answered, from each window's outputs, [tokens, 2].

    Of all windows' spans of up to 30 of the context's tokens the one with the largest sum of its first token's first
    output and its last token's second [transformers' run_qa]; of equal ones the first. (0, 0) where a context has no tokens.
    """
    best = np.full(len(split.offsets), -np.inf)
    spans = [(0, 0)] * len(split.offsets)
    for window, logits in enumerate(outputs):
        begin, end = split.get_context(window)
        if begin == end:
            continue
        firsts, lasts = logits[begin:end].T
        padded = np.pad(lasts, (0, MAX_ANSWER_TOKENS - 1), constant_values=-np.inf)
        sums = firsts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, MAX_ANSWER_TOKENS)
        first, length = divmod(int(sums.argmax()), MAX_ANSWER_TOKENS)
        example = split.examples[window]
        if sums[first, length] > best[example]:
            best[example] = sums[first, length]
            first_token = split.firsts[window] + first
            offsets = split.offsets[example]
            spans[example] = int(offsets[first_token, 0]), int(offsets[first_token + length, 1])
    return spans
