"""A labelled task as three aligned splits, and the text of its training split.

Every task ends up with labelled ``train``, ``validation`` and ``test`` splits, whatever its source has: the
rules of ``corpora.splits`` cut what is missing, by the content of the text, so that a split never depends on
the order of a file and the same text is never on two sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfpretrain.config import TaskConfig


@dataclass(frozen=True)
class Split:
    """N examples, aligned by row."""

    ids: list[str]
    texts: list[tuple[str, ...]]  # one or two strings per example
    labels: np.ndarray  # class: int64 [N]; score: float32 [N]; multilabel: float32 [N, K]


@dataclass(frozen=True)
class TaskData:
    """A task ready for fine-tuning."""

    task: TaskConfig  # label_kind, label_names and metric filled in
    splits: dict[str, Split]  # train, validation, test
    fingerprint: str  # SHA-256 (hex) of the examples, the card's version and the split rule
    notes: list[str]  # what was dropped or cut, one line each
