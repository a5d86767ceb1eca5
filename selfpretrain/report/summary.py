"""Everything a report says, computed once; tables, plots and sentences only format it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from selfpretrain.config import StudyConfig, UserError
from selfpretrain.kinds import get_kind
from selfpretrain.numbers import format_counted, format_score
from selfpretrain.report.analyses import analyse
from selfpretrain.report.averages import build_averages
from selfpretrain.report.comparisons import (
    compute_difference,
    compute_score,
    compute_share,
    correct,
    get_seeds,
    list_seeds,
)
from selfpretrain.report.cross import build_crosses
from selfpretrain.report.curves import build_label_curves, build_token_curves
from selfpretrain.report.dynamics import build_dynamics, describe_separations
from selfpretrain.report.findings import MARGIN, PARTIAL, UNDEFINED, Entry, Panel, Summary
from selfpretrain.report.procedures import build_paired, list_unpaired
from selfpretrain.report.published import build_published
from selfpretrain.report.tallies import build_tallies
from selfpretrain.report.transfers import build_transfers
from selfpretrain.report.variance import find_sources, set_detectable
from selfpretrain.report.verdict import compose
from selfpretrain.runs.results import (
    ABSENT,
    DIVERGED,
    DONE,
    FAILED,
    MISSING,
    RUNNING,
    STATUSES,
    AlignedRuns,
    CellResult,
    StudyResults,
)
from selfpretrain.sources.splits import MIN_ROWS
from selfpretrain.stats import METRICS, Estimate, decide
from selfpretrain.study.conditions import NONE, OWN, START, find_condition, make_own_of

MARGIN_SHARE = 0.1  # of the reference's gain


def summarize(results: StudyResults) -> Summary:
    """Compute every number of the report; with ``study.exclude_overlap`` again without the test examples that are held.

    Raises:
        UserError: no cells; runs of one task that hold different examples.
    """
    summary = _summarize(results)
    if results.study.exclude_overlap:
        _exclude_overlap(summary, results)
    return summary


def _summarize(results: StudyResults) -> Summary:
    study = results.study
    if not results.cells:
        raise UserError(f"study={study.name} has no cells to report; set study.models, tasks and study.conditions")
    groups: dict[tuple[str, str], dict[str, list[CellResult]]] = {}
    for cell in results.cells:
        groups.setdefault((cell.model, cell.task), {}).setdefault(cell.condition, []).append(cell)
    summary = Summary(
        study.name,
        study.baseline,
        study.reference,
        find_condition(study.reference).describe(study.general),
        study.confidence,
        study.num_replicates,
        [_build_panel(model, task, cells, results) for (model, task), cells in groups.items()],
        dict(results.facts),
        chance=results.chance,
        seed_factors=dict(study.seed_factors or {}),
        citations=list(results.citations),
    )
    _correct_families(summary)
    set_detectable(summary)
    for panel in summary.panels:
        _decide(panel, summary, study.margin)
    summary.crosses = build_crosses(summary)
    summary.averages = build_averages(summary, results.tasks)
    summary.tallies = build_tallies(summary)
    summary.procedures = build_paired(summary, results)
    summary.transfers = build_transfers(results, _build_panel)
    summary.published = build_published(summary, results)
    summary.curves = [*build_label_curves(summary.panels), *build_token_curves(results)]
    summary.dynamics = build_dynamics(results, _build_panel)
    summary.warnings = _collect_warnings(summary)
    analyse(summary, results)
    for panel in summary.panels:
        panel.verdict, panel.evidence = compose(panel, summary)
        for found in summary.dynamics:
            if (found.model, found.task) == (panel.model, panel.task):
                panel.evidence += describe_separations(found, summary)
    return summary


def _exclude_overlap(summary: Summary, results: StudyResults) -> None:
    """Add the numbers without the test examples that a text holds, the same for all conditions of a task, and to each
    panel's evidence whether its sentence is another then.
    """
    sizes = {panel.task: panel.num_examples for panel in summary.panels if panel.num_examples}
    held = {key: frozenset(chain.from_iterable(results.held[key].values())) for key in sizes}
    left_out = {key: examples for key, examples in held.items() if sizes[key] - len(examples) >= MIN_ROWS}
    if any(left_out.values()):
        summary.without_overlap = _summarize(results.leave_out(left_out))
    others = summary.without_overlap.panels if summary.without_overlap else []
    verdicts = {(panel.model, panel.task): panel.verdict for panel in others}
    for panel in summary.panels:
        if panel.task in held:
            verdict = verdicts.get((panel.model, panel.task))
            panel.evidence.append(_describe_held(panel, results.held[panel.task], len(held[panel.task]), verdict))


def _describe_held(panel: Panel, by_text: Mapping[str, Sequence[str]], num_held: int, verdict: str | None) -> str:
    """What was left out, and the sentence without it, which is None where too little is left."""
    if not num_held:
        return f"overlap: no test example is held by any of {', '.join(by_text)}"
    counts = ", ".join(f"{name} {len(examples):,}" for name, examples in by_text.items())
    left_out = f"{num_held:,} of {panel.num_examples:,} test examples that a text holds ({counts})"
    if verdict is None:
        return f"overlap: without the {left_out} fewer than {MIN_ROWS} are left, too few to test on"
    same = "the same sentence" if verdict == panel.verdict else verdict.partition(": ")[2]
    return f"overlap: without the {left_out}: {same}"


def _build_panel(model: str, key: str, groups: dict[str, list[CellResult]], results: StudyResults) -> Panel:
    task = results.tasks[key]
    metric = task.metric or get_kind(task.label_kind).metrics[0]  # of a card whose data would say it
    study, overlap = results.study, frozenset(results.overlaps.get(key, ()))
    done = [cell for cells in groups.values() for cell in cells if cell.status == DONE]
    aligned, problems = results.read_runs(done, key)
    aligned = aligned and aligned.leave_out(results.left_out.get(key, frozenset()))
    has_control = results.init_schemes.get(model) == START and START in groups and study.baseline != START
    panel = Panel(model, key, task.name, results.num_labels.get(key, 0), metric, 0, None, "", [], has_control)
    runs: dict[str, AlignedRuns] = {}
    if aligned is not None:
        panel.num_examples = len(aligned.ids)
        panel.num_groups = None if aligned.groups is None else len(set(aligned.groups.tolist()))
        panel.num_overlapping = sum(1 for example in aligned.ids if example in overlap)
        panel.blind_score, panel.blind_rule = METRICS[metric].compute_blind(aligned.labels)
        runs = {name: aligned.select(name) for name in {cell.condition for cell in aligned.cells}}
    for condition, cells in groups.items():
        cells = [replace(c, status=FAILED, note=problems[c.run_id]) if c.run_id in problems else c for c in cells]
        panel.entries.append(_build_entry(cells, runs.get(condition), panel, study))
    # a condition with failures has no score, so it takes part in no comparison either
    comparable = {entry.condition: runs[entry.condition] for entry in panel.entries if entry.score}
    for entry in panel.entries:
        if entry.condition in comparable:
            _compare(entry, panel, comparable, study)
            if panel.num_overlapping:
                entry.score_apart = _score_apart(comparable[entry.condition], panel.metric, overlap, study)
    if aligned is not None:
        panel.pooled = _pool_others(panel, aligned, comparable, study)
    if study.reference != OWN and {OWN, study.reference} <= comparable.keys():
        sides = comparable[study.reference], comparable[OWN]
        panel.versus_reference = compute_difference(*sides, panel.metric, study)
    return panel


def _score_apart(runs: AlignedRuns, metric: str, overlap: frozenset[str], study: StudyConfig) -> float | None:
    """The score on the test examples whose text is not in the training split; None where that is not defined."""
    apart = runs.leave_out(overlap)
    if not apart.ids:
        return None
    try:
        return compute_score(apart, metric, study).interval.point
    except UserError:  # what is left may have one class only
        return None


def _build_entry(cells: list[CellResult], runs: AlignedRuns | None, panel: Panel, study: StudyConfig) -> Entry:
    counts = {status: sum(cell.status == status for cell in cells) for status in STATUSES}
    state = next(status for status in STATUSES if counts[status])
    condition = find_condition(cells[0].condition)
    entry = Entry(
        panel.model,
        panel.task,
        condition.key,
        PARTIAL if state == DONE and counts[RUNNING] + counts[MISSING] else state,
        counts,
        num_runs=len(runs.cells) if runs else 0,
        num_seeds=len(set(get_seeds(runs))) if runs else 0,
        num_seeds_planned=len(set(list_seeds(cells))),
        start=cells[0].init_scheme if condition.is_fresh else "",
        notes=_list_failures(cells),
    )
    if runs is None:
        return entry
    try:
        found = compute_score(runs, panel.metric, study)
    except UserError as error:  # an undefined metric concerns this condition, not the rest of the report
        entry.state = UNDEFINED
        entry.notes.append(f"{panel.metric} has no value: {error}")
        return entry
    entry.notes += found.notes
    entry.run_scores = _list_scores(runs, found.singles)
    if entry.state in (DONE, PARTIAL):
        assert panel.blind_score is not None
        entry.score, entry.learned = found.interval, found.interval.low > panel.blind_score
        entry.examples_variance = found.examples_variance
        try:
            entry.sources, entry.interaction_variance = find_sources(runs, panel.metric, study)
        except UserError as error:  # of a crossed design some runs are missing; its score stands all the same
            entry.notes.append(f"where its variance lies cannot be told: {error}")
    else:
        listed = ", ".join(format_score(value) for value in found.singles)
        others = format_counted(len(found.singles), "run")
        entry.notes.append(f"the other {others} scored {listed}; no mean is shown: it would hide the failures")
    return entry


def _list_scores(runs: AlignedRuns, singles: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "pretrain_seed": cell.pretrain_seed,
            "finetune_seed": cell.finetune_seed,
            "score": value,
            "run_id": cell.run_id,
        }
        | ({"levels": cell.levels} if cell.levels else {})
        for cell, value in zip(runs.cells, singles, strict=True)
    ]


def _pool_others(
    panel: Panel, aligned: AlignedRuns, comparable: dict[str, AlignedRuns], study: StudyConfig
) -> Entry | None:
    """Several other tasks' texts as one procedure; None unless all have a score, of the same seeds."""
    keys = [entry.condition for entry in panel.others]
    seeds = {
        frozenset((c.pretrain_seed, c.finetune_seed) for c in comparable[key].cells)
        for key in keys
        if key in comparable
    }
    if len(keys) < 2 or not comparable.keys() >= set(keys) or len(seeds) > 1:
        return None
    runs = aligned.select(*keys)
    found, key = compute_score(runs, panel.metric, study), make_own_of("others").key
    num_seeds = len(set(get_seeds(runs)))
    pooled = Entry(panel.model, panel.task, key, DONE, {DONE: len(runs.cells)}, len(runs.cells), num_seeds, num_seeds)
    pooled.run_scores, pooled.score, pooled.examples_variance = (
        _list_scores(runs, found.singles),
        found.interval,
        found.examples_variance,
    )
    _compare(pooled, panel, {**comparable, key: runs}, study)
    return pooled


