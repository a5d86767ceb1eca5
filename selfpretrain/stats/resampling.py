"""The Multi-Bootstrap's replicates: which seeds and examples are drawn, and each procedure's score on them.

Sellam et al. 2022 (arXiv 2106.16163): a replicate draws pretraining seeds with replacement, then examples with
replacement, the same examples for every run of every procedure. Fine-tunings of one seed are averaged within
it and never drawn; the drawn seeds are then averaged with equal weight.

Examples that belong together (the questions of one passage) are no independent draws: with groups as many groups are
drawn as there are, each with all its examples (the cluster bootstrap, Davison and Hinkley 1997, 3.8), so that replicates
differ in size and a score is that of what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import Procedure
from selfpretrain.stats.metrics import METRICS, build_scorer
from selfpretrain.stats.statistics import AnyArray, FloatArray, IntArray, Metric

_CHUNK_BYTES = 64 * 2**20  # counts held at once
_FEW_SEEDS = 5
_Stream = np.random.Generator | np.random.RandomState


@dataclass(frozen=True)
class Drawing:
    """How replicates are drawn.

    order "fast" has one random stream for seeds and one for examples, so the same `seed` draws the same examples
    in every comparison on as many examples (or groups); "reference" interleaves them as the published code does.
    """

    num_replicates: int
    seed: int
    shared_seeds: bool  # paired: one draw of seeds serves all procedures
    resample_seeds: bool = True
    resample_examples: bool = True
    order: str = "fast"  # fast | reference
    groups: IntArray | None = None  # [examples], numbers from 0: examples of one are drawn together; None: one by one

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
    ends = np.cumsum([procedure.num_runs for procedure in procedures])[:-1]

    everything = np.ones((1, len(labels)), dtype=np.int32)
    run_scores = scorer(everything, np.ones((1, len(predictions)), dtype=bool))[0]
    run_scores = np.nan_to_num(run_scores) if zero else run_scores
    own_scores = tuple(np.split(run_scores, ends))
    _check_defined(procedures, own_scores)
    notes = [note for procedure in procedures for note in _note_runs(procedure, zero)]
    points = tuple(
        float(_average(scores[None], np.ones((1, procedure.num_seeds)), procedure)[0])
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
        sides = zip(np.split(scores, ends, axis=1), weights, procedures, strict=True)
        columns.append(np.stack([_average(*side) for side in sides]))
    samples = np.concatenate(columns, axis=1)
    defined = ~np.isnan(samples).any(axis=0)
    notes += note_replicates(int((~defined).sum()), num_zeroed, drawing.num_replicates)
    return Replicates(samples[:, defined], points, own_scores, tuple(notes))


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
    streams: list[_Stream] = [np.random.default_rng(child) for child in np.random.SeedSequence(drawing.seed).spawn(2)]
    if drawing.order == "reference":
        streams = [np.random.RandomState(drawing.seed)] * 2
    of_seeds, of_examples = streams
    num_units = count_units(num_examples, drawing.groups)
    chunk = max(1, _CHUNK_BYTES // (4 * num_examples))
    for start in range(0, drawing.num_replicates, chunk):
        size = min(chunk, drawing.num_replicates - start)
        weights = [np.ones((size, procedure.num_seeds), dtype=np.int32) for procedure in procedures]
        counts = np.ones((size if drawing.resample_examples else 1, num_examples), dtype=np.int32)
        for row in range(size):
            if drawing.resample_seeds:
                _draw_seeds(of_seeds, [weight[row] for weight in weights], drawing.shared_seeds)
            if drawing.resample_examples:
                drawn = np.bincount(_draw(of_examples, num_units), minlength=num_units)
                counts[row] = drawn if drawing.groups is None else drawn[drawing.groups]
        yield weights, counts


def iter_example_counts(
    num_examples: int, num_replicates: int, seed: int, groups: IntArray | None = None
) -> Iterator[IntArray]:
    """How often each example is drawn, in chunks [replicates, examples]: the draws of any comparison with this seed."""
    alone = Drawing(num_replicates, seed, shared_seeds=False, resample_seeds=False, groups=groups)
    return (counts for _, counts in _iter_draws([], num_examples, alone))


def count_units(num_examples: int, groups: IntArray | None) -> int:
    """How many are drawn: examples, or groups of them."""
    return num_examples if groups is None else int(groups.max()) + 1


def _draw_seeds(stream: _Stream, rows: Sequence[IntArray], shared: bool) -> None:
    for place, row in enumerate(rows):
        row[:] = rows[0] if shared and place else np.bincount(_draw(stream, len(row)), minlength=len(row))


def _draw(stream: _Stream, size: int) -> IntArray:
    """`size` of `size` with replacement. RandomState.choice is what the published code calls; slower."""
    if isinstance(stream, np.random.RandomState):
        return stream.choice(size, size=size, replace=True)
    return stream.integers(0, size, size=size, dtype=np.int32)


def _check_defined(procedures: Sequence[Procedure], run_scores: Sequence[FloatArray]) -> None:
    for procedure, scores in zip(procedures, run_scores, strict=True):
        runs = np.flatnonzero(np.isnan(scores))
        if len(runs):
            run = f"{procedure.name} run {runs[0]} (seed {procedure.seeds[procedure.seed_of_run[runs[0]]]!r})"
            raise UserError(
                f"the metric is undefined for {run}, are its predictions constant? Score all runs by another"
            )


def _note_runs(procedure: Procedure, zero_where_undefined: bool) -> list[str]:
    """Runs that predict the same of every example, and seeds that tell no pretraining from another."""
    notes = []
    rows = procedure.predictions.reshape(procedure.num_runs, procedure.predictions.shape[1], -1)
    num_constant = int((rows == rows[:, :1]).all(axis=(1, 2)).sum())
    if num_constant:
        score = "; it scores 0 where the metric is undefined for that" if zero_where_undefined else ""
        notes.append(f"{num_constant} of {procedure.num_runs} runs of {procedure.name} predict one value only{score}")
    if procedure.seeds == (None,) and procedure.num_runs > 1:
        notes.append(f"the seeds of {procedure.name} are all None: its runs count as fine-tunings of one pretraining")
    return notes


def note_replicates(num_dropped: int, num_zeroed: int, num_replicates: int) -> list[str]:
    notes = []
    if num_zeroed:
        notes.append(
            f"{num_zeroed} of {num_replicates} replicates hold a run with one class only: it scores 0 there, "
            "as in scikit-learn"
        )
    if num_dropped * 2 >= num_replicates:
        raise UserError(
            f"the metric is undefined in {num_dropped} of {num_replicates} replicates: too few examples of some class, "
            "or nearly constant predictions; give more test examples, or another metric"
        )
    if num_dropped:
        notes.append(f"{num_dropped} of {num_replicates} replicates left out: the metric is undefined there")
    return notes


def note_scope(
    procedures: Sequence[Procedure], method: str, resample_seeds: bool = True, resample_examples: bool = True
) -> list[str]:
    """What the interval leaves out: the chance of pretraining, or of having drawn these examples."""
    if not resample_seeds:
        return ["seeds are not resampled: intervals and p leave out the chance of pretraining"]
    notes = [] if resample_examples else ["examples are not resampled: the result holds for this test set only"]
    for procedure in procedures:
        if procedure.num_levels == 1:
            notes.append(
                f"one pretraining seed for {procedure.name}: its seed axis contributes nothing, "
                "so the interval leaves out the chance of pretraining"
            )
        elif method == "percentile" and procedure.num_seeds < _FEW_SEEDS:
            notes.append(
                f"{procedure.num_seeds} pretraining seeds for {procedure.name}: the bootstrap understates seed variance "
                f"by a factor of {procedure.num_seeds - 1}/{procedure.num_seeds}"
            )
    return notes
