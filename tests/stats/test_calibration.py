"""Calibration by hand: temperatures, ECE, the debiased error, Brier's score and the bins of a plot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats.calibration import (
    TEMPERATURES,
    build_debiased_square,
    build_ece,
    compute_brier,
    compute_debiased_error,
    compute_ece,
    compute_probabilities,
    compute_reliability,
    compute_temperature_values,
    fit_temperature,
    is_at_end,
)


def make_binary(confidences, right):
    """Probabilities of two classes that choose class 1 with this confidence, and labels under which they are right."""
    confidences = np.asarray(confidences, dtype=float)
    return np.stack([1 - confidences, confidences], axis=1), np.asarray(right, dtype=int)


def sample(temperature, num_examples=40_000, seed=0):
    """Outputs whose true probabilities are those under this temperature, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 3, (num_examples, 4))
    below = compute_probabilities(outputs, temperature).cumsum(axis=1) < rng.random((num_examples, 1))
    return outputs, below.sum(axis=1)


# temperature


def test_probabilities_by_hand():
    outputs = np.array([[0.0, math.log(3)], [1000.0, 1000.0]], dtype=np.float32)
    assert compute_probabilities(outputs) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]), abs=1e-7)
    warm = math.sqrt(3) / (1 + math.sqrt(3))
    assert compute_probabilities(outputs, 2.0)[0] == pytest.approx([1 - warm, warm], abs=1e-7)


def test_temperature_where_one_confidence_must_equal_the_share_right():
    outputs, labels = np.tile([0.0, 4.0], (10, 1)), np.array([1] * 8 + [0] * 2)
    assert fit_temperature(outputs, labels) == pytest.approx(4 / math.log(4), rel=1e-9)  # softmax: .8 = 4 / (1 + 4)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_recovers_a_known_scaling(true):
    outputs, labels = sample(true)
    found = fit_temperature(outputs, labels)
    error = compute_temperature_values(outputs, labels, found).std() / math.sqrt(len(labels))
    assert abs(found - true) < 4 * error < 0.1 * true


def test_temperature_of_scaled_outputs_is_scaled():
    outputs, labels = sample(1.0, 500)
    assert fit_temperature(3 * outputs, labels) == pytest.approx(3 * fit_temperature(outputs, labels), rel=1e-9)


def test_a_temperature_that_the_labels_cannot_tell():
    outputs = np.array([[0.0, 2.0], [0.0, 3.0]])
    always, never = fit_temperature(outputs, np.array([1, 1])), fit_temperature(outputs, np.array([0, 0]))
    assert (always, never) == TEMPERATURES and is_at_end(always) and is_at_end(never)
    assert compute_temperature_values(outputs, np.array([1, 1]), always).tolist() == [always] * 2
    flat = np.ones((2, 2))
    assert fit_temperature(flat, np.array([0, 1])) == 1.0
    assert compute_temperature_values(flat, np.array([0, 1]), 1.0).tolist() == [1.0] * 2


def test_what_examples_add_to_a_temperature_is_its_chance():
    found, errors = [], []
    for seed in range(200):
        outputs, labels = sample(1.5, 400, seed)
        found.append(fit_temperature(outputs, labels))
        values = compute_temperature_values(outputs, labels, found[-1])
        assert values.mean() == pytest.approx(found[-1], abs=1e-8)
        errors.append(values.std() / 20)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.2)  # 200 values: 5 %


# scores


def test_brier_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert compute_brier(probabilities, np.array([0, 2, 1])) == pytest.approx([0.09 + 0.04 + 0.01, 0, 2])


def test_ece_by_hand():
    # bins (.6, .7], (.8, .9] and (.9, 1] of ten: gaps |.65 - 1/2|, |.9 - 1|, |.95 - 2/3|
    probabilities, labels = make_binary([0.61, 0.69, 0.9, 0.94, 0.95, 0.96], [1, 0, 1, 1, 0, 1])
    by_hand = (2 * 0.15 + 1 * 0.1 + 3 * (0.95 - 2 / 3)) / 6
    assert compute_ece(probabilities, labels, num_bins=10) == pytest.approx(by_hand, rel=1e-12)


