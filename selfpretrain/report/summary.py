"""Everything a report says, computed once; tables, plots and sentences only format it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.report.comparisons import (
    Sampling,
    compute_blind_score,
    compute_difference,
    compute_score,
    compute_share,
    correct,
    find_weakest_link,
    get_seeds,
)
from selfpretrain.report.cross import build_crosses
from selfpretrain.report.findings import CROSS_PREFIX, NONE, OWN, PARTIAL, START, UNDEFINED, Entry, Panel, Summary
from selfpretrain.report.numbers import format_counted, format_score
from selfpretrain.report.verdict import compose_verdict
from selfpretrain.study.results import (
    DIVERGED,
    DONE,
    FAILED,
    MISSING,
    RUNNING,
    AlignedRuns,
    CellResult,
    StudyResults,
    read_runs,
)


def summarize(results: StudyResults) -> Summary:
    """Compute every number of the report.

    Raises:
        UserError: no cells; runs of one task that hold different examples.
    """
    study = results.study
    if not results.cells:
        raise UserError(f"study={results.name} has no cells to report; set study.models, tasks and study.conditions")
    sampling = Sampling(study.num_replicates, study.confidence)
    groups: dict[tuple[str, str], dict[str, list[CellResult]]] = {}
    for cell in results.cells:
        groups.setdefault((cell.model, cell.task), {}).setdefault(cell.condition, []).append(cell)
    panels = []
    for (model, task), cells in groups.items():
        start_differs = results.init_schemes.get(model) == START and study.baseline == NONE
        panels.append(_build_panel(model, results.tasks[task], cells, study, start_differs, sampling))
    _correct_families(panels)
    summary = Summary(
        results.name,
        study.baseline,
        study.reference,
        _name_reference(study.reference, study.general),
        study.confidence,
        study.num_replicates,
        panels,
        [],
        [],
        dict(results.facts),
    )
    summary.crosses = build_crosses(summary)
    summary.warnings = _collect_warnings(summary) + _explain_starts(panels, study)
    for panel in panels:
        panel.verdict = compose_verdict(panel, summary)
    return summary


def _name_reference(condition: str, general: str) -> str:
    names = {"bookwiki": "BookWiki", "auto": "the general text"}
    if condition == "bookwiki":
        return names.get(general, f"the general text ({general})")
    if condition == "bookwiki_sized":
        return f"a slice of {names.get(general, f'the general text ({general})')} as large as the own text"
    return {"offshelf": "the released checkpoint", "mimetic": "the structured start"}.get(condition, condition)


def _build_panel(
    model: str,
    task: TaskConfig,
    groups: dict[str, list[CellResult]],
    study: StudyConfig,
    start_differs: bool,
    sampling: Sampling,
) -> Panel:
    assert task.metric is not None, f"task {task.name} is not resolved"
    done = [cell for cells in groups.values() for cell in cells if cell.status == DONE]
    aligned, problems = read_runs(done, task)
    runs = {condition: _select(aligned, cells, problems) for condition, cells in groups.items()}
    panel = Panel(model, task.name, task.metric, 0, None, "", [], start_differs)
    if aligned is not None:
        panel.num_examples = len(aligned.ids)
        panel.blind_score, panel.blind_rule = compute_blind_score(task.metric, aligned.labels)
    for condition, cells in groups.items():
        panel.entries.append(_build_entry(cells, problems, runs[condition], panel, sampling))
    # a condition with failures has no score, so it takes part in no comparison either
    comparable = {e.condition: r for e in panel.entries if e.score and (r := runs[e.condition]) is not None}
    baseline, reference = study.baseline, study.reference
    for entry in panel.entries:
        _compare(entry, comparable, panel.metric, baseline, reference, sampling)
        if start_differs and entry.is_pretrained:
            _compare_with_start(entry, comparable, panel, reference, sampling)
    own = comparable.get(OWN)
    if own is not None and reference != OWN and reference in comparable:
        panel.versus_reference = compute_difference(comparable[reference], own, panel.metric, sampling)
    other = comparable.get(reference if reference in comparable else baseline)
    if own is not None and other is not None and other is not own:
        panel.weakest_link = find_weakest_link(other, own, panel.metric, sampling)
    return panel


def _select(aligned: AlignedRuns | None, cells: list[CellResult], problems: dict[str, str]) -> AlignedRuns | None:
    """The runs of one condition."""
    wanted = {id(cell) for cell in cells if cell.run_id not in problems}
    rows = [] if aligned is None else [row for row, cell in enumerate(aligned.cells) if id(cell) in wanted]
    if aligned is None or not rows:
        return None
    return AlignedRuns(aligned.ids, aligned.labels, aligned.predictions[rows], tuple(aligned.cells[r] for r in rows))


def _build_entry(
    cells: list[CellResult], problems: dict[str, str], runs: AlignedRuns | None, panel: Panel, sampling: Sampling
) -> Entry:
    statuses = [FAILED if cell.status == DONE and cell.run_id in problems else cell.status for cell in cells]
    counts = Counter(statuses)
    seeds = set(get_seeds(runs)) if runs else set()
    first = cells[0]
    planned = 1 if first.condition == "offshelf" else len({cell.pretrain_seed for cell in cells})
    entry = Entry(
        panel.model,
        panel.task,
        first.condition,
        _decide_state(counts),
        {status: counts[status] for status in (DONE, FAILED, DIVERGED, RUNNING, MISSING)},
        len(runs.cells) if runs else 0,
        len(seeds),
        planned,
    )
    entry.notes += _list_failures(cells, statuses, problems)
    if runs is None:
        return entry
    try:
        score, run_scores = compute_score(runs, panel.metric, sampling)
    except UserError as error:  # an undefined metric concerns this condition, not the rest of the report
        entry.state = UNDEFINED
        entry.notes.append(f"{panel.metric} has no value: {error}")
        return entry
    entry.run_scores = [
        {"pretrain_seed": cell.pretrain_seed, "finetune_seed": cell.finetune_seed, "score": value}
        for cell, value in zip(runs.cells, run_scores, strict=True)
    ]
    if entry.state in (DONE, PARTIAL):
        assert panel.blind_score is not None
        entry.score, entry.learned = score, score.low > panel.blind_score
    else:
        listed = ", ".join(format_score(value) for value in run_scores)
        others = format_counted(len(run_scores), "run")
        entry.notes.append(f"the other {others} scored {listed}; no mean is shown: it would hide the failures")
    return entry


def _list_failures(cells: list[CellResult], statuses: list[str], problems: dict[str, str]) -> list[str]:
    """One line per reason, with the seeds it struck."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for cell, status in zip(cells, statuses, strict=True):
        if status in (FAILED, DIVERGED):
            reason = (problems.get(cell.run_id) or cell.note or "no reason was written down").splitlines()[0]
            seeds.setdefault((status, reason), []).append(f"{cell.pretrain_seed}.{cell.finetune_seed}")
    return [
        f"{len(struck)} of {len(cells)} runs {status} (seeds {', '.join(struck)}): {reason}"
        for (status, reason), struck in seeds.items()
    ]


