"""The kinds of task, one value each: what its labels are, and how they meet a model's outputs. No torch.

``KINDS`` is the one table: training, scoring, cost and reports ask it and know no kind by name; data are read by the form
of the labels. What a kind has of torch, its head and its loss, stands under the same name in
``selfpretrain.tasks.heads.HEADS``. A kind more is a row in each, which a module of one's own may add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import FinetuneConfig, TaskConfig, UserError

Array = npt.NDArray[Any]
Texts = tuple[str, ...]


@dataclass(frozen=True)
class LabelForm:
    """What label columns are read as."""

    dtype: type[np.generic]
    num_axes: int  # of what predictions are stored with, 1: [N]; 2: [N, len(label_names)], or an example's counts


CLASSES = LabelForm(np.int64, 1)  # the number of a name
VALUES = LabelForm(np.float32, 1)  # in the range task.score_range
SETS = LabelForm(np.float32, 2)  # 1 for each name that applies, else 0
ANSWERS = LabelForm(np.object_, 2)  # parts of the example's last text, as sources.answers writes them
TAGS = LabelForm(np.object_, 2)  # the tags of the text's words, text too: both have single spaces between


@dataclass(frozen=True)
class TaskKind:
    """One kind of task. An encoder reads S sequences of every example, most often one, and the head gives K outputs for
    each: the outputs are [N, S * K]. Labels are of the kind's form, and stay so on disk.
    """

    form: LabelForm
    # allowed, names in stats.METRICS; the first is the default. One of the user's own is, too, but of_tokens
    metrics: tuple[str, ...]
    decode: Callable[[Array], Array]  # stored outputs -> what the metrics compare with the labels
    count_outputs: Callable[[TaskConfig], int] = lambda task: len(task.label_names)  # K
    encode: Callable[[TaskConfig, Array], Array] = lambda task, labels: labels  # labels -> what the loss is given
    # outputs -> as they are stored, in the labels' range
    restore: Callable[[TaskConfig, Array], Array] = lambda task, outputs: outputs
    count_sequences: Callable[[TaskConfig], int] = lambda task: 1  # S
    # the texts of an example -> its S sequences, of one or two texts each
    arrange: Callable[[TaskConfig, Texts], Sequence[Texts]] = lambda task, texts: (texts,)
    # The head gives K outputs for each token. What tokens say together is read by tasks.heads, and an example is stored as
    # the sums that its metric adds up, [N, sums], beside those of a perfect answer.
    of_tokens: bool = False
    count_windows: Callable[[FinetuneConfig, float], int] = lambda config, tokens: 1  # of a text of so many, about
    packs: bool = True  # several sequences may stand in one row: the loss does not compare the tokens of one
    has_options: bool = False  # its classes are the options that task.options names; they stand behind the other texts


def get_kind(name: str | None) -> TaskKind:
    """The kind of that name; UserError for another."""
    if name not in KINDS:
        raise UserError(f"task.label_kind={name} is not known; allowed: {', '.join(KINDS)}")
    return KINDS[name]


def arrange(task: TaskConfig, texts: Iterable[Texts]) -> list[Texts]:
    """The sequences that an encoder reads of these examples, those of one example side by side."""
    kind = get_kind(task.label_kind)
    return [sequence for example in texts for sequence in kind.arrange(task, example)]


def _scale(task: TaskConfig, labels: Array) -> Array:
    """Scores to the range the head is trained on, 0 to 1 [ELECTRA: STS label / 5]."""
    low, high = task.score_range
    return np.asarray((labels.astype(np.float32) - low) / (high - low), dtype=np.float32)


def _unscale(task: TaskConfig, outputs: Array) -> Array:
    low, high = task.score_range
    return np.asarray(outputs * np.float32(high - low) + np.float32(low))


def _choose_highest(outputs: Array) -> Array:
    return np.asarray(outputs.argmax(axis=1))


def _count_overlapping(config: FinetuneConfig, tokens: float) -> int:
    step = min(config.doc_stride, config.seq_len // 2)
    return 1 + max(0, math.ceil((tokens - config.seq_len) / step))


def _count_adjoining(config: FinetuneConfig, tokens: float) -> int:
    return max(1, math.ceil(tokens / config.seq_len))


def _complete(task: TaskConfig, texts: Texts) -> list[Texts]:
    """Every option as the second text of a pair, after the second text of the context if that has two
    [transformers' run_swag; HellaSwag's run_bert, which leaves a blank one out].
    """
    num_options = len(task.label_names)
    (first, *second), options = texts[:-num_options], texts[-num_options:]
    return [(first, " ".join([*filter(str.strip, second), option])) for option in options]


KINDS: dict[str, TaskKind] = {
    "class": TaskKind(CLASSES, ("accuracy", "macro_f1", "f1", "mcc"), _choose_highest),
    "score": TaskKind(VALUES, ("pearson", "spearman"), lambda outputs: outputs[:, 0], lambda task: 1, _scale, _unscale),
    "multilabel": TaskKind(SETS, ("micro_auc",), lambda outputs: outputs),  # ranks, and so the AUC, need no sigmoid
    "choice": TaskKind(
        CLASSES, ("accuracy",), _choose_highest, count_outputs=lambda task: 1,
        count_sequences=lambda task: len(task.label_names), arrange=_complete, has_options=True,
    ),
    # a token's outputs: of its being the answer's first, and its last
    "span": TaskKind(
        ANSWERS, ("exact_match", "answer_f1"), lambda sums: sums, lambda task: 2, of_tokens=True,
        count_windows=_count_overlapping, packs=False,
    ),
    "token": TaskKind(TAGS, ("entity_f1", "token_accuracy"), lambda sums: sums, of_tokens=True, count_windows=_count_adjoining),
}  # fmt: skip
