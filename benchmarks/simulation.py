"""Made-up studies whose truth is known: procedures, their seeds and fine-tunings, and test examples.

A run gets example j right if ``level + skill + difficulty_j + side_j + interaction_j + noise > 0``: a probit model.
Skill varies by pretraining seed and fine-tuning, difficulty is shared by all procedures, side is what one procedure
finds easier than another, interaction is a seed's own liking of an example. For Pearson the same sum is the model's
output, with ``(level + skill) x label`` in place of ``level + skill``. All parts are normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

SHARE_OF_CLASS_1 = 0.3
DIFFICULTY_SD, INTERACTION_SD = 1.0, 0.5  # the noise has standard deviation 1
SCORES = {"accuracy": 0.70, "macro_f1": 0.65, "mcc": 0.40, "pearson": 0.60}  # of the procedure compared with


@dataclass(frozen=True)
class World:
    """What a study is drawn from."""

    metric: str
    num_seeds: int
    num_examples: int
    paired: bool
    seed_sd: float  # of a run's score by seed and fine-tuning, in the metric's unit
    side_sd: float  # of what one procedure finds easier, on the probit scale
    num_finetunings: int = 1  # of each seed; with more than one, half of the seed's variance is theirs

    @cached_property
    def spread(self) -> float:
        """Standard deviation of what varies by example, run by run."""
        return math.sqrt(DIFFICULTY_SD**2 + self.side_sd**2 + INTERACTION_SD**2 + 1)

    @cached_property
    def skill_sd(self) -> float:
        """Of a run, on the probit scale, such that its score has standard deviation ``seed_sd``."""
        level = self._find_ability(SCORES[self.metric])
        slope = (self.score(level + 1e-4) - self.score(level - 1e-4)) / 2e-4
        return float(self.seed_sd / slope)

    def score(self, ability: Any) -> Any:
        """The score of a run with this level + skill on endlessly many examples."""
        ratio = np.asarray(ability) / self.spread
        if self.metric == "pearson":
            return ratio / np.sqrt(1 + ratio**2)
        share, right = SHARE_OF_CLASS_1, ndtr(ratio)
        if self.metric == "accuracy":
            return right
        positive = share * right + (1 - share) * (1 - right)  # share of predictions of class 1
        if self.metric == "mcc":
            return (2 * right - 1) * np.sqrt(share * (1 - share) / (positive * (1 - positive)))
        return share * right / (share + positive) + (1 - share) * right / (2 - share - positive)

    def compute_truth(self, level: float) -> float:
        """The expected score of a procedure's runs on endlessly many examples."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(41)
        return float(weights @ self.score(level + self.skill_sd * nodes) / weights.sum())

    def find_level(self, truth: float) -> float:
        """The level whose truth is this."""
        return float(brentq(lambda level: self.compute_truth(level) - truth, -10, 10))

    def _find_ability(self, score: float) -> float:
        return float(brentq(lambda ability: self.score(ability) - score, -10, 10))


@dataclass(frozen=True)
class Study:
    """One draw: the same examples for every procedure."""

    labels: Any  # [examples]
    predictions: list[Any]  # [runs, examples] of each procedure
    seeds: Any  # [runs]: the pretraining seed of each, alike for all procedures
    checkpoint_scores: list[float]  # mean score of these runs on endlessly many examples


def draw_study(
    world: World, levels: Sequence[float], rng: np.random.Generator, luck: Sequence[Any] | None = None
) -> Study:
    """A study with one procedure per level.

    ``luck``: for each procedure what its paired seeds have in common, [seeds, fine-tunings], where that is not the other
    procedures' but its own on another task.
    """
    shape = (world.num_seeds, world.num_finetunings)
    labels = rng.normal(size=world.num_examples)
    if world.metric != "pearson":
        labels = (rng.random(world.num_examples) < SHARE_OF_CLASS_1).astype(np.int8)
    difficulty = DIFFICULTY_SD * rng.normal(size=world.num_examples)
    shared = [rng.normal(size=shape)] * len(levels) if luck is None else luck
    predictions, scores = [], []
    for level, common in zip(levels, shared, strict=True):
        ability = level + world.skill_sd * _draw_skill(world, common, rng)
        scores.append(float(world.score(ability).mean()))
        own = difficulty + world.side_sd * rng.normal(size=world.num_examples)
        predictions.append(_predict(world, ability, own, labels, rng))
    return Study(labels, predictions, np.repeat(np.arange(shape[0]), shape[1]), scores)


def _draw_skill(world: World, common: Any, rng: np.random.Generator) -> Any:
    """[seeds, fine-tunings] with variance 1; paired seeds have half of theirs in common."""
    shape = common.shape
    own = rng.normal(size=shape)
    by_run = (common + own) / math.sqrt(2) if world.paired else own
    if shape[1] == 1:
        return by_run
    return (by_run[:, :1] + rng.normal(size=shape)) / math.sqrt(2)


def _predict(world: World, ability: Any, difficulty: Any, labels: Any, rng: np.random.Generator) -> Any:
    """[runs, examples]."""
    num_runs, num_examples = ability.size, world.num_examples
    if world.num_finetunings == 1:  # the seed's liking and the noise are one draw then
        noise = math.sqrt(1 + INTERACTION_SD**2) * rng.normal(size=(num_runs, num_examples))
    else:
        liking = INTERACTION_SD * rng.normal(size=(world.num_seeds, num_examples))
        noise = np.repeat(liking, world.num_finetunings, axis=0) + rng.normal(size=(num_runs, num_examples))
    latent = difficulty + noise
    if world.metric == "pearson":
        return latent + ability.reshape(-1, 1) * labels
    return np.where(latent > -ability.reshape(-1, 1), labels, 1 - labels)