def _decide_state(counts: Counter[str]) -> str:
    if counts[FAILED] or counts[DIVERGED]:
        return FAILED if counts[FAILED] else DIVERGED
    if not counts[DONE]:
        return RUNNING if counts[RUNNING] else MISSING
    return PARTIAL if counts[MISSING] or counts[RUNNING] else DONE


def _compare(
    entry: Entry, runs: dict[str, AlignedRuns], metric: str, baseline: str, reference: str, sampling: Sampling
) -> None:
    """Gain over the baseline and share of the reference's gain."""
    own = runs.get(entry.condition)
    if own is None or entry.condition == baseline:
        return
    if baseline not in runs:
        entry.benefit_reason = f"no score of {baseline} to compare with"
        return
    entry.gain = compute_difference(runs[baseline], own, metric, sampling)
    if entry.condition == reference:
        return
    if reference not in runs:
        entry.benefit_reason = f"no score of {reference} to compare with"
        return
    entry.benefit, entry.benefit_reason = compute_share(runs[baseline], own, runs[reference], metric, sampling)
    entry.benefit_undefined = entry.benefit is None


def _compare_with_start(
    entry: Entry, runs: dict[str, AlignedRuns], panel: Panel, reference: str, sampling: Sampling
) -> None:
    """What pretraining added to the start it began at, and the share of what the reference added to it."""
    own, start = runs.get(entry.condition), runs.get(START)
    if own is None or start is None:
        return
    entry.added = compute_difference(start, own, panel.metric, sampling)
    shared = panel.find(reference)
    if shared is not None and shared.is_pretrained and shared is not entry and reference in runs:
        entry.added_share, _ = compute_share(start, own, runs[reference], panel.metric, sampling)


