"""Seeds that are levels of crossed factors (three initialisations, each with the same three data orders), and the variance
of a mean over them.

The runs are not independent: those of one level share its chance. With the mean squares MS of an analysis of variance
(Fisher), for factors with a and b levels, the variance of the mean is estimated by ``(MS_A + MS_B - MS_AB) / ab``, and
for more factors by the same sum over all their sets, odd ones added and even ones subtracted. The mean square of any
set estimates no more than that by itself, so the largest is the least that is believed; without it a sum of differences
could be near 0 or below. Degrees of freedom: Satterthwaite 1946, all terms counted in full, but no fewer than those of
the factor with the fewest levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.statistics import FloatArray


class Levels(tuple[int, ...]):
    """A seed that is a level of each of several crossed factors, in their order."""


def check_levels(name: str, seeds: Sequence[Hashable]) -> None:
    """Refuses levels of different factors on one side, and seeds that are none beside some that are."""
    forms = {len(seed) if isinstance(seed, Levels) else 0 for seed in seeds}
    if len(forms) > 1 or 1 in forms:
        raise UserError(
            f"{name} has seeds with {sorted(forms)} levels: each needs one of every factor, of two at least"
        )


def arrange_seeds(values: FloatArray, seeds: Sequence[Hashable]) -> FloatArray:
    """Values [..., seeds] as they are or, where seeds are :class:`Levels`, [..., levels of the first factor, of the
    second, ...] with NaN for a combination that is not among them.
    """
    if not isinstance(seeds[0], Levels):
        return values
    _, places = zip(*(np.unique(column, return_inverse=True) for column in np.array(seeds).T), strict=True)
    grid = np.full((*values.shape[:-1], *(place.max() + 1 for place in places)), np.nan)
    where: tuple[Any, ...] = (..., *places)
    grid[where] = values
    return grid


def compute_crossed_variance(grid: FloatArray) -> tuple[float, float]:
    """The variance of the mean of a grid of two factors or more, and its degrees of freedom.

    A grid with gaps has no mean squares: there every factor counts by itself, which adds up to too much rather than too
    little. One with a single level of some factor says nothing of that factor's chance: 0 and 0.
    """
    if min(grid.shape) < 2:
        return 0.0, 0.0
    if np.isnan(grid).any():
        return _bound_variance(grid)
    squares = _compute_mean_squares(grid)
    signed = sum(-square if len(axes) % 2 == 0 else square for axes, square in squares.items())
    variance = max(signed, *squares.values()) / grid.size
    spread = sum((square / grid.size) ** 2 / _count_df(grid, axes) for axes, square in squares.items())
    return variance, max(variance**2 / spread, min(grid.shape) - 1) if spread > 0 else math.inf


def _count_df(grid: FloatArray, axes: tuple[int, ...]) -> int:
    return math.prod(grid.shape[axis] - 1 for axis in axes)


def _compute_mean_squares(grid: FloatArray) -> dict[tuple[int, ...], float]:
    """Of every set of factors (axes): its effect is what the means over the others have beyond the smaller sets'."""
    effects: dict[tuple[int, ...], FloatArray] = {(): np.full([1] * grid.ndim, grid.mean())}
    for size in range(1, grid.ndim + 1):
        for axes in itertools.combinations(range(grid.ndim), size):
            means = grid.mean(axis=tuple(axis for axis in range(grid.ndim) if axis not in axes), keepdims=True)
            smaller = (effect for other, effect in effects.items() if {*other} < {*axes})
            effects[axes] = means - sum(smaller, start=np.zeros([1] * grid.ndim))
    return {
        axes: float(np.sum(effect**2)) * grid.size / effect.size / _count_df(grid, axes)
        for axes, effect in effects.items()
        if axes
    }


def _bound_variance(grid: FloatArray) -> tuple[float, float]:
    """Clustered by each factor in turn, the parts added up; the fewest levels give the degrees of freedom."""
    apart = np.nan_to_num(grid - np.nanmean(grid))
    variance = 0.0
    for axis, levels in enumerate(grid.shape):
        sums = apart.sum(axis=tuple(other for other in range(grid.ndim) if other != axis))
        variance += float(np.sum(sums**2)) * levels / (levels - 1)
    return variance / np.isfinite(grid).sum() ** 2, min(grid.shape) - 1
