"""How far the probabilities of a classifier can be trusted, and the temperature that mends them.

Probabilities are [..., examples, classes], labels class numbers [examples]. Calibration is that of the class a model
chooses: its confidence is the probability it gives to that class, and among examples of one confidence that share
should be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.statistics import AnyArray, BoolArray, FloatArray, IntArray, Scorer

NUM_BINS = 15  # as in the codes of Guo et al. 2017 and Kumar et al. 2019
TEMPERATURES = (0.05, 20.0)  # where it is looked for: a run that is always right, or knows nothing, has none
_DIGITS = 12  # of a confidence; what differs by rounding alone must not part at the end of a bin


# temperature


def compute_probabilities(outputs: AnyArray, temperature: float = 1.0) -> FloatArray:
    """Softmax of the outputs [..., classes] divided by the temperature."""
    scaled = np.asarray(outputs, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def fit_temperature(outputs: AnyArray, labels: AnyArray) -> float:
    """The temperature under which the labels are likeliest (Guo et al. 2017, arXiv 1706.04599), of ``TEMPERATURES``.

    The likelihood is concave in 1 / temperature, so where its slope is 0 is the only place. Where every output of an
    example equals the others, any temperature gives the same, and it is 1.

    Args:
        outputs: [examples, classes], of examples that the model was not trained on.
        labels: [examples].
    """
    from scipy.optimize import brentq  # late: it takes longer to import than all of this package

    def compute_slope(log_temperature: float) -> float:
        return float(_compute_slopes(outputs, labels, math.exp(log_temperature))[0].mean())

    low, high = map(math.log, TEMPERATURES)
    at_low, at_high = compute_slope(low), compute_slope(high)  # it falls as the temperature rises
    if at_low == at_high == 0:
        return 1.0
    if at_high >= 0:
        return TEMPERATURES[1]
    if at_low <= 0:
        return TEMPERATURES[0]
    return math.exp(brentq(compute_slope, low, high, xtol=1e-12))


def is_at_end(temperature: float) -> bool:
    """Whether the likelihood still rises where the search ends."""
    return temperature in TEMPERATURES


def compute_temperature_values(outputs: AnyArray, labels: AnyArray, temperature: float) -> FloatArray:
    """What each example adds to a fitted temperature, [examples]: their mean is it, their resampling its chance.

    To first order (the influence of an example on a maximum of likelihood). All equal where nothing pulls: at an end
    of ``TEMPERATURES``, or where every output of an example equals the others.
    """
    slopes, curvature = _compute_slopes(outputs, labels, temperature)
    if is_at_end(temperature) or curvature == 0:
        return np.full(len(labels), temperature)
    return np.asarray(temperature + temperature**2 * slopes / curvature)


def _compute_slopes(outputs: AnyArray, labels: AnyArray, temperature: float) -> tuple[FloatArray, float]:
    """Each example's minus log likelihood by 1 / temperature, first derivative [examples]; the mean of the second."""
    values = np.asarray(outputs, dtype=np.float64)
    values = values - values[np.arange(len(labels)), labels][:, None]
    probabilities = compute_probabilities(values, temperature)
    means = (probabilities * values).sum(axis=1)
    squares = (probabilities * (values - means[:, None]) ** 2).sum(axis=1)
    return means, float(squares.mean())


# scores of probabilities


def compute_brier(probabilities: FloatArray, labels: AnyArray) -> FloatArray:
    """Squared error summed over the classes, of each example: [..., examples], from 0 to 2 (Brier 1950)."""
    return np.asarray(((probabilities - np.eye(probabilities.shape[-1])[labels]) ** 2).sum(axis=-1))


def build_ece(probabilities: FloatArray, labels: AnyArray, num_bins: int = NUM_BINS) -> Scorer:
    """Expected calibration error: bins of equal width, mean of |confidence - share right| by their sizes.

    Guo et al. 2017, arXiv 1706.04599. Probabilities are [runs, examples, classes]. What chance does to the share right
    counts as error, the more so the fewer examples there are.
    """

    def score(weights: FloatArray, confidences: FloatArray, right: BoolArray) -> FloatArray:
        bins = _find_bins(confidences, _space_edges(num_bins))
        gaps = _sum_bins(weights, bins, confidences - right, num_bins)
        return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))

    return _build_scorer(score, probabilities, labels)