def test_the_debiased_square_by_hand():
    # two bins of equal size: .55 to .65 with two of three right, .8 to .9 with one of three right
    probabilities, labels = make_binary([0.55, 0.6, 0.65, 0.8, 0.85, 0.9], [1, 1, 0, 0, 1, 0])
    by_chance = (2 / 9) / 2
    by_hand = ((0.6 - 2 / 3) ** 2 - by_chance + (0.85 - 1 / 3) ** 2 - by_chance) / 2
    ones = np.ones((1, 6), dtype=int), np.ones((1, 1), dtype=bool)
    assert build_debiased_square(probabilities[None], labels, 2)(*ones)[0, 0] == pytest.approx(by_hand, rel=1e-12)
    assert compute_debiased_error(probabilities, labels, 2) == pytest.approx(math.sqrt(by_hand), rel=1e-12)
    calibrated = make_binary([0.5] * 6, [1, 1, 1, 0, 0, 0])  # one bin: gap 0, and chance alone is below 0
    assert build_debiased_square(calibrated[0][None], calibrated[1], 2)(*ones)[0, 0] == pytest.approx(-0.25 / 5)
    assert compute_debiased_error(*calibrated, 2) == 0.0


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_the_debiased_square_has_no_bias_and_ece_has(gap):
    rng = np.random.default_rng(0)
    confidences = np.repeat([0.6, 0.7, 0.8, 0.9], 10)
    right = rng.random((4000, 40)) < confidences - gap
    ones = np.ones((1, 40), dtype=int), np.ones((1, 1), dtype=bool)
    probabilities = make_binary(confidences, right[0])[0]
    squares = [build_debiased_square(probabilities[None], row.astype(int), 4)(*ones)[0, 0] for row in right]
    error = np.std(squares) / math.sqrt(len(squares))
    assert abs(np.mean(squares) - gap**2) < 4 * error
    eces = [compute_ece(probabilities, row.astype(int), 10) for row in right[:500]]
    assert np.mean(eces) > gap + 0.01


@pytest.mark.parametrize("build", [build_ece, build_debiased_square])
def test_resamples_are_the_examples_written_out(build):
    outputs, labels = sample(2.0, 120)
    probabilities = compute_probabilities(np.stack([outputs, 3 * outputs]))
    counts = np.random.default_rng(1).multinomial(120, np.full(120, 1 / 120), size=3)
    scores = build(probabilities, labels, 4)(counts, np.ones((3, 2), dtype=bool))
    ends = np.quantile(probabilities.max(axis=-1), [0.25, 0.5, 0.75], axis=1, method="midpoint")
    for replicate, row in enumerate(counts):
        drawn = np.repeat(np.arange(120), row)
        for run in range(2):
            confidence = probabilities[run, drawn].max(axis=-1)
            right = probabilities[run, drawn].argmax(axis=-1) == labels[drawn]
            edges = [0.25, 0.5, 0.75] if build is build_ece else ends[:, run]
            wanted = 0.0
            for which in range(4):
                bin = np.searchsorted(edges, confidence) == which
                if not bin.any():
                    continue
                gap, size = confidence[bin].mean() - right[bin].mean(), bin.sum()
                of_bin = abs(gap) if build is build_ece else gap**2 - np.var(right[bin], ddof=1) / size
                wanted += size / 120 * of_bin
            assert scores[replicate, run] == pytest.approx(wanted, rel=1e-9)


def test_confidences_that_differ_by_rounding_are_one_bin():
    probabilities = compute_probabilities(np.eye(4)[np.arange(60) % 4] * 3)
    assert np.ptp(probabilities.max(axis=-1)) > 0
    labels, confidence = np.where(np.arange(60) < 45, np.arange(60) % 4, 9), probabilities.max()
    by_hand = math.sqrt((confidence - 0.75) ** 2 - 0.75 * 0.25 / 59)
    assert compute_debiased_error(probabilities, labels) == pytest.approx(by_hand)


def test_too_few_examples_for_the_debiased_bins_are_one_line():
    with pytest.raises(UserError, match="29 examples for 15 bins: at least 30 are needed"):
        build_debiased_square(np.full((1, 29, 2), 0.5), np.zeros(29, dtype=int))


def test_bins_of_a_plot_by_hand():
    probabilities, labels = make_binary([0.61, 0.69, 0.9, 0.95], [1, 0, 1, 1])
    (together,) = compute_reliability(np.stack([probabilities, probabilities]), labels, 2)
    assert (together.low, together.high, together.share) == (0.5, 1.0, 1.0)
    assert (together.confidence, together.right) == pytest.approx((0.7875, 0.75))
    bins = compute_reliability(probabilities[None], labels, 10)
    assert [bin.share for bin in bins] == [0.5, 0.25, 0.25]
    assert [bin.high for bin in bins] == pytest.approx([0.7, 0.9, 1.0])
    assert sum(bin.share * abs(bin.confidence - bin.right) for bin in bins) == pytest.approx(
        compute_ece(probabilities, labels, 10)
    )
