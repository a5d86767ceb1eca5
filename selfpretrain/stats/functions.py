"""A metric of one's own by its name, ``<module>:<function>``, from the folder of the command or an installed module.

``function(labels, predictions)`` is given what the kind of task has: class numbers [examples]; numbers [examples]; or labels
of 0 and 1 and predictions as numbers, [examples, classes]. It gives a number, higher being better, or one for each example,
whose mean is then the score and which the bootstrap adds up instead of calling it again for every run and replicate. It must
not depend on the order of the examples. NaN means that there is no score.

Nothing hashes what the function does: who changes it gives it another name, or another ``runtime.runs_dir``.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats import statistics
from selfpretrain.stats.statistics import AnyArray, FloatArray, Scorer

FORM = "function(y_true, y_pred)"
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_own(name: str) -> bool:
    """Whether a metric's name is that of a function."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class OwnFunction:
    """What a row of ``metrics.METRICS`` is made of."""

    name: str
    function: Callable[[Any, Any], Any]

    @property
    def words(self) -> str:
        return self.name.rpartition(":")[2]

    def compute(self, labels: AnyArray, predictions: AnyArray) -> float:
        """The score of one run; NaN where the function has none."""
        return float(np.mean(self._call(labels, predictions)))

    def build_scorer(self, labels: AnyArray, predictions: AnyArray) -> Scorer:
        """What scores resamples: a mean, where each run has a score for each example, else the function each time."""
        values = [self._call(labels, run) for run in predictions]
        if all(value.ndim for value in values):
            return statistics.build_mean(np.stack(values))
        return statistics.build_loop(self.compute, labels, predictions)

    def compute_blind(self, labels: AnyArray) -> tuple[float, str]:
        """The score of the one prediction that suits the labels best without reading a text, and which that is.

        The most frequent class, the mean number, or each class's frequency. Below all scores where it has none.
        """
        if labels.dtype.kind in "biu" and labels.ndim == 1:
            values, counts = np.unique(labels, return_counts=True)
            constant, rule = values[counts.argmax()], "always the most frequent class"
        else:
            constant = labels.mean(axis=0)
            rule = "always the mean" if labels.ndim == 1 else "the classes' frequencies alone"
        score = self.compute(labels, np.array(np.broadcast_to(constant, labels.shape)))
        return (-math.inf, f"{rule}, which has no score") if math.isnan(score) else (score, rule)

    def _call(self, labels: AnyArray, predictions: AnyArray) -> FloatArray:
        """A number [], or one for each example, [examples]; not finite: NaN."""
        try:
            values = np.asarray(self.function(labels, predictions))
        except Exception as error:  # whatever a function of the user's raises is said in one line
            raise self._refuse(f"failed: {_describe(error)}; return float('nan') where there is no score") from error
        if values.dtype.kind not in "biuf" or values.shape not in ((), (len(labels),)):
            given = f"an array of shape {values.shape}" if values.ndim else f"{values.item()!r}"
            wanted = f"a number, or one for each of the {len(labels)} examples"
            raise self._refuse(f"gave {given} of type {values.dtype}; it must give {wanted}")
        numbers = values.astype(np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def _refuse(self, wrong: str) -> UserError:
        return UserError(f"metric {self.name} {wrong}")


def load(name: str) -> OwnFunction:
    """The function of that name; UserError where it cannot be imported or called."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as python -m has it; the command's own script has not
    importlib.invalidate_caches()
    module, _, function = name.partition(":")
    try:
        found = resolve_name(name)
    except Exception as error:  # importing runs the user's module
        fix = f"write {module}.py with a function {function} in the folder of the command, or install the module"
        raise UserError(f"task.metric={name} cannot be imported ({_describe(error)}); {fix}") from error
    if not callable(found):
        raise UserError(f"task.metric={name} is {type(found).__name__} and no function; name a {FORM}")
    return OwnFunction(name, found)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
