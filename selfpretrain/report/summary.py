"""Everything a report says, computed once; tables, plots and sentences only format it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.numbers import format_counted, format_score
from selfpretrain.report.comparisons import (
    Sampling,
    compute_difference,
    compute_score,
    compute_share,
    correct,
    get_seeds,
)
from selfpretrain.report.cross import build_crosses
from selfpretrain.report.findings import (
    PARTIAL,
    UNDEFINED,
    Entry,
    Panel,
    Summary,
    count_claims,
    list_claims,
)
from selfpretrain.report.verdict import compose_evidence, compose_verdict
from selfpretrain.runs.results import (
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
from selfpretrain.stats import METRICS, Estimate, decide
from selfpretrain.study.conditions import NONE, OWN, START, find_condition

MARGIN = 0.01  # one point of the metric
MARGIN_SHARE = 0.1  # of the reference's gain


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
        has_control = results.init_schemes.get(model) == START and START in cells and study.baseline != START
        overlap = frozenset(results.overlaps.get(task, ()))
        panels.append(_build_panel(model, results.tasks[task], cells, study, has_control, overlap, sampling))
    _correct_families(panels, study)
    num_claims = count_claims(panels, study.reference)
    for panel in panels:
        _decide(panel, study, num_claims)
    summary = Summary(
        results.name,
        study.baseline,
        study.reference,
        find_condition(study.reference).describe(study.general),
        study.confidence,
        study.num_replicates,
        panels,
        [],
        [],
        dict(results.facts),
    )
    summary.crosses = build_crosses(summary)
    summary.warnings = _collect_warnings(summary)
    for panel in panels:
        panel.verdict = compose_verdict(panel, summary)
        panel.evidence = compose_evidence(panel, summary)
    return summary


def _build_panel(
    model: str,
    task: TaskConfig,
    groups: dict[str, list[CellResult]],
    study: StudyConfig,
    has_control: bool,
    overlap: frozenset[str],
    sampling: Sampling,
) -> Panel:
    assert task.metric is not None, f"task {task.name} is not resolved"
    done = [cell for cells in groups.values() for cell in cells if cell.status == DONE]
    aligned, problems = read_runs(done, task)
    runs = {condition: _select(aligned, cells, problems) for condition, cells in groups.items()}
    panel = Panel(model, task.name, task.metric, 0, None, "", [], has_control)
    if aligned is not None:
        panel.num_examples = len(aligned.ids)
        panel.num_overlapping = sum(1 for example in aligned.ids if example in overlap)
        panel.blind_score, panel.blind_rule = METRICS[task.metric].compute_blind(aligned.labels)
    for condition, cells in groups.items():
        panel.entries.append(_build_entry(cells, problems, runs[condition], panel, sampling))
    # a condition with failures has no score, so it takes part in no comparison either
    comparable = {e.condition: r for e in panel.entries if e.score and (r := runs[e.condition]) is not None}
    baseline, reference = study.baseline, study.reference
    for entry in panel.entries:
        _compare(entry, comparable, panel.metric, baseline, reference, sampling)
        if has_control and entry.is_pretrained and {entry.condition, START} <= comparable.keys():
            entry.added = compute_difference(comparable[START], comparable[entry.condition], panel.metric, sampling)
        if panel.num_overlapping and entry.condition in comparable:
            entry.score_apart = _score_apart(comparable[entry.condition], panel.metric, overlap, sampling)
    own = comparable.get(OWN)
    if own is not None and reference != OWN and reference in comparable:
        panel.versus_reference = compute_difference(comparable[reference], own, panel.metric, sampling)
    return panel


def _score_apart(runs: AlignedRuns, metric: str, overlap: frozenset[str], sampling: Sampling) -> float | None:
    """The score on the test examples whose text is not in the training split; None where that is not defined."""
    kept = [place for place, example in enumerate(runs.ids) if example not in overlap]
    if not kept:
        return None
    ids = [runs.ids[place] for place in kept]
    apart = AlignedRuns(ids, runs.labels[kept], runs.predictions[:, kept], runs.cells)
    try:
        return compute_score(apart, metric, sampling)[0].point
    except UserError:  # what is left may have one class only
        return None


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
    first = cells[0]
    planned = len(cells) if find_condition(first.condition).is_released else len({cell.pretrain_seed for cell in cells})
    entry = Entry(
        panel.model,
        panel.task,
        first.condition,
        _decide_state(counts),
        {status: counts[status] for status in (DONE, FAILED, DIVERGED, RUNNING, MISSING)},
        len(runs.cells) if runs else 0,
        len(set(get_seeds(runs))) if runs else 0,
        planned,
        first.init_scheme if find_condition(first.condition).is_fresh else "",
    )
    entry.notes += _list_failures(cells, statuses, problems)
    if runs is None:
        return entry
    try:
        score, run_scores, notes = compute_score(runs, panel.metric, sampling)
    except UserError as error:  # an undefined metric concerns this condition, not the rest of the report
        entry.state = UNDEFINED
        entry.notes.append(f"{panel.metric} has no value: {error}")
        return entry
    entry.notes += notes
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


def _correct_families(panels: list[Panel], study: StudyConfig) -> None:
    """Holm over each family of comparisons.

    The first is what the sentences draw on: own and the reference against the baseline, own against the reference.
    The other conditions against the baseline, those against their start, and the texts of other tasks are families by
    themselves: no sentence rests on them.
    """
    entries = [entry for panel in panels for entry in panel.entries]
    _correct_family(list_claims(panels, study.reference))
    for is_cross in (False, True):
        others = [e for e in entries if e.is_cross == is_cross]
        _correct_family([(e, "gain") for e in others if e.condition not in (OWN, study.reference)])
        _correct_family([(e, "added") for e in others])


def _correct_family(members: Sequence[tuple[Entry | Panel, str]]) -> None:
    """Put the corrected p into each difference, given as the object that holds it and the name it has there."""
    found = [(holder, name, d) for holder, name in members if (d := getattr(holder, name)) is not None]
    for (holder, name, _), corrected in zip(found, correct([d for _, _, d in found]), strict=True):
        setattr(holder, name, corrected)


def _decide(panel: Panel, study: StudyConfig, num_claims: int) -> None:
    """Own against the reference, by the rules of :func:`selfpretrain.stats.decide`."""
    versus = panel.versus_reference
    if versus is None:
        return
    alpha = 1 - study.confidence
    margin, panel.margin_rule = _choose_margin(panel, study, alpha)
    panel.decision = decide(
        Estimate(versus.delta.point, versus.delta.low, versus.delta.high, versus.delta.point),
        versus.variance,
        versus.p_holm,
        margin=margin,
        alpha=alpha,
        num_claims=num_claims,
    )


def _choose_margin(panel: Panel, study: StudyConfig, alpha: float) -> tuple[float, str]:
    """How much worse than the reference still counts as not worse, and where that comes from."""
    if study.margin is not None:
        return study.margin, "study.margin"
    reference = panel.find(study.reference)
    gain = reference.gain if reference else None
    if gain is not None and gain.is_clear(alpha) and gain.delta.point > 0:
        return MARGIN_SHARE * gain.delta.point, f"{MARGIN_SHARE:.0%} of the reference's gain, which is clear"
    return MARGIN, "one point, since no gain of the reference is clear"


def _collect_warnings(summary: Summary) -> list[str]:
    """What a reader must know before trusting the numbers, one line each."""
    warnings = []
    entries = [entry for panel in summary.panels for entry in panel.entries]
    for entry in entries:
        warnings += [f"{entry.task}, {entry.model}, {entry.condition}: {note}" for note in entry.notes]
    warnings += [
        f"{entry.task}, {entry.model}: {NONE} began at the structured start, which scored better on validation"
        for entry in entries
        if entry.condition == NONE and entry.start == START
    ]
    unfinished = sum(entry.counts[MISSING] + entry.counts[RUNNING] for entry in entries)
    if unfinished:
        warnings.append(f"{format_counted(unfinished, 'run')} not finished: the same study command continues")
    if any(entry.score and entry.num_seeds == 1 and not entry.is_conditional for entry in entries):
        warnings.append(
            "one pretraining seed: differences hold for these checkpoints only, and their intervals leave out the chance "
            "of pretraining; study.pretrain_seeds=5 would tell of the procedures"
        )
    if any(entry.score and entry.is_conditional for entry in entries):
        warnings.append(
            "a released checkpoint is one pretraining: what is said of it is conditional on that checkpoint"
        )
    warnings += [_describe_overlap(panel) for panel in summary.panels if panel.num_overlapping]
    return warnings


def _describe_overlap(panel: Panel) -> str:
    apart = [f"{e.condition} {format_score(e.score_apart)}" for e in panel.entries if e.score_apart is not None]
    texts = f"{panel.num_overlapping} of {panel.num_examples} test texts are in the training split, too"
    scores = f"; without them: {', '.join(apart)}" if apart else ""
    return f"{panel.task}, {panel.model}: {texts}{scores}"
