"""Learning dynamics: test scores of all seeds after several lengths of one pretraining, and from where on procedures differ.

Every checkpoint has the statistics of a table of its own, its intervals at a confidence that all of one line hold
together (Bonferroni: of m checkpoints each at 1 - alpha / m). So one may look for the place where a difference begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from selfpretrain.report.comparisons import Interval
from selfpretrain.report.findings import Dynamics, Panel, Separation, Summary
from selfpretrain.runs.results import MISSING, CellResult, StudyResults
from selfpretrain.study.conditions import OWN

Groups = dict[str, list[CellResult]]  # by condition
BuildPanel = Callable[[str, str, Groups, StudyResults], Panel]


def build_dynamics(results: StudyResults, build_panel: BuildPanel) -> list[Dynamics]:
    """One per model and task: a panel for every number of steps, the baseline in each of them."""
    by_step: dict[tuple[str, str], dict[int, Groups]] = {}
    for step, cell in results.checkpoints:
        groups = by_step.setdefault((cell.model, cell.task), {}).setdefault(step, {})
        groups.setdefault(cell.condition, []).append(cell)
    return [_build(*key, dict(sorted(steps.items())), results, build_panel) for key, steps in by_step.items()]


def _build(
    model: str, task: str, by_step: dict[int, Groups], results: StudyResults, build_panel: BuildPanel
) -> Dynamics:
    study, conditions = results.study, list(dict.fromkeys(name for groups in by_step.values() for name in groups))
    # conditions may differ in their steps: a family is one line's
    number = max(sum(name in groups for groups in by_step.values()) for name in conditions)
    together = replace(study, confidence=1 - (1 - study.confidence) / number)
    own = replace(results, study=together, overlaps={}, init_schemes={})
    baseline = [c for c in results.cells if (c.model, c.task, c.condition) == (model, task, study.baseline)]
    constant = {study.baseline: baseline} if baseline and study.baseline not in conditions else {}
    panels = [build_panel(model, task, constant | groups, own) for groups in by_step.values()]
    dynamics = Dynamics(
        model, task, panels[0].metric, [*by_step], number, conditions, panels, results.schedule_is_log, study.reference
    )
    for name in conditions:
        if name != study.baseline and (constant or study.baseline in conditions):
            dynamics.separations.append(_separate(dynamics, name, study.baseline))
    if (
        study.reference != OWN
        and study.baseline not in (OWN, study.reference)
        and {OWN, study.reference} <= {*conditions}
    ):
        dynamics.separations.append(_separate(dynamics, OWN, study.reference))
    dynamics.notes = list(_iter_lacking(by_step))
    return dynamics


def _separate(dynamics: Dynamics, first: str, second: str) -> Separation:
    found = {}
    for step, panel in zip(dynamics.steps, dynamics.panels, strict=True):
        if (entry := panel.find(first)) and panel.find(second):
            is_of_reference = (first, second) == (OWN, dynamics.reference)
            found[step] = panel.versus_reference if is_of_reference else entry.gain
    is_claim = not any(difference.is_of_checkpoints for difference in found.values() if difference)
    deltas = [difference.delta if difference else None for difference in found.values()]
    place = find_separation(deltas) if is_claim else None
    return Separation((first, second), found, None if place is None else [*found][place], is_claim)


def find_separation(deltas: Sequence[Interval | None]) -> int | None:
    """The first place from which on every interval lies on one side of 0, the same; None where the last does not."""
    sides = [0 if delta is None else int(delta.low > 0) - int(delta.high < 0) for delta in deltas]
    if not sides or not sides[-1]:
        return None
    return max((place + 1 for place, side in enumerate(sides) if side != sides[-1]), default=0)


def _iter_lacking(by_step: dict[int, Groups]) -> Iterator[str]:
    """Why fine-tunings are missing that nothing will make up for, a line for each condition."""
    lacking: dict[str, dict[int, int]] = {}
    for step, groups in by_step.items():
        for name, cells in groups.items():
            if number := sum(cell.status == MISSING and bool(cell.note) for cell in cells):
                lacking.setdefault(name, {})[step] = number
    for name, steps in lacking.items():
        listed = ", ".join(f"{step:,} ({number})" for step, number in steps.items())
        yield f"{name}: finished pretrainings that kept no encoder after so many steps (of how many seeds): {listed}"


def describe_separations(dynamics: Dynamics, summary: Summary) -> list[str]:
    """From which step on procedures differ: a line of evidence for each difference."""
    return [line for separation in dynamics.separations if (line := _describe(separation, dynamics, summary))]


def _describe(separation: Separation, dynamics: Dynamics, summary: Summary) -> str:
    scored = {step: found for step, found in separation.differences.items() if found}
    if not scored:
        return ""
    first, second = separation.conditions
    last, end = max(scored), max(dynamics.steps)
    rule = f"{dynamics.num_checkpoints} checkpoints, {summary.confidence:.0%} intervals that hold together"
    if not separation.is_claim:
        return f"dynamics: {first} - {second}: one seed tells of these checkpoints only"
    if separation.step is None:
        return f"dynamics: {first} and {second} do not separate up to step {last:,}: {scored[last].delta.format('gain')} ({rule})"
    found = scored[separation.step].delta
    side = "above" if found.point > 0 else "below"
    where = f"step {separation.step:,} of {end:,}"
    on = "at" if separation.step == last else "from"
    return f"dynamics: {first} is {side} {second} {on} {where}{' on' * (on == 'from')}: {found.format('gain')} there ({rule})"
