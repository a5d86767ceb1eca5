"""One score of one model on one split, computed by scikit-learn or SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import check_labels, check_metric, check_procedure
from selfpretrain.stats.statistics import AnyArray


class Undefined(UserError):
    """A metric that has no value for these labels and predictions."""


def compute_metric(name: str, labels: Any, predictions: Any) -> float:
    """Score predictions.

    Args:
        name: accuracy, macro_f1, f1 (of class 1), mcc, pearson, spearman or micro_auc.
        labels: [examples] class numbers or values; [examples, classes] of 0 and 1 for micro_auc.
        predictions: class numbers, values or scores, in the shape of the labels.

    A model that predicts one class only has Matthews correlation 0 (scikit-learn's convention). macro_f1 is the
    mean over the classes that occur in labels or predictions.

    Raises:
        Undefined: where the predictions have no score: they are constant (correlations).
        UserError: a ValueError, for an unknown metric, wrong shapes or types, NaN, and labels that no predictions
            could be scored on: constant (correlations), of one class (mcc, AUC), without class 1 (f1).
        No number is ever made up for a score that does not exist.
    """
    check_metric(name)
    truth = check_labels(labels, name)
    given = np.asarray(predictions)
    check_procedure("predictions", given[None], [0], truth, name)
    if name in ("pearson", "spearman") and np.ptp(given) == 0:
        raise Undefined(f"all predictions equal {given[0]}: {name} needs at least two different values")
    return float(_compute(name, truth, given))


def _compute(name: str, labels: AnyArray, predictions: AnyArray) -> Any:
    if name in ("pearson", "spearman"):
        from scipy import stats  # here and below: late, so that listing or planning never waits for these libraries

        correlate = stats.pearsonr if name == "pearson" else stats.spearmanr
        return correlate(labels, predictions).statistic
    from sklearn import metrics

    if name == "accuracy":
        return metrics.accuracy_score(labels, predictions)
    if name == "f1":
        return metrics.f1_score(labels, predictions, zero_division=0)
    if name == "macro_f1":
        return metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    if name == "mcc":
        return metrics.matthews_corrcoef(labels, predictions)
    assert name == "micro_auc", name
    return metrics.roc_auc_score(labels.ravel(), predictions.ravel())  # pooled: what average="micro" means
