"""The tables of a summary as rows; ``render`` gives them their forms."""

from __future__ import annotations

from dataclasses import dataclass

from selfpretrain.numbers import (
    format_interval,
    format_p,
    format_percent_interval,
    format_score,
    format_signed,
    format_whole,
)
from selfpretrain.report.comparisons import Difference, Interval
from selfpretrain.report.findings import Cross, CrossCell, Entry, Panel, Summary, count_claims
from selfpretrain.study.conditions import OWN, START

NOT_APPLICABLE = "-"
CSV_NOT_APPLICABLE = "NA"
P_COLUMNS = ("p", "p_holm", "scope")
CHECKPOINTS_ONLY = "these checkpoints only"
BENEFIT_COLUMNS = ("benefit_percent", "benefit_low", "benefit_high")


@dataclass(frozen=True)
class Table:
    """Formatted cells, and the same rows as bare numbers for CSV."""

    name: str  # stem of the files
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int  # from the left: text; the others are right-aligned
    num_group_columns: int  # from the left: equal cells here make one group in the terminal
    csv_header: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]


def build_tables(summary: Summary) -> list[Table]:
    """All tables of a study: the scores, what is the start's, own against the reference, the cross-task matrices."""
    tables = [build_score_table(summary)]
    if any(panel.has_control for panel in summary.panels):
        tables.append(build_start_table(summary))
    if any(panel.find(OWN) and panel.find(summary.reference) for panel in summary.panels) and summary.reference != OWN:
        tables.append(build_reference_table(summary))
    return tables + [build_cross_table(cross, summary) for cross in summary.crosses]


# the rows


def build_score_table(summary: Summary) -> Table:
    """One row per model, task and condition; conditions own_of:<task> stand in the matrix instead."""
    rows, numbers = [], []
    for panel in summary.panels:
        for entry in panel.entries:
            if not entry.is_cross:
                rows.append((entry.model, f"{entry.task} ({panel.metric})", *_format_entry(entry, summary)))
                numbers.append((entry.model, entry.task, panel.metric, *_list_entry(entry)))
    header = ("model", "task", "condition", "score", f"gain over {summary.baseline}", "p", "Benefit %", "seeds")
    csv_header = (
        "model",
        "task",
        "metric",
        "condition",
        "state",
        *_name_interval("score"),
        *_name_interval("gain"),
        *P_COLUMNS,
        *BENEFIT_COLUMNS,
        "seeds",
        "seeds_planned",
        "runs",
        "runs_planned",
    )
    return Table("scores", "Scores", header, tuple(rows), 3, 2, csv_header, tuple(numbers))


def _format_entry(entry: Entry, summary: Summary) -> tuple[str, ...]:
    seeds = str(entry.num_seeds)
    if entry.num_seeds != entry.num_seeds_planned or entry.state == "partial":
        seeds = f"{entry.num_seeds} of {entry.num_seeds_planned}"
    if entry.is_conditional:
        seeds = f"1 x {seeds}"
    elif entry.num_runs > entry.num_seeds:
        seeds += f" x {_count_each(entry)}"
    name = f"{entry.condition} (this checkpoint)" if entry.is_conditional else entry.condition
    if entry.score is None:
        return (name, entry.state_text, *[NOT_APPLICABLE] * 3, seeds)
    score = f"{format_score(entry.score.point)} {format_interval(entry.score.low, entry.score.high)}"
    return (name, score, *_format_difference(entry.gain), _format_benefit(entry, summary), seeds)


def _count_each(entry: Entry) -> str:
    """Runs per seed: 2, or 1-2 where some are missing."""
    counts: dict[int, int] = {}
    for run in entry.run_scores:
        seed = int(run["pretrain_seed"])
        counts[seed] = counts.get(seed, 0) + 1
    if not counts:
        return str(entry.num_runs)
    low, high = min(counts.values()), max(counts.values())
    return str(low) if low == high else f"{low}-{high}"


def _format_difference(difference: Difference | None) -> tuple[str, str]:
    if difference is None:
        return NOT_APPLICABLE, NOT_APPLICABLE
    delta = difference.delta
    p = CHECKPOINTS_ONLY if difference.p_holm is None else format_p(difference.p_holm)
    return f"{format_signed(delta.point)} {format_interval(delta.low, delta.high)}", p