def _list_failures(cells: list[CellResult]) -> list[str]:
    """One line per reason, with the seeds it struck; of what cannot be run, the reason alone."""
    if cells[0].status == ABSENT:
        return [cells[0].note]
    seeds: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.status in (FAILED, DIVERGED):
            reason = (cell.note or "no reason was written down").splitlines()[0]
            seeds.setdefault((cell.status, reason), []).append(f"{cell.pretrain_seed}.{cell.finetune_seed}")
    return [
        f"{len(struck)} of {len(cells)} runs {status} (seeds {', '.join(struck)}): {reason}"
        for (status, reason), struck in seeds.items()
    ]


def _compare(entry: Entry, panel: Panel, runs: dict[str, AlignedRuns], study: StudyConfig) -> None:
    """Gain over the baseline, share of the reference's gain, and what is added to the start."""
    own, metric = runs[entry.condition], panel.metric
    begins_there = own.cells[0].init_scheme == START or not entry.about.procedures  # which may begin at another start
    if panel.has_control and entry.about.is_from_nothing and begins_there and START in runs:
        entry.added = compute_difference(runs[START], own, metric, study)
    if entry.condition == study.baseline:
        return
    lacking = [condition for condition in (study.baseline, study.reference) if condition not in runs]
    if study.baseline in runs:
        entry.gain = compute_difference(runs[study.baseline], own, metric, study)
    if lacking:
        entry.benefit_reason = f"no score of {lacking[0]} to compare with"
    elif entry.condition != study.reference:
        sides = runs[study.baseline], own, runs[study.reference]
        entry.benefit, entry.benefit_reason, entry.covariances = compute_share(*sides, metric, study)
        entry.benefit_undefined = entry.benefit is None


