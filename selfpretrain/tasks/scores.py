"""One score of one model on one split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import get_kind
from selfpretrain.stats import METRICS
from selfpretrain.stats.inputs import check_labels, check_metric, check_procedure


class Undefined(UserError):
    """A metric that has no value for these labels and predictions."""


def compute_metric(name: str, labels: Any, predictions: Any) -> float:
    """The score by a metric of METRICS, or of the user's, of class numbers, values or scores, in the shape of ``labels``.

    Those are class numbers or values [examples], for micro_auc 0 and 1 [examples, classes]. A model that predicts one
    class only has Matthews correlation 0 (scikit-learn's convention). macro_f1 is the mean over the classes that occur
    in labels or predictions. No number is ever made up for a score that does not exist.

    Raises Undefined where the predictions have none, being constant (correlations), or by a metric of the user's; UserError for an unknown metric,
    wrong shapes or types, NaN, and labels that no predictions could be scored on: constant (correlations), of one class
    (mcc, AUC), without class 1 (f1).
    """
    metric = METRICS[check_metric(name)]
    truth = check_labels(labels, name)
    given = np.asarray(predictions)
    check_procedure("predictions", given[None], [0], truth, name)
    if metric.compute_or_zero is not None and np.ptp(given) == 0:
        raise Undefined(f"all predictions equal {given[0]}: {name} needs at least two different values")
    score = float(metric.compute(truth, given))
    if math.isnan(score):
        raise Undefined(f"{name} gives no finite number for these predictions")
    return score


def score_split(
    task: TaskConfig, labels: npt.NDArray[np.generic], outputs: npt.NDArray[np.float32]
) -> tuple[float | None, str]:
    """The task's metric for outputs [N, K] as they are stored; or None, and why these outputs have none."""
    assert task.metric is not None
    try:
        return compute_metric(task.metric, labels, get_kind(task.label_kind).decode(outputs)), ""
    except Undefined as error:
        return None, str(error)
