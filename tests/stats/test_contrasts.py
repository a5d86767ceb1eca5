"""Contrasts of procedures paired by seed: by hand, against the paired comparison of two, and right as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from selfpretrain.config import UserError
from selfpretrain.stats import Levels, compute_contrast, multibootstrap
from selfpretrain.stats.resampling import iter_example_counts

INTERACTION = (1, -1, -1, 1)
NUM_EXAMPLES = 300


def draw_study(rng, means, num_seeds, by_seed=0.03, own=0.01):
    """Right answers (labels are all 1) of procedures whose seeds share most of their luck, and whose examples their difficulty."""
    luck = rng.normal(0, by_seed, num_seeds)
    difficulty = rng.normal(0, 0.08, NUM_EXAMPLES)
    shares = [
        mean + luck[:, None] + rng.normal(0, own, num_seeds)[:, None] + difficulty + rng.normal(0, 0.04, NUM_EXAMPLES)
        for mean in means
    ]
    return [(rng.random(share.shape) < share).astype(int) for share in shares]


def run(predictions, weights, seeds=None, **given):
    seeds = seeds or [range(len(side)) for side in predictions]
    labels = np.ones(predictions[0].shape[1], int)
    return compute_contrast(predictions, seeds, weights, labels, "accuracy", **{"num_replicates": 300, **given})


def test_a_pair_is_the_paired_comparison():
    base, expt = draw_study(np.random.default_rng(0), (0.6, 0.65), 5)
    order = [3, 1, 4, 0, 2]
    found = run([expt[order], base], (1, -1), [order, range(5)])
    expected = multibootstrap(
        (base, expt), np.ones(NUM_EXAMPLES, int), "accuracy", base_seeds=range(5), expt_seeds=range(5), paired=True,
        num_replicates=300,
    )  # fmt: skip
    assert found.contrast.point == pytest.approx(expected.delta.point)
    assert (found.contrast.low, found.contrast.high) == pytest.approx((expected.delta.low, expected.delta.high))
    assert found.p == pytest.approx(expected.p) and found.variance.sizes == expected.variance.sizes
    assert found.variance.parts == pytest.approx(expected.variance.parts)
    assert found.scores == pytest.approx((expected.expt.point, expected.base.point))


@pytest.mark.parametrize("groups", [None, np.arange(NUM_EXAMPLES) // 10])
def test_crossed_seeds_and_groups_of_examples_are_those_of_the_paired_comparison(groups):
    base, expt = draw_study(np.random.default_rng(3), (0.6, 0.65), 6)
    seeds = [Levels((init, data)) for init in range(2) for data in range(3)]
    found = run([expt, base], (1, -1), [seeds, seeds], groups=groups)
    expected = multibootstrap(
        (base, expt), np.ones(NUM_EXAMPLES, int), "accuracy", base_seeds=seeds, expt_seeds=seeds, paired=True,
        num_replicates=300, groups=groups,
    )  # fmt: skip
    assert found.seed_contrasts.shape == (2, 3)
    assert found.p == pytest.approx(expected.p) and found.variance.sizes == pytest.approx(expected.variance.sizes)
    assert found.variance.parts == pytest.approx(expected.variance.parts)
    alone = run([expt, base], (1, -1), [range(6), range(6)])
    assert found.variance.parts != pytest.approx(alone.variance.parts)


def test_an_interaction_by_hand():
    predictions = draw_study(np.random.default_rng(1), (0.7, 0.6, 0.65, 0.6), 4)
    doubled = [np.repeat(predictions[0], 2, axis=0), *predictions[1:]]  # each seed fine-tuned twice
    found = run(doubled, INTERACTION, [[0, 0, 1, 1, 2, 2, 3, 3], *[range(4)] * 3])
    first, second, third, fourth = (side.mean(axis=1) for side in predictions)
    by_seed = (first - second) - (third - fourth)
    np.testing.assert_allclose(found.seed_contrasts, by_seed)
    means = [side.mean(axis=0) for side in predictions]
    by_example = (means[0] - means[1]) - (means[2] - means[3])
    counts = np.concatenate(list(iter_example_counts(NUM_EXAMPLES, 300, 0)))
    parts = by_seed.var(ddof=1) / 4, (counts @ by_example / NUM_EXAMPLES).var(ddof=1)
    assert found.variance.parts == pytest.approx((0, *parts))
    quantiles = stats.t.ppf(0.975, 3), stats.t.ppf(0.975, NUM_EXAMPLES - 1)
    half = math.sqrt(sum(q**2 * part for q, part in zip(quantiles, parts, strict=True)))
    assert (found.contrast.point, found.contrast.high - found.contrast.point) == pytest.approx((by_seed.mean(), half))
    assert found.scores == pytest.approx([side.mean() for side in predictions])


def test_its_interval_covers_the_truth_and_pairing_lowers_the_seeds_part():
    rng, truth = np.random.default_rng(2), 0.03
    covered, paired, unpaired = [], [], []
    for _ in range(150):
        predictions = draw_study(rng, (0.68, 0.6, 0.65, 0.6), 5)
        found = run(predictions, INTERACTION, num_replicates=200)
        covered.append(found.contrast.low <= truth <= found.contrast.high)
        paired.append(found.variance.expt)
        unpaired.append(sum(side.mean(axis=1).var(ddof=1) / 5 for side in predictions))
    assert np.mean(covered) >= 0.94  # somewhat wide, as every interval over crossed seeds and examples
    assert np.mean(paired) < 0.7 * np.mean(unpaired)


def test_no_contrast_is_found_as_rarely_as_it_says():
    rng = np.random.default_rng(3)
    found = [run(draw_study(rng, (0.7, 0.6, 0.65, 0.55), 5), INTERACTION, num_replicates=200).p for _ in range(150)]
    assert np.mean(np.array(found) < 0.05) < 0.07


def test_one_seed_says_nothing_of_procedures():
    found = run(draw_study(np.random.default_rng(4), (0.7, 0.6), 1), (1, -1))
    assert found.p is None and found.variance.expt == 0 and found.contrast.low < found.contrast.point


def test_what_does_not_fit_together_is_refused():
    sides = draw_study(np.random.default_rng(5), (0.7, 0.6), 3)
    with pytest.raises(UserError, match="seed 2 is in procedure 0 but not in procedure 1"):
        run(sides, (1, -1), [[0, 1, 2], [0, 1, 3]])
    with pytest.raises(UserError, match="2 predictions, 2 seeds and 3 weights given"):
        run(sides, (1, -1, 1))
    with pytest.raises(UserError, match="give at least 2 examples"):
        run([side[:, :1] for side in sides], (1, -1))