def _format_benefit(entry: Entry, summary: Summary) -> str:
    if entry.condition == summary.reference and entry.gain:
        return "100" if entry.gain.delta.low > 0 else "undefined"
    if entry.benefit is None:
        return "undefined" if entry.benefit_undefined else NOT_APPLICABLE
    return f"{format_whole(entry.benefit.point)} {format_percent_interval(entry.benefit.low, entry.benefit.high)}"


def _list_entry(entry: Entry) -> tuple[str, ...]:
    score = _list_interval(entry.score)
    if entry.score is None:
        score = (entry.state_text, CSV_NOT_APPLICABLE, CSV_NOT_APPLICABLE)
    counts = (entry.num_seeds, entry.num_seeds_planned, entry.num_runs, entry.num_runs_planned)
    return (
        entry.condition,
        entry.state,
        *score,
        *_list_difference(entry.gain),
        *_list_interval(entry.benefit),
        *[str(count) for count in counts],
    )


def _name_interval(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _list_interval(interval: Interval | None) -> tuple[str, str, str]:
    if interval is None:
        return (CSV_NOT_APPLICABLE,) * 3
    return repr(interval.point), repr(interval.low), repr(interval.high)


def _list_difference(difference: Difference | None) -> tuple[str, ...]:
    if difference is None:
        return (CSV_NOT_APPLICABLE,) * 6
    p = [CSV_NOT_APPLICABLE if value is None else repr(value) for value in (difference.p, difference.p_holm)]
    if difference.is_of_checkpoints:
        scope = "checkpoints"
    else:
        scope = "conditional on a checkpoint" if difference.is_conditional else "procedures"
    return (*_list_interval(difference.delta), *p, scope)


def build_start_table(summary: Summary) -> Table:
    """The gain over the baseline in two parts, the start's and what pretraining adds to it, per pretrained condition."""
    rows, numbers = [], []
    for panel in summary.panels:
        start = panel.find(START)
        if start is None or not panel.has_control:
            continue
        for entry in panel.entries:
            if entry.is_pretrained:
                parts = (_format_point_gain(entry), _format_point_gain(start), *_format_difference(entry.added))
                rows.append((panel.model, f"{panel.task} ({panel.metric})", entry.condition, *parts))
                numbers.append((panel.model, panel.task, panel.metric, *_list_added(entry, start)))
    header = ("model", "task", "condition", "gain", "start", "added", "p")
    csv_header = ("model", "task", "metric", "condition", "state", "gain", "start_gain", *_name_interval("added"), *P_COLUMNS)  # fmt: skip
    title = f"What pretraining adds to its own start (gain over {summary.baseline} = start + added)"
    return Table("start", title, header, tuple(rows), 3, 1, csv_header, tuple(numbers))


def _format_point_gain(entry: Entry) -> str:
    if entry.score is None:
        return entry.state_text
    return format_signed(entry.gain.delta.point) if entry.gain else NOT_APPLICABLE


def _list_added(entry: Entry, start: Entry) -> tuple[str, ...]:
    gains = [_list_interval(side.gain.delta if side.gain else None)[0] for side in (entry, start)]
    return entry.condition, entry.state, *gains, *_list_difference(entry.added)


def build_reference_table(summary: Summary) -> Table:
    """Own text against the reference, per model and task."""
    rows, numbers = [], []
    for panel in summary.panels:
        own, reference = panel.find(OWN), panel.find(summary.reference)
        if own is None or reference is None:
            continue
        scores = [_format_point(own), _format_point(reference)]
        rows.append(
            (
                panel.model,
                f"{panel.task} ({panel.metric})",
                *scores,
                *_format_difference(panel.versus_reference),
                _format_benefit(own, summary),
            )
        )
        points = [repr(e.score.point) if e.score else e.state_text for e in (own, reference)]
        numbers.append(
            (
                panel.model,
                panel.task,
                panel.metric,
                *points,
                *_list_difference(panel.versus_reference),
                *_list_interval(own.benefit),
            )
        )
    header = ("model", "task", OWN, summary.reference, f"{OWN} - {summary.reference}", "p", "Benefit %")
    csv_header = (
        "model",
        "task",
        "metric",
        OWN,
        summary.reference,
        *_name_interval("difference"),
        *P_COLUMNS,
        *BENEFIT_COLUMNS,
    )
    title = f"Own text against {summary.reference_name}"
    return Table("reference", title, header, tuple(rows), 2, 1, csv_header, tuple(numbers))


def _format_point(entry: Entry) -> str:
    return format_score(entry.score.point) if entry.score else entry.state_text


def build_cross_table(cross: Cross, summary: Summary) -> Table:
    """Rows: pretraining text; columns: fine-tuning task."""
    unit = {
        "benefit": f"Benefit % (gain of {summary.reference_name} = 100)",
        "gain": f"gain over {summary.baseline}",
        "score": "score",
    }[cross.unit]
    rows = [
        (text, *[_format_cross(cell, cross.unit) for cell in cells])
        for text, cells in zip(cross.texts, cross.cells, strict=True)
    ]
    numbers = [
        (cross.model, cross.unit, text, task, *_list_cross(cell))
        for text, cells in zip(cross.texts, cross.cells, strict=True)
        for task, cell in zip(cross.tasks, cells, strict=True)
    ]
    csv_header = ("model", "unit", "pretrained_on", "task", "value", "low", "high", "p_holm")
    title = f"Pretrained on one task's text (rows), fine-tuned on another (columns): {cross.model}, {unit}"
    header = ("pretrained on", *cross.tasks)
    return Table(f"cross_{cross.model}", title, header, tuple(rows), 1, 0, csv_header, tuple(numbers))


def _format_cross(cell: CrossCell, unit: str) -> str:
    if cell.value is None:
        return cell.text or "100"
    value = cell.value
    if unit == "benefit":
        return f"{format_whole(value.point)} {format_percent_interval(value.low, value.high)}"
    point = format_signed(value.point) if unit == "gain" else format_score(value.point)
    return f"{point} {format_interval(value.low, value.high)}"


def _list_cross(cell: CrossCell) -> tuple[str, ...]:
    p = CSV_NOT_APPLICABLE if cell.p_holm is None else repr(cell.p_holm)
    if cell.value is None:
        return (cell.text or "100", CSV_NOT_APPLICABLE, CSV_NOT_APPLICABLE, p)
    return (*_list_interval(cell.value), p)


# explanations that stand under every form


def list_explanations(summary: Summary) -> list[str]:
    """How to read the numbers."""
    entries = [entry for panel in summary.panels for entry in panel.entries]
    lines = [
        f"Brackets: {summary.confidence:.0%} t intervals whose variance adds that between pretraining seeds, of each side, "
        "and that of the test examples. seeds: pretraining seeds behind the row (x fine-tunings of each).",
        f"p: two-sided, by the same t. Own and {summary.reference} against {summary.baseline}, and own against "
        f"{summary.reference}, are what the sentences rest on: Holm-corrected over all {count_claims(summary.panels, summary.reference)} of them. "
        "Other rows are Holm-corrected among themselves, as is each table.",
    ]
    if any(panel.decision for panel in summary.panels):
        lines.append(
            "Own against the reference, in this order: better (clear), no worse beyond the margin (the interval's lower "
            "end is above it), worse (clear), else undecided. Clear: corrected p below "
            f"{format_score(summary.alpha, 2)}. Margin: study.margin, else a tenth of the reference's gain where that is "
            "clear, else one point."
        )
    if any(entry.gain or entry.benefit for entry in entries):
        lines.append(
            f"Benefit %: share of the gain of {summary.reference_name} over {summary.baseline}, with Fieller's interval; "
            "undefined where that gain is not clear."
        )
    if any(entry.added for entry in entries):
        lines.append(f"Added: the condition minus {START}, the start that pretraining begins at, without pretraining.")
    blind = [_describe_blind(panel) for panel in summary.panels if panel.blind_score is not None]
    if blind:
        lines.append("Without reading the text: " + "; ".join(dict.fromkeys(blind)) + ".")
    return lines


def _describe_blind(panel: Panel) -> str:
    assert panel.blind_score is not None
    return f"{panel.task} {format_score(panel.blind_score)} ({panel.blind_rule})"
