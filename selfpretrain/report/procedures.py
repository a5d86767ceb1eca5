"""Procedures seed by seed: pairs of conditions, and how far what a procedure does hangs on the text.

No sentence rests on them: all of a study's are one family for Holm's correction, by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from selfpretrain.config import StudyConfig
from selfpretrain.report.comparisons import Difference, compute_paired, correct, list_shared_seeds
from selfpretrain.report.findings import MARGIN, PairedDifference, Panel, Summary
from selfpretrain.runs.results import DONE, AlignedRuns, StudyResults
from selfpretrain.stats import Decision, Estimate, decide
from selfpretrain.study.pairs import Comparison, list_comparisons

PAIR, INTERACTION = (1, -1), (1, -1, -1, 1)  # weights of the conditions' scores
MORE, LESS, ALIKE, UNDECIDED = "more", "less", "alike", "undecided"  # of an interaction


def build_paired(summary: Summary, results: StudyResults) -> list[PairedDifference]:
    """Every comparison of every model and task that has all of its conditions, with p corrected and what may be said."""
    comparisons = list_comparisons(results.study.pairs, results.study.conditions)
    found = [each for panel in summary.panels for each in _build_panel(panel, comparisons, results)]
    correct(each.difference for each in found)
    num_claims = sum(each.difference is not None and each.difference.p is not None for each in found)
    margin = results.study.margin or MARGIN
    for each in found:
        if each.difference and each.is_interaction:
            each.outcome = judge_interaction(each.difference, margin, summary.alpha)
        elif each.difference:
            each.decision = _decide(each.difference, margin, summary.alpha, num_claims)
            each.outcome = each.decision.outcome
            if summary.is_crossed:  # so many seeds would be so many levels, of which factor is not told
                each.decision = replace(each.decision, needed_seeds=None, needed_examples=None)
    return found


def _build_panel(panel: Panel, comparisons: Sequence[Comparison], results: StudyResults) -> list[PairedDifference]:
    wanted = [each for each in comparisons if all(panel.find(condition) for condition in each.conditions)]
    if not wanted:
        return []
    names = {condition for each in wanted for condition in each.conditions}
    cells = [
        cell for cell in results.cells
        if (cell.model, cell.task, cell.status) == (panel.model, panel.task, DONE) and cell.condition in names
    ]  # fmt: skip
    aligned, _ = results.read_runs(cells, panel.task)
    aligned = aligned and aligned.leave_out(results.left_out.get(panel.task, frozenset()))
    return [_compare(each, panel, aligned, results) for each in wanted]


def _compare(
    comparison: Comparison, panel: Panel, aligned: AlignedRuns | None, results: StudyResults
) -> PairedDifference:
    found = PairedDifference(
        panel.model, panel.task, panel.metric, comparison.first, comparison.second, comparison.is_interaction
    )
    entries = [entry for condition in comparison.conditions if (entry := panel.find(condition))]
    if not found.is_interaction:
        flops = [results.pretrain_flops.get((panel.model, panel.task, entry.condition)) for entry in entries]
        found.flops = flops[0], flops[1]
    without = next((entry for entry in entries if entry.score is None), None)
    if without is not None or aligned is None:
        found.problem = f"{without.condition}: {without.state_text}" if without else "no runs"
        return found
    sides = [aligned.select(entry.condition) for entry in entries]
    return _fill(found, sides, results.study)


def _fill(found: PairedDifference, sides: Sequence[AlignedRuns], study: StudyConfig) -> PairedDifference:
    """With the numbers, and the seeds that a side lacks."""
    paired = compute_paired(sides, INTERACTION if found.is_interaction else PAIR, found.metric, study)
    every = {cell.pretrain_seed for side in sides for cell in side.cells}
    found.unpaired_seeds = sorted(every - list_shared_seeds(sides))
    if paired is None:
        found.problem = "no seed in common"
        return found
    found.difference, scores = paired.difference, paired.scores
    found.sides = (scores[0] - scores[1], scores[2] - scores[3]) if found.is_interaction else (scores[0], scores[1])
    return found


def _decide(difference: Difference, margin: float, alpha: float, num_claims: int) -> Decision:
    delta = difference.delta
    estimate = Estimate(delta.point, delta.low, delta.high, delta.point)
    variance, p = difference.variance, difference.p_holm
    return decide(estimate, variance, p, margin=margin, alpha=alpha, num_claims=num_claims)


def judge_interaction(difference: Difference, margin: float, alpha: float) -> str:
    """Whether a procedure does more or less on the first text than on the second, or alike: the interval within the margin."""
    if difference.p_holm is None:
        return "checkpoints only"
    if difference.is_clear(alpha):
        return MORE if difference.delta.point > 0 else LESS
    return ALIKE if -margin <= difference.delta.low and difference.delta.high <= margin else UNDECIDED


def list_unpaired(paired: Sequence[PairedDifference]) -> list[str]:
    """A line for each comparison whose conditions have not the same seeds."""
    return [
        f"{each.task}, {each.model}, {each.name}: without seed {', '.join(map(str, each.unpaired_seeds))}, of which a side has no run"
        for each in paired
        if each.unpaired_seeds
    ]