def build_debiased_square(probabilities: FloatArray, labels: AnyArray, num_bins: int = NUM_BINS) -> Scorer:
    """Squared calibration error without what chance adds: bins of equal size, mean of
    (confidence - share right)^2 - share (1 - share) / (size - 1) by their sizes; below 0 if chance added less.

    Kumar et al. 2019, arXiv 1909.10155 (their estimator of the l2 error, whose root is on the scale of a probability).
    Probabilities are [runs, examples, classes]; the bins are those of all examples, in resamples, too. Bins of a
    single example add nothing.

    Raises:
        UserError: for fewer than two examples a bin.
    """
    if len(labels) < 2 * num_bins:
        raise UserError(f"{len(labels)} examples for {num_bins} bins: at least {2 * num_bins} are needed, two a bin")

    def score(weights: FloatArray, confidences: FloatArray, right: BoolArray) -> FloatArray:
        bins = _find_bins(confidences, _share_edges(confidences, num_bins))
        sizes, gaps, hits = (
            _sum_bins(weights, bins, values, num_bins)
            for values in (np.ones(len(right)), confidences - right, right.astype(np.float64))
        )
        by_chance = hits * (sizes - hits) / np.maximum(sizes - 1, 1)
        # each bin's term times its size: squares of means become those of sums over the size
        terms = (gaps**2 - by_chance) / np.maximum(sizes, 1)
        return np.asarray(np.where(sizes > 1, terms, 0.0).sum(axis=1) / weights.sum(axis=1))

    return _build_scorer(score, probabilities, labels)


def compute_ece(probabilities: FloatArray, labels: AnyArray, num_bins: int = NUM_BINS) -> float:
    """``build_ece`` of one run, [examples, classes], on all examples."""
    return _score_once(build_ece(probabilities[None], labels, num_bins), len(labels))


def compute_debiased_error(probabilities: FloatArray, labels: AnyArray, num_bins: int = NUM_BINS) -> float:
    """The root of ``build_debiased_square`` of one run, [examples, classes], on all examples; 0 where that is below 0."""
    return math.sqrt(max(0.0, _score_once(build_debiased_square(probabilities[None], labels, num_bins), len(labels))))


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of like confidence, from above ``low`` to ``high``."""

    low: float
    high: float
    share: float  # of all predictions
    confidence: float  # mean
    right: float  # share of them


def compute_reliability(
    probabilities: FloatArray, labels: AnyArray, num_bins: int = NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of ``build_ece`` that hold something, the runs of [runs, examples, classes] together."""
    confidences, right = _choose(probabilities, labels)
    edges = _space_edges(num_bins)
    bins = _find_bins(confidences, edges).ravel()
    ends = np.array([0.0, *edges, 1.0])
    sizes, sums, hits = (
        np.bincount(bins, weights=values, minlength=num_bins)
        for values in (np.ones(len(bins)), confidences.ravel(), right.ravel())
    )
    return tuple(
        ReliabilityBin(*(float(v) for v in (low, high, size / len(bins), total / size, hit / size)))
        for low, high, size, total, hit in zip(ends[:-1], ends[1:], sizes, sums, hits, strict=True)
        if size
    )


# (weights [replicates, examples], confidences [examples], right [examples]) -> scores [replicates]
_RunScorer = Callable[[FloatArray, FloatArray, BoolArray], FloatArray]


def _build_scorer(score_run: _RunScorer, probabilities: FloatArray, labels: AnyArray) -> Scorer:
    confidences, right = _choose(probabilities, labels)

    def score(counts: IntArray, drawn: BoolArray) -> FloatArray:
        weights = counts.astype(np.float64)
        return np.stack([score_run(weights, *run) for run in zip(confidences, right, strict=True)], axis=1)

    return score


def _score_once(scorer: Scorer, num_examples: int) -> float:
    return float(scorer(np.ones((1, num_examples), dtype=np.int32), np.ones((1, 1), dtype=bool))[0, 0])


def _choose(probabilities: FloatArray, labels: AnyArray) -> tuple[FloatArray, BoolArray]:
    """Confidence in the chosen class, and whether that is right, [..., examples]."""
    confidences = probabilities.max(axis=-1).round(_DIGITS)
    return confidences, np.asarray(probabilities.argmax(axis=-1) == labels)


def _space_edges(num_bins: int) -> FloatArray:
    """Inner ends of bins of equal width."""
    return np.linspace(0, 1, num_bins + 1)[1:-1]


def _share_edges(confidences: FloatArray, num_bins: int) -> FloatArray:
    """Inner ends of bins that hold equally many; equal confidences stay together."""
    ordered = np.sort(confidences)
    firsts = len(ordered) * np.arange(1, num_bins) // num_bins
    return np.asarray((ordered[firsts - 1] + ordered[firsts]) / 2)


def _find_bins(confidences: FloatArray, edges: FloatArray) -> IntArray:
    """The bin of each; a bin ends with its upper end."""
    return np.searchsorted(edges, confidences, side="left")


def _sum_bins(weights: FloatArray, bins: IntArray, values: AnyArray, num_bins: int) -> FloatArray:
    """Weighted sums of the values [examples] in each bin, [replicates, bins]."""
    return np.asarray(weights @ (np.eye(num_bins)[bins] * values[:, None]))