def _correct_families(panels: list[Panel]) -> None:
    """Holm over each family: conditions against the baseline and against their start, own against the reference.

    The texts of other tasks make families of their own.
    """
    entries = [entry for panel in panels for entry in panel.entries]
    for is_cross in (False, True):
        family = [entry for entry in entries if entry.condition.startswith(CROSS_PREFIX) == is_cross]
        _correct_family(family, "gain")
        _correct_family(family, "added")
    _correct_family(panels, "versus_reference")


def _correct_family(holders: Sequence[Entry | Panel], name: str) -> None:
    """Put the corrected p into the difference of this name of each holder that has one."""
    found = [(holder, difference) for holder in holders if (difference := getattr(holder, name)) is not None]
    for (holder, difference), p in zip(found, correct([difference.p for _, difference in found]), strict=True):
        setattr(holder, name, dataclasses.replace(difference, p_holm=p))


def _explain_starts(panels: list[Panel], study: StudyConfig) -> list[str]:
    """Where pretraining begins at another start than the baseline and the control is missing: what would tell."""
    models: dict[str, list[str]] = {}
    for panel in panels:
        if panel.start_differs and panel.find(NONE) and not panel.find(START):
            models.setdefault(panel.model, []).extend(entry.condition for entry in panel.entries if entry.is_pretrained)
    asked = [condition for condition in study.conditions if not (study.cross and condition.startswith(CROSS_PREFIX))]
    asked.insert(asked.index(NONE) + 1 if NONE in asked else 0, START)
    return [
        f"{model}: {', '.join(dict.fromkeys(pretrained))} begin at the structured start, {NONE} at the usual one, so a "
        f"difference to {NONE} is that of start and pretraining together; study.conditions=[{','.join(asked)}] would "
        "separate the two"
        for model, pretrained in models.items()
        if pretrained
    ]


def _collect_warnings(summary: Summary) -> list[str]:
    """What a reader must know before trusting the numbers, one line each."""
    warnings = []
    entries = [entry for panel in summary.panels for entry in panel.entries]
    for entry in entries:
        warnings += [f"{entry.task}, {entry.model}, {entry.condition}: {note}" for note in entry.notes]
    unfinished = sum(entry.counts[MISSING] + entry.counts[RUNNING] for entry in entries)
    if unfinished:
        warnings.append(f"{format_counted(unfinished, 'run')} not finished: the same study command continues")
    scored = [entry.num_seeds for entry in entries if entry.score and entry.condition != "offshelf"]
    if scored and min(scored) == 1:
        warnings.append("one pretraining seed: the intervals leave out the chance of pretraining and are too narrow")
    elif scored and min(scored) < 5:
        warnings.append(
            f"{min(scored)} pretraining seeds: the bootstrap understates the variance between them by a factor of "
            f"{min(scored) - 1}/{min(scored)}, so the intervals are somewhat too narrow"
        )
    num_tests = sum(1 for entry in entries if entry.gain and not entry.condition.startswith(CROSS_PREFIX))
    smallest = 2 * num_tests / summary.num_replicates
    if smallest >= summary.alpha:
        needed = int(-(-4 * num_tests // summary.alpha))
        warnings.append(
            f"with {num_tests} comparisons and {summary.num_replicates} replicates the smallest corrected p is "
            f"{smallest:.2g}: set study.num_replicates={needed}"
        )
    return warnings
