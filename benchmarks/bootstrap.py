"""Multi-Bootstrap: counts times sufficient statistics against the published procedure as a loop.

    python -m benchmarks.bootstrap [--loop-replicates 20] [--runs 3]

25 pretraining seeds x 5 fine-tunings per side, 9,815 examples of 3 classes (the size of MNLI's matched
development set), 1,000 replicates. The loop scores every run of every drawn seed in every replicate. Its time is
the same for each replicate, so a few are measured and compared *per replicate*; --loop-replicates 1000 runs it
whole. Two loops: with scikit-learn's metric, which users of the procedure pass, and with the leanest NumPy metric.
Both sides draw the same seeds and examples, and the table's last column is the largest difference of any sample.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from selfpretrain.stats import multibootstrap

NUM_SEEDS, NUM_FINETUNES, NUM_EXAMPLES, NUM_CLASSES, NUM_REPLICATES = 25, 5, 9815, 3, 1000


def make_predictions(rng: np.random.Generator, labels: Any, accuracy: float) -> Any:
    shape = (NUM_SEEDS * NUM_FINETUNES, len(labels))
    return np.where(rng.random(shape) < accuracy, labels, rng.integers(0, NUM_CLASSES, shape))


def loop_replicates(
    sides: tuple[Any, Any], labels: Any, seeds: Any, score: Callable[[Any, Any], float], num_replicates: int, seed: int
) -> Any:
    """The paired procedure, one run of one drawn seed at a time; samples [replicates, 2]."""
    rng = np.random.RandomState(seed)
    distinct = np.unique(seeds)
    runs_of_seed = {one: np.flatnonzero(seeds == one) for one in distinct}
    samples = np.empty((num_replicates, 2))
    for replicate in range(num_replicates):
        drawn = rng.choice(distinct, size=len(distinct), replace=True)
        examples = rng.choice(len(labels), size=len(labels), replace=True)
        selected = labels[examples]
        for side, predictions in enumerate(sides):
            seed_means = [
                np.mean([score(selected, predictions[run, examples]) for run in runs_of_seed[s]]) for s in drawn
            ]
            samples[replicate, side] = np.mean(seed_means)
    return samples


def score_accuracy(y_true: Any, y_pred: Any) -> float:
    return float((y_true == y_pred).mean())


def score_mcc(y_true: Any, y_pred: Any) -> float:
    cells = np.bincount(NUM_CLASSES * y_true + y_pred, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)
    true, predicted, total = cells.sum(1).astype(float), cells.sum(0).astype(float), float(cells.sum())
    spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
    return float((np.trace(cells) * total - true @ predicted) / np.sqrt(spread))


def measure(
    metric: str, score: Callable[[Any, Any], float], loop_replicates_count: int, runs: int
) -> tuple[list[float], list[float], float]:
    """Seconds per 1,000 replicates of the loop and of ours, interleaved; and the largest difference."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)
    sides = (make_predictions(rng, labels, 0.70), make_predictions(rng, labels, 0.72))
    seeds = np.repeat(np.arange(NUM_SEEDS), NUM_FINETUNES)
    settings: dict[str, Any] = {"base_seeds": seeds, "expt_seeds": seeds, "paired": True}
    loop_seconds, own_seconds, difference = [], [], 0.0
    for run in range(runs):
        start = time.perf_counter()
        expected = loop_replicates(sides, labels, seeds, score, loop_replicates_count, run)
        loop_seconds.append((time.perf_counter() - start) * NUM_REPLICATES / loop_replicates_count)
        start = time.perf_counter()
        multibootstrap(sides, labels, metric, num_replicates=NUM_REPLICATES, seed=run, **settings)
        own_seconds.append(time.perf_counter() - start)
        same = multibootstrap(
            sides, labels, metric, num_replicates=loop_replicates_count, seed=run, draw_order="reference", **settings
        ).samples
        difference = max(difference, float(np.abs(expected - np.stack([same.base, same.expt], axis=1)).max()))
    return loop_seconds, own_seconds, difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop-replicates", type=int, default=20, help="replicates the loop is measured on")
    parser.add_argument("--runs", type=int, default=3, help="interleaved repetitions; the median counts")
    arguments = parser.parse_args()
    from sklearn.metrics import accuracy_score, matthews_corrcoef

    peers: list[tuple[str, str, Callable[[Any, Any], float]]] = [
        ("accuracy", "NumPy", score_accuracy),
        ("accuracy", "scikit-learn", accuracy_score),
        ("mcc", "NumPy", score_mcc),
        ("mcc", "scikit-learn", matthews_corrcoef),
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"loop measured on {arguments.loop_replicates} replicates, given per {NUM_REPLICATES}; ours on all of them\n")
    print("| metric | loop with | loop, s | ours, s | ratio (min - max) | largest difference |")
    print("|---|---|---|---|---|---|")
    for metric, peer, score in peers:
        loop, own, difference = measure(metric, score, arguments.loop_replicates, arguments.runs)
        ratios = [slow / fast for slow, fast in zip(loop, own, strict=True)]
        spread = f"{statistics.median(ratios):.0f}x ({min(ratios):.0f} - {max(ratios):.0f})"
        times = f"{statistics.median(loop):.1f} | {statistics.median(own):.3f}"
        print(f"| {metric} | {peer} | {times} | {spread} | {difference:.1e} |")


if __name__ == "__main__":
    main()
