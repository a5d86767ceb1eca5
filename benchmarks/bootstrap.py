"""Multi-Bootstrap: counts times sufficient statistics against the published procedure as a loop.

    python -m benchmarks bootstrap [loop_replicates=20] [repeats=5]

25 pretraining seeds x 5 fine-tunings per side, 9,815 examples of 3 classes (the size of MNLI's matched
development set), 1,000 replicates. The loop scores every run of every drawn seed in every replicate. Its time is
the same for each replicate, so a few are measured and given *per 1,000*; loop_replicates=1000 runs it whole. Two
loops: with scikit-learn's metric, which users of the procedure pass, and with the leanest NumPy metric. Both sides
draw the same seeds and examples; the note says the largest difference of any sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import Row, interleave, open_contestants
from selfpretrain.config import UserError
from selfpretrain.stats import multibootstrap

NUM_CLASSES = 3
METRICS = ("accuracy", "mcc")
LIBRARIES = {"NumPy": "the procedure as a loop, NumPy", "scikit-learn": "the procedure as a loop, scikit-learn"}


@dataclass
class Options(harness.Options):
    loop_replicates: int = 20  # replicates the loop is measured on


@dataclass(frozen=True)
class Size:
    seeds: int
    finetunings: int
    examples: int
    replicates: int
    loop_replicates: int


def run(options: Options) -> Iterator[Row]:
    """One row per metric and loop."""
    if options.device != "cpu":
        raise UserError(f"device={options.device} takes no part in this; device=cpu")
    if options.loop_replicates < 1:
        raise UserError(f"loop_replicates={options.loop_replicates} measures nothing; at least 1")
    size = Size(4, 2, 200, 200, 5) if options.toy else Size(25, 5, 9815, 1000, options.loop_replicates)
    for metric in METRICS:
        for library, peer in LIBRARIES.items():
            yield compare(metric, library, peer, size, options)


def compare(metric: str, library: str, peer: str, size: Size, options: Options) -> Row:
    title = (
        f"Multi-Bootstrap of {metric}, 2 x {size.seeds} seeds x {size.finetunings}, {size.examples:,} examples, "
        f"{size.replicates:,} replicates"
    )
    with open_contestants(
        {"ours": (OwnBootstrap, metric, size), "theirs": (Loop, metric, library, size)}, options
    ) as sides:
        values = interleave(sides, options.repeats)
        own_peak, peer_peak = sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb()
    note = (
        f"The loop: {size.loop_replicates} replicates, given per {size.replicates:,}. Largest difference of any sample: "
        f"{compute_largest_difference(metric, library, size):.0e}."
    )
    return Row(title, peer, "s", values["ours"], values["theirs"], own_peak, peer_peak, lower_is_better=True, note=note)


def make_data(size: Size) -> tuple[tuple[Any, Any], Any, Any]:
    """Two sides' predictions [runs, examples], labels [examples] and the seed of each run [runs]."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, size.examples)
    shape = (size.seeds * size.finetunings, size.examples)
    sides = tuple(
        np.where(rng.random(shape) < accuracy, labels, rng.integers(0, NUM_CLASSES, shape)) for accuracy in (0.70, 0.72)
    )
    return (sides[0], sides[1]), labels, np.repeat(np.arange(size.seeds), size.finetunings)


class OwnBootstrap:
    """Seconds for all replicates."""

    def __init__(self, metric: str, size: Size):
        self.metric, self.size, self.data = metric, size, make_data(size)

    def __call__(self) -> float:
        start = time.perf_counter()
        self.draw(self.size.replicates)
        return time.perf_counter() - start

    def draw(self, num_replicates: int, draw_order: str = "fast") -> Any:
        """Samples [replicates, 2]."""
        sides, labels, seeds = self.data
        samples = multibootstrap(
            sides, labels, self.metric, base_seeds=seeds, expt_seeds=seeds, paired=True, method="percentile",
            num_replicates=num_replicates, draw_order=draw_order,
        ).samples  # fmt: skip
        return np.stack([samples.base, samples.expt], axis=1)


class Loop:
    """Seconds for all replicates, from those of the first few."""

    def __init__(self, metric: str, library: str, size: Size):
        self.score, self.size, self.data = choose_score(metric, library), size, make_data(size)

    def __call__(self) -> float:
        start = time.perf_counter()
        self.draw()
        return (time.perf_counter() - start) * self.size.replicates / self.size.loop_replicates

    def draw(self) -> Any:
        """The paired procedure, one run of one drawn seed at a time; samples [replicates, 2]."""
        sides, labels, seeds = self.data
        rng = np.random.RandomState(0)
        distinct = np.unique(seeds)
        runs_of_seed = {one: np.flatnonzero(seeds == one) for one in distinct}
        samples = np.empty((self.size.loop_replicates, 2))
        for replicate in range(self.size.loop_replicates):
            drawn = rng.choice(distinct, size=len(distinct), replace=True)
            examples = rng.choice(len(labels), size=len(labels), replace=True)
            selected = labels[examples]
            for side, predictions in enumerate(sides):
                seed_means = [
                    np.mean([self.score(selected, predictions[run, examples]) for run in runs_of_seed[seed]])
                    for seed in drawn
                ]
                samples[replicate, side] = np.mean(seed_means)
        return samples


def compute_largest_difference(metric: str, library: str, size: Size) -> float:
    """Between the loop's samples and the first of ours from the same draws."""
    loop = Loop(metric, library, size).draw()
    own = OwnBootstrap(metric, size).draw(max(200, len(loop)), draw_order="reference")
    return float(np.abs(own[: len(loop)] - loop).max())


def choose_score(metric: str, library: str) -> Callable[[Any, Any], float]:
    if library == "scikit-learn":
        from sklearn.metrics import accuracy_score, matthews_corrcoef

        return {"accuracy": accuracy_score, "mcc": matthews_corrcoef}[metric]
    return {"accuracy": score_accuracy, "mcc": score_mcc}[metric]


def score_accuracy(y_true: Any, y_pred: Any) -> float:
    return float((y_true == y_pred).mean())


def score_mcc(y_true: Any, y_pred: Any) -> float:
    cells = np.bincount(NUM_CLASSES * y_true + y_pred, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)
    true, predicted, total = cells.sum(1).astype(float), cells.sum(0).astype(float), float(cells.sum())
    spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
    return float((np.trace(cells) * total - true @ predicted) / np.sqrt(spread))
