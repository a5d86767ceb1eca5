"""What a reader must know before trusting a comparison's numbers, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from selfpretrain.stats.inputs import Procedure

_FEW_SEEDS = 5


def note_runs(procedure: Procedure, zero_where_undefined: bool) -> list[str]:
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


def note_scope(
    procedures: Sequence[Procedure], method: str, resample_seeds: bool = True, resample_examples: bool = True
) -> list[str]:
    """What the interval leaves out: the chance of pretraining, or of having drawn these examples."""
    if not resample_seeds:
        return ["seeds are not resampled: intervals and p leave out the chance of pretraining"]
    notes = [] if resample_examples else ["examples are not resampled: the result holds for this test set only"]
    for procedure in procedures:
        if procedure.num_seeds == 1:
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
