"""Scores of every run under every resample, from multinomial counts instead of copied examples.

A bootstrap replicate draws N of N examples with replacement, or groups of them, and may then hold more or fewer.
Whatever order they come in, the replicate is fully described by how often each example was drawn: a row of
counts. Every metric here is a function of a few weighted sums, so that all replicates of all runs are a matrix
product away:

- a mean over the examples, such as accuracy: counts @ what each adds (correct or not);
- a ratio of two sums, such as F1 of entities: the same, twice;
- F1, macro-F1, Matthews correlation: cells of the confusion matrix, each a weighted sum;
- Pearson: weighted first and second moments;
- Spearman: Pearson of the weighted mid-ranks, cumulative counts along the examples sorted once per run;
- micro-averaged ROC AUC: weighted Mann-Whitney statistic, cumulative counts of the sorted negatives.

A score that is undefined in a replicate (one class only, constant values) is NaN here; what becomes of it
is decided in ``resampling``. The formulas equal scikit-learn's and SciPy's on the examples written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[Any]  # any integer dtype
BoolArray = npt.NDArray[np.bool_]

MetricFunction = Callable[[Any, Any], float]
Metric = str | MetricFunction
# (counts [replicates, examples], drawn [replicates, runs]) -> scores [replicates, runs]. Only a metric given
# as a function looks at `drawn`, to leave out the runs that a replicate did not draw (their score is NaN).
Scorer = Callable[[IntArray, BoolArray], FloatArray]

_BLOCK_BYTES = 32 * 2**20  # working memory of one block of runs or replicates
_CACHE_VALUES = 2**18  # values per block of gathered counts: they should stay in the processor's cache
_DENSE_CELLS = 64  # above this many cells sorting and summing beats one-hot columns (measured)
_EXACT_IN_FLOAT32 = 2**24  # sums of counts up to here are exact in float32


def _join(score_blocks: Callable[[IntArray], Iterator[FloatArray]]) -> Scorer:
    """A scorer of what yields the scores [replicates, runs] of some runs after others."""
    return lambda counts, drawn: np.concatenate(list(score_blocks(counts)), axis=1)


def _iter_blocks(num_items: int, size_of_item: int, size_of_block: int = _BLOCK_BYTES) -> Iterator[slice]:
    step = max(1, size_of_block // max(1, size_of_item))
    for start in range(0, num_items, step):
        yield slice(start, min(start + step, num_items))


def _count_drawn(counts: IntArray) -> FloatArray:
    """How many examples each replicate holds, [replicates, 1]."""
    return np.asarray(counts.sum(axis=1, keepdims=True), dtype=np.float64)


def _to_weights(counts: IntArray) -> tuple[AnyArray, FloatArray]:
    """Counts as floating point numbers for matrix products whose integer results are still exact; and their totals."""
    totals = _count_drawn(counts)
    return counts.astype(np.float32 if totals.max() < _EXACT_IN_FLOAT32 else np.float64), totals


def _sum_columns(weights: AnyArray, columns: AnyArray) -> FloatArray:
    """Weighted sums [replicates, columns] of columns [columns, examples]: one matrix product."""
    sums: AnyArray = np.matmul(weights, columns.astype(weights.dtype).T)
    return sums.astype(np.float64)


def _sum_cells(weights: AnyArray, totals: FloatArray, cells: IntArray, num_cells: int) -> FloatArray:
    """Weighted size [replicates, runs, cells] of each cell; cells [runs, examples] holds one cell per example."""
    num_runs, num_examples = cells.shape
    if num_cells > _DENSE_CELLS:
        sums = np.zeros((len(weights), num_runs, num_cells))
        for run, cell in enumerate(cells):
            order = np.argsort(cell, kind="stable")
            present, starts = np.unique(cell[order], return_index=True)
            sums[:, run, present] = np.add.reduceat(weights[:, order], starts, axis=1)
        return sums
    # The cells part the examples, so the last one is what the others leave: one column less to multiply.
    indicators = cells[:, None, :] == np.arange(num_cells - 1, dtype=cells.dtype)[None, :, None]
    others = _sum_columns(weights, indicators.reshape(-1, num_examples)).reshape(len(weights), num_runs, num_cells - 1)
    last = totals[:, :, None] - others.sum(axis=2, keepdims=True)
    return np.concatenate([others, last], axis=2)


def _number_classes(labels: AnyArray, predictions: AnyArray) -> tuple[IntArray, IntArray, int]:
    """Labels and predictions renumbered 0..K-1 over the classes that occur in either."""
    labels, predictions = labels.astype(np.int64), predictions.astype(np.int64)
    highest = int(max(labels.max(), predictions.max()))
    if highest >= predictions.size:  # far apart: a table over all numbers would be larger than the data
        classes = np.union1d(labels, predictions)
        return np.searchsorted(classes, labels), np.searchsorted(classes, predictions), len(classes)
    occurs = np.zeros(highest + 1, dtype=bool)
    occurs[labels] = occurs[predictions] = True
    num_classes = int(occurs.sum())
    narrow = np.int8 if num_classes <= _DENSE_CELLS else np.int32  # comparing narrow numbers is faster
    number = (np.cumsum(occurs) - 1).astype(narrow)
    return number[labels], number[predictions], num_classes


def build_mean(values: AnyArray) -> Scorer:
    """Of a metric that is a mean over the examples: what each adds, [runs, examples], true or false or a number."""

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights, totals = _to_weights(counts)
        weights = weights if values.dtype == bool else counts.astype(np.float64)
        for block in _iter_blocks(len(values), weights.itemsize * values.shape[1]):
            yield _sum_columns(weights, values[block]) / totals

    return _join(score)


def build_ratio(numerators: AnyArray, denominators: AnyArray) -> Scorer:
    """Of a metric that is a ratio of two sums over the examples: what each adds to them, [runs, examples]."""

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights = counts.astype(np.float64)
        for block in _iter_blocks(len(numerators), 2 * weights.itemsize * numerators.shape[1]):
            yield _divide(_sum_columns(weights, numerators[block]), _sum_columns(weights, denominators[block]))

    return _join(score)


def build_mcc(labels: AnyArray, predictions: AnyArray) -> Scorer:
    """Matthews correlation for any number of classes (Gorodkin's R_K, as in scikit-learn)."""
    labels, predictions, num_classes = _number_classes(labels, predictions)
    num_runs, num_examples = predictions.shape

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights, totals = _to_weights(counts)
        true = _sum_cells(weights, totals, labels[None], num_classes)  # [replicates, 1, classes]
        true_spread = totals**2 - (true**2).sum(axis=2)
        for block in _iter_blocks(num_runs, num_classes * (4 * num_examples + 24 * len(counts))):
            correct = _sum_columns(weights, predictions[block] == labels)
            predicted = _sum_cells(weights, totals, predictions[block], num_classes)
            covariance = correct * totals - (predicted * true).sum(axis=2)
            spread = true_spread * (totals**2 - (predicted**2).sum(axis=2))
            yield _divide(covariance, np.sqrt(spread))

    return _join(score)


def build_f1(labels: AnyArray, predictions: AnyArray) -> Scorer:
    """F1 of class 1."""
    cells = (predictions == 1) * (np.int8(1) + (labels == 1))  # 0 predicted negative, 1 false, 2 true positive
    num_runs, num_examples = cells.shape

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights, totals = _to_weights(counts)
        positive = _sum_columns(weights, labels[None] == 1)  # [replicates, 1]
        for block in _iter_blocks(num_runs, 3 * (4 * num_examples + 24 * len(counts))):
            sums = _sum_cells(weights, totals, cells[block], 3)
            yield _divide(2 * sums[..., 2], positive + sums[..., 1] + sums[..., 2])

    return _join(score)


def build_macro_f1(labels: AnyArray, predictions: AnyArray) -> Scorer:
    """Mean F1 over the classes that occur in the replicate's labels or predictions, as in scikit-learn."""
    labels, predictions, num_classes = _number_classes(labels, predictions)
    cells = 2 * predictions + (predictions == labels)
    num_runs, num_examples = cells.shape

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights, totals = _to_weights(counts)
        true = _sum_cells(weights, totals, labels[None], num_classes)
        for block in _iter_blocks(num_runs, 2 * num_classes * (4 * num_examples + 24 * len(counts))):
            sums = _sum_cells(weights, totals, cells[block], 2 * num_classes)
            hits = sums[..., 1::2]
            total = true + hits + sums[..., 0::2]
            f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
            yield f1.sum(axis=2) / (total > 0).sum(axis=2)

    return _join(score)


def build_pearson(labels: AnyArray, predictions: AnyArray) -> Scorer:
    y = _standardise(labels.astype(np.float64)[None])
    x = _standardise(predictions.astype(np.float64))  # centred first: the moments below then do not cancel
    num_examples = y.shape[1]

    def score(counts: IntArray) -> Iterator[FloatArray]:
        weights = counts.astype(np.float64) / _count_drawn(counts)
        y_mean, y_square = weights @ y.T, weights @ (y**2).T
        for block in _iter_blocks(len(x), 3 * 8 * num_examples):
            x_mean, x_square = weights @ x[block].T, weights @ (x[block] ** 2).T
            covariance = weights @ (x[block] * y).T - x_mean * y_mean
            spread = _variance(x_mean, x_square) * _variance(y_mean, y_square)
            yield np.clip(_divide(covariance, np.sqrt(spread)), -1.0, 1.0)

    return _join(score)


def _standardise(values: FloatArray) -> FloatArray:
    constant = np.ptp(values, axis=1, keepdims=True) == 0  # exactly: its rounded deviation need not be 0
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = np.where(constant, 1.0, centred.std(axis=1, keepdims=True))
    return np.where(constant, 0.0, centred / deviation)


def _variance(mean: FloatArray, square: FloatArray) -> FloatArray:
    """Variance from moments; 0 where rounding is all there is, as when a replicate drew equal values only."""
    variance = square - mean**2
    return np.where(variance > 1e-13 * square, variance, 0.0)


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN where the denominator is zero."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return undefined


class _Ranking:
    """Values sorted once, to rank any resample of them. Ranks are doubled and centred: 2 r - (N + 1)."""

    def __init__(self, values: AnyArray) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.has_ties = len(self.starts) < len(values)

    def sum_groups(self, weights: AnyArray) -> AnyArray:
        """Sums of weights [replicates, examples] over equal values, [replicates, groups] in ascending order."""
        ordered = np.take(weights, self.order, axis=1)
        return np.add.reduceat(ordered, self.starts, axis=1) if self.has_ties else ordered

    def rank(self, group_counts: IntArray) -> FloatArray:
        """Mid-rank of each group: below it lie cumsum - count, inside it the middle is (count + 1) / 2."""
        below_or_in = np.cumsum(group_counts, axis=1, dtype=group_counts.dtype)
        return 2.0 * below_or_in - group_counts - below_or_in[:, -1:]

    def spread(self, group_counts: IntArray) -> FloatArray:
        """Sum of count x rank squared over the groups, in closed form: (N^3 - sum of count^3) / 3."""
        sizes = group_counts.astype(np.float64)
        total = sizes.sum(axis=1)
        return np.asarray((total * total * total - (sizes * sizes * sizes).sum(axis=1)) / 3)


def build_spearman(labels: AnyArray, predictions: AnyArray) -> Scorer:
    truth = _Ranking(labels)
    group_of = np.empty(len(labels), dtype=np.intp)  # example -> its group of equal labels
    group_of[truth.order] = np.repeat(np.arange(len(truth.starts)), np.diff(np.append(truth.starts, len(labels))))
    rankings = [_Ranking(run) for run in predictions]

    def score(counts: IntArray, drawn: BoolArray) -> FloatArray:
        scores = np.empty((len(counts), len(rankings)))
        for rows in _iter_blocks(len(counts), counts.shape[1], _CACHE_VALUES):
            part = counts[rows]
            groups = truth.sum_groups(part)
            weighted_rank = part * np.take(truth.rank(groups), group_of, axis=1)
            truth_spread = truth.spread(groups)
            for run, ranking in enumerate(rankings):
                groups = ranking.sum_groups(part)
                covariance = np.einsum("ij,ij->i", ranking.rank(groups), ranking.sum_groups(weighted_rank))
                scores[rows, run] = _divide(covariance, np.sqrt(ranking.spread(groups) * truth_spread))
        return np.clip(scores, -1.0, 1.0)

    return score


def build_micro_auc(labels: AnyArray, predictions: AnyArray) -> Scorer:
    """Area under the ROC curve of all (example, class) pairs pooled; an example carries its classes along."""
    num_classes = labels.shape[1] if labels.ndim == 2 else 1
    positive = np.flatnonzero(labels.ravel() == 1)
    negative = np.flatnonzero(labels.ravel() == 0)
    pairs = []
    for run in predictions.reshape(len(predictions), -1):
        order = negative[np.argsort(run[negative], kind="stable")]
        below = np.searchsorted(run[order], run[positive], side="left")
        not_above = np.searchsorted(run[order], run[positive], side="right")
        pairs.append((order // num_classes, below, not_above))
    positive_example = positive // num_classes

    def score(counts: IntArray, drawn: BoolArray) -> FloatArray:
        scores = np.empty((len(counts), len(pairs)))
        for rows in _iter_blocks(len(counts), len(positive) + len(negative), _CACHE_VALUES):
            part = counts[rows].astype(np.int32)
            weight = np.take(part, positive_example, axis=1).astype(np.float64)
            passed = np.zeros((len(part), len(negative) + 1), dtype=np.int32)
            for run, (negative_example, below, not_above) in enumerate(pairs):
                np.cumsum(np.take(part, negative_example, axis=1), axis=1, out=passed[:, 1:])
                # a tie counts one half: the mean of the negatives strictly below and those not above
                wins = np.take(passed, below, axis=1).astype(np.float64) + np.take(passed, not_above, axis=1)
                all_pairs = weight.sum(axis=1) * passed[:, -1]
                scores[rows, run] = _divide(np.einsum("ij,ij->i", weight, wins) / 2, all_pairs)
        return scores

    return score


def build_loop(metric: MetricFunction, labels: AnyArray, predictions: AnyArray) -> Scorer:
    def score(counts: IntArray, drawn: BoolArray) -> FloatArray:
        scores = np.full((len(counts), len(predictions)), np.nan)
        for replicate, row in enumerate(counts):
            examples = np.repeat(np.arange(len(row)), row)
            selected = labels[examples]
            for run in np.flatnonzero(drawn[replicate]):
                scores[replicate, run] = float(metric(selected, predictions[run, examples]))
        return scores

    return score
