"""The metrics, each once: what it takes, its value, the sums it resamples by, where it has none. No torch.

``METRICS`` is the one table. Scores, bootstrap, reports and the checks of a user's data read it; a metric more is a row
more, which a module of one's own may add: ``METRICS["within_one"] = NamedMetric(...)``. A name ``<module>:<function>`` that
it has not is that function (``selfpretrain.stats.functions``), and a row from then on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats import entities, functions, statistics
from selfpretrain.stats.statistics import AnyArray, Metric, MetricFunction, Scorer

# what the labels and predictions of one run are
ANYTHING = "anything"  # what the kind of task gives: class numbers, numbers or columns
CLASS_NUMBERS = "class numbers"  # whole numbers from 0 [examples]
NUMBERS = "numbers"  # numbers [examples]
COLUMNS = "columns"  # labels 0 or 1 and predictions numbers, [examples, classes]
SUMS = "sums"  # [examples, sums]: what an example adds to each sum that the metric is made of, labels if it is answered perfectly


@dataclass(frozen=True)
class NamedMetric:
    """One metric; labels and predictions are those of ``takes``."""

    words: str  # its name in a sentence
    takes: str  # CLASS_NUMBERS | NUMBERS | COLUMNS | SUMS | ANYTHING
    compute: MetricFunction  # (labels, predictions) of one run -> its score, by scikit-learn or SciPy
    build_scorer: Callable[[AnyArray, AnyArray], Scorer]  # (labels, predictions [runs, ...]) -> scores of resamples
    compute_blind: Callable[[AnyArray], tuple[float, str]]  # labels -> score without reading the text, and how
    low: float = 0.0
    high: float = 1.0
    is_of_class_1: bool = False  # labels are 0 and 1, and it needs one that is 1
    needs_two_labels: bool = False  # where all labels are equal no predictions have a score
    is_zero_where_undefined: bool = False  # in a resample [scikit-learn's convention]
    sums: tuple[str, ...] = ()  # of SUMS: their names in order, where a check of their number helps
    # of a metric that constant predictions leave undefined: the same, but 0 for them
    compute_or_zero: MetricFunction | None = None


def build_scorer(metric: Metric, labels: AnyArray, predictions: AnyArray) -> Scorer:
    """What scores resamples of predictions [runs, examples] or [runs, examples, classes], which ``inputs`` has checked.

    ``metric`` is a name in METRICS, or a function (y_true, y_pred) -> float that does not depend on the order.
    """
    if not isinstance(metric, str):
        return statistics.build_loop(metric, labels, predictions)
    return METRICS[metric].build_scorer(labels, predictions)


# one score: scikit-learn and SciPy are imported late, so that listing or planning never waits for them


def _score_by_sklearn(name: str, **settings: Any) -> MetricFunction:
    return lambda labels, predictions: float(resolve_name(f"sklearn.metrics:{name}")(labels, predictions, **settings))


def _score_by_scipy(name: str) -> MetricFunction:
    return lambda labels, predictions: float(resolve_name(f"scipy.stats:{name}")(labels, predictions).statistic)


def _compute_micro_auc(labels: AnyArray, predictions: AnyArray) -> float:
    # pooled: what average="micro" means
    return _score_by_sklearn("roc_auc_score")(labels.ravel(), predictions.ravel())


def _correlate_pearson(labels: AnyArray, outputs: AnyArray) -> float:
    if np.ptp(labels) == 0:
        return math.nan
    return 0.0 if np.ptp(outputs) == 0 else float(np.corrcoef(labels, outputs)[0, 1])


def _correlate_spearman(labels: AnyArray, outputs: AnyArray) -> float:
    from scipy.stats import rankdata

    return _correlate_pearson(rankdata(labels), rankdata(outputs))


# what a model reaches that never looks at the text


def _get_shares(labels: AnyArray) -> AnyArray:
    return np.asarray(np.unique(labels, return_counts=True)[1] / len(labels))


def _choose_top_class(labels: AnyArray) -> tuple[float, str]:
    return float(_get_shares(labels).max()), "always the most frequent class"


def _guess_classes(labels: AnyArray) -> tuple[float, str]:
    shares = _get_shares(labels)
    top = float(shares.max())
    always_top = 2 * top / (1 + top) / len(shares)
    return max(always_top, 1 / len(shares)), "guessing by the classes' frequencies"


def _choose_class_1(labels: AnyArray) -> tuple[float, str]:
    positive = float((labels == 1).mean())
    return 2 * positive / (1 + positive), "always class 1"


def _guess(labels: AnyArray) -> tuple[float, str]:
    return 0.0, "guessing"


def _answer_nothing(labels: AnyArray) -> tuple[float, str]:
    return 0.0, "an empty answer"


def _rank_by_frequency(labels: AnyArray) -> tuple[float, str]:
    if labels.ndim == 1 or np.ptp(labels) == 0:
        return 0.5, "guessing"
    frequencies = np.broadcast_to(labels.mean(axis=0), labels.shape)
    return _compute_micro_auc(labels, frequencies), "the classes' frequencies alone"


# of kinds whose examples are stored as sums


def _average_column(words: str, column: int, compute_blind: Callable[[AnyArray], tuple[float, str]]) -> NamedMetric:
    """The mean of one of the sums."""
    return NamedMetric(
        words, SUMS, lambda labels, predictions: float(predictions[:, column].mean(dtype=np.float64)),
        lambda labels, predictions: statistics.build_mean(predictions[..., column]), compute_blind,
    )  # fmt: skip


# of tagged sentences: what stats.entities.count_sums gives of each, [..., sums]


def _split_entities(sums: AnyArray) -> tuple[AnyArray, AnyArray]:
    """F1 as a ratio: twice the entities found, over those predicted and those there are."""
    return 2 * sums[..., 0], sums[..., 1] + sums[..., 2]


def _split_words(sums: AnyArray) -> tuple[AnyArray, AnyArray]:
    """The words right, over the words."""
    return sums[..., 3], sums[..., 5]


def _tag_all_alike(labels: AnyArray) -> tuple[float, str]:
    return float(labels[:, 4].sum() / labels[:, 5].sum()), "always the most frequent tag"


def _name_ratio(
    words: str, split: Callable[[AnyArray], tuple[AnyArray, AnyArray]],
    compute_blind: Callable[[AnyArray], tuple[float, str]],
) -> NamedMetric:  # fmt: skip
    """A ratio of sums, 0 where there is nothing to divide by [seqeval's zero_division]."""

    def compute(labels: AnyArray, predictions: AnyArray) -> float:
        above, below = (float(part.sum(dtype=np.float64)) for part in split(predictions))
        return above / below if below else 0.0

    return NamedMetric(
        words, SUMS, compute, lambda labels, predictions: statistics.build_ratio(*split(predictions)), compute_blind,
        is_zero_where_undefined=True, sums=entities.SUMS,
    )  # fmt: skip


def _name_function(name: str) -> NamedMetric:
    function = functions.load(name)
    return NamedMetric(
        function.words, ANYTHING, function.compute, function.build_scorer, function.compute_blind, -math.inf, math.inf
    )


class _Table(dict[str, NamedMetric]):
    """By name; a UserError for one that it has not and that is no function."""

    def __missing__(self, name: str) -> NamedMetric:
        if not functions.is_own(name):
            own = f"<module>:<function> or a {functions.FORM}"
            raise UserError(f"metric={name!r} is unknown: allowed are {', '.join(self)}, {own}")
        self[name] = metric = _name_function(name)
        return metric


METRICS: dict[str, NamedMetric] = _Table({
    "accuracy": NamedMetric(
        "accuracy", CLASS_NUMBERS, _score_by_sklearn("accuracy_score"),
        lambda labels, predictions: statistics.build_mean(predictions == labels), _choose_top_class,
    ),
    "macro_f1": NamedMetric(
        "macro F1", CLASS_NUMBERS, _score_by_sklearn("f1_score", average="macro", zero_division=0),
        statistics.build_macro_f1, _guess_classes,
    ),
    "f1": NamedMetric(
        "F1", CLASS_NUMBERS, _score_by_sklearn("f1_score", zero_division=0), statistics.build_f1, _choose_class_1,
        is_of_class_1=True, is_zero_where_undefined=True,
    ),
    "mcc": NamedMetric(
        "Matthews correlation", CLASS_NUMBERS, _score_by_sklearn("matthews_corrcoef"), statistics.build_mcc, _guess,
        low=-1.0, needs_two_labels=True, is_zero_where_undefined=True,
    ),
    "pearson": NamedMetric(
        "Pearson correlation", NUMBERS, _score_by_scipy("pearsonr"), statistics.build_pearson, _guess,
        low=-1.0, needs_two_labels=True, compute_or_zero=_correlate_pearson,
    ),
    "spearman": NamedMetric(
        "Spearman correlation", NUMBERS, _score_by_scipy("spearmanr"), statistics.build_spearman, _guess,
        low=-1.0, needs_two_labels=True, compute_or_zero=_correlate_spearman,
    ),
    "micro_auc": NamedMetric(
        "micro AUC", COLUMNS, _compute_micro_auc, statistics.build_micro_auc, _rank_by_frequency,
        needs_two_labels=True,
    ),
    # an answer's, stats.answers.score_answer
    "exact_match": _average_column("exact match", 0, _answer_nothing),
    "answer_f1": _average_column("F1 of answers", 1, _answer_nothing),
    "entity_f1": _name_ratio("F1 of entities", _split_entities, lambda labels: (0.0, "tagging nothing")),
    "token_accuracy": _name_ratio("accuracy of words", _split_words, _tag_all_alike),
})  # fmt: skip
