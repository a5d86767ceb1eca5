"""Made-up runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def draw_sums() -> Callable[..., tuple[Any, Any]]:
    """``draw_sums(rng, runs, examples)``: perfect and predicted sums of tagged sentences."""

    def draw(rng: np.random.Generator, runs: int, examples: int) -> tuple[Any, Any]:
        entities, words = rng.integers(0, 4, examples), rng.integers(1, 9, examples)
        labels = np.stack([entities, entities, entities, words, words // 2, words], axis=1)
        predictions = np.repeat(labels[None].astype(np.float32), runs, axis=0)
        predictions[..., [0, 3]] = rng.integers(0, labels[:, [0, 3]] + 1, (runs, examples, 2))
        predictions[..., 1] = predictions[..., 0] + rng.integers(0, 3, (runs, examples))
        return labels, predictions

    return draw
