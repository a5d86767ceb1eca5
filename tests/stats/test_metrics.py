"""The table of metrics: what it says of each, and means over examples."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.kinds import KINDS, SETS
from selfpretrain.stats import METRICS
from selfpretrain.stats.metrics import CLASS_NUMBERS, COLUMNS, NUMBERS, SUMS
from selfpretrain.stats.statistics import build_mean


def test_scores_that_need_no_text():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    assert METRICS["accuracy"].compute_blind(labels)[0] == 0.6
    assert METRICS["macro_f1"].compute_blind(labels)[0] == pytest.approx(1 / 3)
    assert METRICS["macro_f1"].compute_blind(np.array([0] * 99 + [1]))[0] == 0.5
    assert METRICS["f1"].compute_blind(np.array([0, 0, 0, 1]))[0] == pytest.approx(0.4)
    assert METRICS["mcc"].compute_blind(labels)[0] == 0
    assert METRICS["pearson"].compute_blind(labels.astype(float))[0] == 0
    assert METRICS["entity_f1"].compute_blind(np.array([[1, 1, 1, 4, 3, 4]])) == (0.0, "tagging nothing")
    assert METRICS["token_accuracy"].compute_blind(np.array([[1, 1, 1, 4, 3, 4], [0, 0, 0, 2, 2, 2]]))[0] == 5 / 6
    # every positive of the first class beats the second class's negatives: (1 * 4 + 1 * 2 * ties) by hand
    several = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    frequencies = np.tile([0.75, 0.25], (4, 1))
    pairs = [(p > n) + 0.5 * (p == n) for p in frequencies[several == 1] for n in frequencies[several == 0]]
    assert METRICS["micro_auc"].compute_blind(several)[0] == pytest.approx(np.mean(pairs))


def test_labels_without_contrast_need_no_ranking():
    assert METRICS["micro_auc"].compute_blind(np.ones((4, 2))) == (0.5, "guessing")


def test_a_mean_over_examples_is_resampled_by_what_each_adds():
    rng = np.random.default_rng(0)
    shares = rng.random((3, 40))
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=5).astype(np.int32)
    drawn = np.ones((5, 3), bool)
    np.testing.assert_allclose(build_mean(shares)(counts, drawn), counts @ shares.T / 40, rtol=1e-14)
    correct = shares < 0.5
    np.testing.assert_array_equal(build_mean(correct)(counts, drawn), counts @ correct.T.astype(int) / 40)


def test_kinds_allow_metrics_that_take_what_they_decode():
    for kind in KINDS.values():
        outputs = np.arange(8, dtype=np.float32).reshape(4, 2)
        decoded = kind.decode(outputs)
        expected = COLUMNS if kind.form is SETS else CLASS_NUMBERS if decoded.dtype.kind == "i" else NUMBERS
        expected = SUMS if kind.of_tokens else expected
        assert {METRICS[name].takes for name in kind.metrics} == {expected}
        assert decoded.ndim == kind.form.num_axes
