"""Learning dynamics as tables, and how to read them."""

from __future__ import annotations

from selfpretrain.numbers import format_score
from selfpretrain.report.columns import (
    NA,
    NOT_APPLICABLE,
    PANEL,
    Cell,
    Table,
    build_table,
    fill_score,
    list_interval,
    measure,
    name_interval,
)
from selfpretrain.report.findings import Dynamics, Separation, Summary

_LACKING = (NOT_APPLICABLE, NA, NA, NA)


def build_dynamics_tables(summary: Summary) -> list[Table]:
    """Scores and differences; none where the study has no checkpoints."""
    if not summary.dynamics:
        return []
    has_pairs = any(found.separations for found in summary.dynamics)
    return [build_dynamics_table(summary), *([build_separation_table(summary)] if has_pairs else [])]


def explain_dynamics(summary: Summary) -> list[str]:
    if not summary.dynamics:
        return []
    number = max(found.num_checkpoints for found in summary.dynamics)
    return [
        f"Learning dynamics: the runs of all seeds from the encoder at each of {number} checkpoints, with the recipe chosen "
        f"at the last; intervals by Bonferroni, each at 1 - {format_score(summary.alpha, 2)}/{number}, so that all of a line "
        "hold together. Two procedures separate at the first step from which on every interval of their difference leaves "
        "out 0 on the same side."
    ]


def build_dynamics_table(summary: Summary) -> Table:
    """Scores by steps of pretraining, a column for each condition that has any."""
    conditions = list(dict.fromkeys(name for found in summary.dynamics for name in found.conditions))
    columns = {**PANEL, "steps": ("steps",), **{name: name_interval(name) for name in conditions}}
    title = "Learning dynamics: test scores by steps of pretraining, intervals that hold together"
    rows = [
        [
            *_fill_step(found, step),
            *(fill_score(e, panel.num_examples) if (e := panel.find(name)) else _LACKING for name in conditions),
        ]
        for found in summary.dynamics
        for step, panel in zip(found.steps, found.panels, strict=True)
    ]
    return build_table("dynamics", title, columns, rows, (2, 2))


def build_separation_table(summary: Summary) -> Table:
    """Differences by steps of pretraining, a column for each; the mark is on those of the stretch that leaves 0 out."""
    pairs = list(dict.fromkeys(each.conditions for found in summary.dynamics for each in found.separations))
    names = {pair: " - ".join(pair) for pair in pairs}
    columns = {
        **PANEL,
        "steps": ("steps",),
        **{name: (*name_interval(name), f"{name}_apart") for name in names.values()},
    }
    rows = []
    for found in summary.dynamics:
        separations = {each.conditions: each for each in found.separations}
        for step in found.steps:
            size = found.panels[found.steps.index(step)].num_examples
            cells = [_fill_separation(separations.get(pair), step, size) for pair in pairs]
            rows.append([*_fill_step(found, step), *cells])
    title = "Learning dynamics: differences (* from the step on at which the two separate)"
    return build_table("separations", title, columns, rows, (2, 2))


def _fill_step(found: Dynamics, step: int) -> list[Cell]:
    task = (f"{found.task} ({found.metric})", found.task, found.metric)
    return [(found.model, found.model), task, (f"{step:,}", str(step))]


def _fill_separation(separation: Separation | None, step: int, num_examples: int) -> Cell:
    difference = separation.differences.get(step) if separation else None
    if separation is None or difference is None:
        return *_LACKING, NA
    is_apart = separation.step is not None and step >= separation.step
    text = measure(difference.delta, "gain", num_examples, "*" * is_apart)
    return text, *list_interval(difference.delta), str(is_apart).lower()