def _correct_families(summary: Summary) -> None:
    """Holm over each family of comparisons: first what the sentences rest on.

    The other conditions against the baseline, those against their start, and the texts of other tasks are families by
    themselves: no sentence rests on them.
    """
    correct(summary.list_claims())
    for is_cross in (False, True):
        others = [e for e in summary.entries if (e.about.text_of is not None) == is_cross]
        correct(e.gain for e in others if e.condition not in (OWN, summary.reference))
        correct(e.added for e in others)


def _decide(panel: Panel, summary: Summary, margin: float | None) -> None:
    """Own against the reference, by the rules of :func:`selfpretrain.stats.decide`."""
    if (versus := panel.versus_reference) is None:
        return
    reference, alpha = panel.find(summary.reference), summary.alpha
    gain = reference.gain if reference else None
    if margin is not None:
        panel.margin_rule = "study.margin"
    elif gain and gain.is_clear(alpha) and gain.delta.point > 0:
        margin = MARGIN_SHARE * gain.delta.point
        panel.margin_rule = f"{MARGIN_SHARE:.0%} of the reference's gain, which is clear"
    else:
        margin, panel.margin_rule = MARGIN, "one point, since no gain of the reference is clear"
    delta = Estimate(versus.delta.point, versus.delta.low, versus.delta.high, versus.delta.point)
    num_claims = len(summary.list_claims())
    panel.decision = decide(delta, versus.variance, versus.p_holm, margin=margin, alpha=alpha, num_claims=num_claims)
    if summary.is_crossed:  # so many seeds would be so many levels, of which factor is not told
        panel.decision = replace(panel.decision, needed_seeds=None, needed_examples=None)


