"""Over many tasks: how often one condition is above another (:mod:`selfpretrain.stats.tallies`)."""

from __future__ import annotations

from collections.abc import Sequence

from selfpretrain.report.comparisons import Difference, to_interval
from selfpretrain.report.findings import Panel, Summary, TaskTally
from selfpretrain.report.means import choose_largest
from selfpretrain.stats import compute_equivalence, compute_holm
from selfpretrain.stats.tallies import compute_benjamini_hochberg, compute_improvement, count_signs
from selfpretrain.study.conditions import OWN

MIN_TASKS = 5  # with fewer the sign test's p is above .1 even where all have one sign


def build_tallies(summary: Summary) -> list[TaskTally]:
    """For each model each condition against the baseline, and own against the reference, where so many tasks have both."""
    panels: dict[str, list[Panel]] = {}
    for panel in summary.panels:
        panels.setdefault(panel.model, []).append(panel)
    tallies = []
    for model, of_model in panels.items():
        chosen = choose_largest(of_model)
        conditions = dict.fromkeys(entry.condition for panel in chosen for entry in panel.entries)
        pairs = [(condition, summary.baseline) for condition in conditions if condition != summary.baseline]
        pairs += [(OWN, summary.reference)] if summary.reference not in (OWN, summary.baseline) else []
        for condition, against in pairs:
            tally = _build_tally(model, condition, against, chosen, summary)
            tallies += [tally] if tally else []
    return tallies


def _build_tally(
    model: str, condition: str, against: str, panels: Sequence[Panel], summary: Summary
) -> TaskTally | None:
    found = [(panel, difference) for panel in panels if (difference := _find(panel, condition, against, summary))]
    if len(found) < MIN_TASKS:
        return None
    differences = [difference for _, difference in found]
    points = [difference.delta.point for difference in differences]
    counted = count_signs(points, summary.confidence)
    sides = [(_list_scores(panel, condition), _list_scores(panel, against)) for panel, _ in found]
    improvement = compute_improvement(sides, summary.confidence)
    tests = [(difference, difference.p) for difference in differences if difference.p is not None]
    adjusted = compute_benjamini_hochberg([p for _, p in tests])
    alpha = 1 - summary.confidence
    clear = [difference for difference in differences if difference.is_clear(alpha)]
    discovered = [difference for (difference, _), p in zip(tests, adjusted, strict=True) if p < alpha]
    return TaskTally(
        model, condition, against, len(found), counted.higher, counted.lower, to_interval(counted.share),
        counted.p_sign, counted.p_wilcoxon, to_interval(improvement), _split(clear), _split(discovered),
        None if against == summary.baseline else _count_equivalent([panel for panel, _ in found], alpha),
    )  # fmt: skip


def _count_equivalent(panels: Sequence[Panel], alpha: float) -> tuple[int, int] | None:
    """On how many tasks own equals the reference within the decision's margin, and of how many: two one-sided tests each,
    Holm-corrected over them. None where all are of checkpoints only.
    """
    p_values = [
        compute_equivalence((versus.delta.point, versus.variance), panel.decision.margin).p
        for panel in panels
        if (versus := panel.versus_reference) and panel.decision and not versus.is_of_checkpoints
    ]
    return (int((compute_holm(p_values) < alpha).sum()), len(p_values)) if p_values else None


def _find(panel: Panel, condition: str, against: str, summary: Summary) -> Difference | None:
    if against != summary.baseline:
        return panel.versus_reference
    entry = panel.find(condition)
    return entry.gain if entry else None


def _list_scores(panel: Panel, condition: str) -> list[float]:
    entry = panel.find(condition)
    return entry.singles if entry else []


def _split(differences: Sequence[Difference]) -> tuple[int, int]:
    """How many are above 0, and how many below."""
    return sum(each.delta.point > 0 for each in differences), sum(each.delta.point < 0 for each in differences)
