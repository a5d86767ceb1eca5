"""The Multi-Bootstrap's replicates: which seeds and examples are drawn, and each procedure's score on them.

Sellam et al. 2022 (arXiv 2106.16163): a replicate draws pretraining seeds with replacement, then examples with
replacement, the same examples for every run of every procedure. Fine-tunings of one seed are averaged within
it and never drawn; the drawn seeds are then averaged with equal weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import Procedure
from selfpretrain.stats.metrics import METRICS, build_scorer
from selfpretrain.stats.notes import note_runs
from selfpretrain.stats.statistics import AnyArray, FloatArray, IntArray, Metric

_CHUNK_BYTES = 64 * 2**20  # counts held at once


@dataclass(frozen=True)
class Drawing:
    """How replicates are drawn.

    order "fast" has one random stream for seeds and one for examples, so the same `seed` draws the same examples
    in every comparison on as many examples; "reference" interleaves them as the published code does.
    """

    num_replicates: int
    seed: int
    shared_seeds: bool  # paired: one draw of seeds serves all procedures
    resample_seeds: bool = True
    resample_examples: bool = True
    order: str = "fast"  # fast | reference

    def __post_init__(self) -> None:
        if self.order not in ("fast", "reference"):
            raise UserError(f"draw_order={self.order!r} is unknown: allowed are 'fast' and 'reference'")
        if not (self.resample_seeds or self.resample_examples):
            raise UserError("resample_seeds=False with resample_examples=False leaves nothing to resample: keep one")


@dataclass(frozen=True)
class Replicates:
    """What the drawing gave. Arrays hold the replicates in which every drawn run has a score."""

    scores: FloatArray  # [procedures, defined replicates]
    points: tuple[float, ...]  # plug-in estimate of each procedure: all runs, all examples, once
    run_scores: tuple[FloatArray, ...]  # [runs] of each procedure, on all examples
    notes: tuple[str, ...]


def compute_replicates(
    procedures: Sequence[Procedure], labels: AnyArray, metric: Metric, drawing: Drawing
) -> Replicates:
    """Draw and score.

    Raises:
        UserError: if a run has no score on all the examples, or no more than half of the replicates have one.
    """
    predictions = np.concatenate([procedure.predictions for procedure in procedures])
    scorer = build_scorer(metric, labels, predictions)
    zero = isinstance(metric, str) and METRICS[metric].is_zero_where_undefined
    ends = np.cumsum([procedure.num_runs for procedure in procedures])
    parts = [slice(end - procedure.num_runs, end) for procedure, end in zip(procedures, ends, strict=True)]

    everything = np.ones((1, len(labels)), dtype=np.int32)
    run_scores = scorer(everything, np.ones((1, len(predictions)), dtype=bool))[0]
    _check_defined(procedures, parts, run_scores, zero)
    notes = [note for procedure in procedures for note in note_runs(procedure, zero)]
    run_scores = np.nan_to_num(run_scores) if zero else run_scores
    own_scores = tuple(run_scores[part] for part in parts)
    points = tuple(
        _average(scores[None], np.ones((1, procedure.num_seeds)), procedure)[0]
        for scores, procedure in zip(own_scores, procedures, strict=True)
    )

    columns: list[FloatArray] = []
    num_zeroed = 0
    for weights, counts in _iter_draws(procedures, len(labels), drawing):
        drawn = np.concatenate(
            [weight[:, p.seed_of_run] > 0 for weight, p in zip(weights, procedures, strict=True)], axis=1
        )
        if len(counts) == 1:  # examples are kept: a run scores the same in every replicate
            scores = np.broadcast_to(run_scores, drawn.shape)
        else:
            scores = scorer(counts, drawn)
            undefined = np.isnan(scores)
            if zero and undefined.any():
                num_zeroed += int((undefined & drawn).any(axis=1).sum())
                scores = np.where(undefined, 0.0, scores)
        columns.append(
            np.stack([_average(scores[:, s], w, p) for s, w, p in zip(parts, weights, procedures, strict=True)])
        )
    samples = np.concatenate(columns, axis=1)
    defined = ~np.isnan(samples).any(axis=0)
    notes += _note_replicates(int((~defined).sum()), num_zeroed, drawing.num_replicates)
    return Replicates(samples[:, defined], tuple(float(point) for point in points), own_scores, tuple(notes))


def _average(scores: FloatArray, seed_weights: AnyArray, procedure: Procedure) -> FloatArray:
    """Scores [replicates, runs] averaged within each seed, then over drawn seeds [replicates, seeds]."""
    runs_of_seed = np.bincount(procedure.seed_of_run, minlength=procedure.num_seeds)
    weights = (seed_weights / runs_of_seed)[:, procedure.seed_of_run] / procedure.num_seeds
    # a run that was not drawn may be undefined without harm
    return np.einsum("ij,ij->i", np.where(weights > 0, scores, 0.0), weights)


def _iter_draws(
    procedures: Sequence[Procedure], num_examples: int, drawing: Drawing
) -> Iterator[tuple[list[IntArray], IntArray]]:
    """Chunks of draw counts: of seeds [replicates, seeds], one array per procedure; of examples [replicates, examples].

    A single row of example counts stands for all replicates where examples are kept.
    """
    seed_stream: np.random.Generator | np.random.RandomState
    example_stream: np.random.Generator | np.random.RandomState
    if drawing.order == "reference":
        seed_stream = example_stream = np.random.RandomState(drawing.seed)
    else:
        seed_stream, example_stream = (
            np.random.default_rng(child) for child in np.random.SeedSequence(drawing.seed).spawn(2)
        )
    sizes = [procedure.num_seeds for procedure in procedures]
    chunk = max(1, _CHUNK_BYTES // (4 * num_examples))
    for start in range(0, drawing.num_replicates, chunk):
        size = min(chunk, drawing.num_replicates - start)
        weights = [np.ones((size, count), dtype=np.int32) for count in sizes]
        counts = np.ones((size if drawing.resample_examples else 1, num_examples), dtype=np.int32)
        for row in range(size):
            if drawing.resample_seeds:
                _draw_seeds(seed_stream, [weight[row] for weight in weights], drawing.shared_seeds)
            if drawing.resample_examples:
                counts[row] = np.bincount(_draw(example_stream, num_examples), minlength=num_examples)
        yield weights, counts


def _draw_seeds(stream: np.random.Generator | np.random.RandomState, rows: Sequence[IntArray], shared: bool) -> None:
    for place, row in enumerate(rows):
        row[:] = rows[0] if shared and place else np.bincount(_draw(stream, len(row)), minlength=len(row))


def _draw(stream: np.random.Generator | np.random.RandomState, size: int) -> IntArray:
    """`size` of `size` with replacement. RandomState.choice is what the published code calls; slower."""
    if isinstance(stream, np.random.RandomState):
        return stream.choice(size, size=size, replace=True)
    return stream.integers(0, size, size=size, dtype=np.int32)


def _check_defined(procedures: Sequence[Procedure], parts: Sequence[slice], run_scores: FloatArray, zero: bool) -> None:
    """Refuse a run without a score, unless the metric is 0 there by convention."""
    for procedure, part in zip(procedures, parts, strict=True):
        runs = np.flatnonzero(np.isnan(run_scores[part]))
        if len(runs) and not zero:
            run = f"{procedure.name} run {runs[0]} (seed {procedure.seeds[procedure.seed_of_run[runs[0]]]!r})"
            raise UserError(f"the metric is undefined for {run}, are its predictions constant?")


def _note_replicates(num_dropped: int, num_zeroed: int, num_replicates: int) -> list[str]:
    notes = []
    if num_zeroed:
        notes.append(
            f"{num_zeroed} of {num_replicates} replicates hold a run with one class only: it scores 0 there, "
            "as in scikit-learn"
        )
    if num_dropped * 2 >= num_replicates:
        raise UserError(
            f"the metric is undefined in {num_dropped} of {num_replicates} replicates: too few examples of some class, "
            "or nearly constant predictions"
        )
    if num_dropped:
        notes.append(f"{num_dropped} of {num_replicates} replicates left out: the metric is undefined there")
    return notes