def _collect_warnings(summary: Summary) -> list[str]:
    """What a reader must know before trusting the numbers, one line each."""
    entries = summary.entries
    warnings = _list_gaps(summary)
    warnings += [
        f"{e.task}, {e.model}, {e.condition}: {note}" for e in entries if e.state != ABSENT for note in e.notes
    ]
    for transfer in summary.transfers:
        warnings += [f"{transfer.test_set} is missing: {transfer.problem}"] if transfer.problem else []
        unscored = [(panel, entry) for panel in transfer.panels for entry in panel.entries]
        warnings += [f"{e.task} on {p.card}, {e.model}, {e.condition}: {note}" for p, e in unscored for note in e.notes]
    warnings += [
        f"{entry.task}, {entry.model}: {NONE} began at the structured start, which scored better on validation"
        for entry in entries
        if entry.condition == NONE and entry.start == START
    ]
    warnings += list_unpaired(summary.procedures)
    for found in summary.dynamics:
        noted = [f"{e.condition} after {s:,} steps: {n}" for s, p in zip(found.steps, found.panels, strict=True)
                 for e in p.entries if e.condition in found.conditions and s < found.steps[-1] for n in e.notes]  # fmt: skip
        warnings += [f"{found.task}, {found.model}, {note}" for note in [*found.notes, *noted]]
    unfinished = sum(entry.counts[MISSING] + entry.counts[RUNNING] for entry in entries)
    if unfinished:
        warnings.append(f"{format_counted(unfinished, 'run')} not finished: the same study command continues")
    if any(entry.score and entry.num_seeds == 1 and not entry.about.is_released for entry in entries):
        warnings.append(
            "one pretraining seed: differences hold for these checkpoints only, and their intervals leave out the chance "
            "of pretraining; study.pretrain_seeds=5 would tell of the procedures"
        )
    if any(entry.score and entry.about.from_released for entry in entries):
        warnings.append(
            "a released checkpoint is one pretraining: what is said of it is conditional on that checkpoint"
        )
    for panel in summary.panels:
        if panel.num_overlapping:
            apart = [f"{e.condition} {format_score(e.score_apart)}" for e in panel.entries if e.score_apart is not None]
            texts = f"{panel.num_overlapping} of {panel.num_examples} test texts are in the training split, too"
            scores = f"; without them: {', '.join(apart)}" if apart else ""
            warnings.append(f"{panel.task}, {panel.model}: {texts}{scores}")
    return warnings


def _list_gaps(summary: Summary) -> list[str]:
    """What is missing: each task once, and each condition that wants the text of such a one."""
    gaps = dict.fromkeys(
        f"{panel.task if panel.is_absent else entry.condition}: {entry.state_text}"
        for panel in summary.panels
        for entry in panel.entries
        if entry.state == ABSENT
    )
    advice = (
        "what is missing counts nowhere; the facts of its data say how to get it, and the same study command goes on"
    )
    return [*gaps, advice] if gaps else []
