"""The table of procedures that are compared seed by seed."""

from __future__ import annotations

from selfpretrain.report.columns import (
    NA,
    NOT_APPLICABLE,
    P_VALUE,
    PANEL,
    Cell,
    Table,
    build_table,
    count_examples,
    fill_difference,
    fill_panel,
    measure_alone,
    name_interval,
    write_number,
)
from selfpretrain.report.findings import PairedDifference, Summary


def build_procedure_table(summary: Summary) -> Table:
    """One row per model, task and comparison."""
    columns = {
        **PANEL,
        "first - second": ("kind", "first", "second"),
        "first": ("first_score",),
        "second": ("second_score",),
        "difference": name_interval("difference"),
        **P_VALUE,
        "outcome": ("outcome", "needed_seeds", "needed_examples"),
        "FLOPs": ("first_flops", "second_flops"),
        "seeds": ("seeds",),
    }
    sizes = count_examples(summary)
    rows = [_build_row(each, sizes.get((each.model, each.task))) for each in summary.procedures]
    return build_table("procedures", "Procedures, seed by seed", columns, rows, (3, 2))


def _build_row(found: PairedDifference, num_examples: int | None) -> list[Cell]:
    unit, delta = "gain" if found.is_interaction else "score", found.difference.delta if found.difference else None
    shown = [(measure_alone(side, delta, unit, num_examples), repr(side)) for side in found.sides or ()]
    sides: list[Cell] = [*shown] or [(NOT_APPLICABLE, NA)] * 2
    difference, p = fill_difference(found.difference, num_examples)
    seeds = str(found.difference.num_seeds[0]) if found.difference else "0"
    return [
        *fill_panel(found),
        (found.name, "interaction" if found.is_interaction else "pair", found.first, found.second),
        *sides,
        (found.problem, *difference[1:]) if found.problem else difference,
        p,
        _fill_outcome(found),
        _fill_flops(found),
        (seeds, seeds),
    ]


def _fill_outcome(found: PairedDifference) -> Cell:
    """With what would decide it, where that is seeds alone."""
    if not found.outcome:
        return NOT_APPLICABLE, NA, NA, NA
    seeds, examples = (found.decision.needed_seeds, found.decision.needed_examples) if found.decision else (None, None)
    text = f"{found.outcome} (about {seeds} seeds)" if seeds and not examples else found.outcome
    return text, found.outcome, write_number(seeds), write_number(examples)


def _fill_flops(found: PairedDifference) -> Cell:
    """Of pretraining, the first's as so many times the second's; of one that pretrains nothing there is no such number."""
    first, second = found.flops
    text = f"{first / second:.2f} x" if first and second else NOT_APPLICABLE
    return text, write_number(first), write_number(second)
