"""Labelled examples, as every source gives them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import TaskConfig
from selfpretrain.sources.arrays import choose
from selfpretrain.sources.strings import take

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """N examples, aligned by row."""

    ids: Sequence[str]
    texts: Sequence[tuple[str, ...]]  # one or two strings per example, then its options if it has some
    labels: np.ndarray  # of the form of the task's kind: [N] or [N, K]
    groups: np.ndarray | None = None  # uint64 [N], equal where task.group says the same; None: each by itself

    def take(self, rows: np.ndarray) -> Split:
        """The examples in these rows, in their order."""
        groups = None if self.groups is None else choose(self.groups, rows)
        return Split(take(self.ids, rows), take(self.texts, rows), choose(self.labels, rows), groups)


@dataclass(frozen=True)
class TaskData:
    """A task ready for fine-tuning."""

    task: TaskConfig  # label_kind, label_names, score_range and metric filled in
    splits: dict[str, Split]  # train, validation, test
    fingerprint: str  # SHA-256 (hex) of the examples, the card's version and the split rule
    notes: list[str]  # what was read, dropped and cut, the labels, the overlap: one line each
    overlap: tuple[str, ...] = ()  # ids of the test examples whose text, normalised, is in the training split


@contextmanager
def pause_collector() -> Iterator[None]:
    """Without Python's collector of circles: rows make none, and it would go through all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
