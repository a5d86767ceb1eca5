"""The answer in plain words for each model and task: what was found, how sure, and what would make it surer."""

from __future__ import annotations

from selfpretrain.report.comparisons import Difference
from selfpretrain.report.findings import CROSS_PREFIX, OWN, START, Entry, Panel, Summary
from selfpretrain.report.numbers import (
    format_counted,
    format_interval,
    format_p_clause,
    format_percent_interval,
    format_score,
    format_signed,
    format_whole,
)

FEW_SEEDS = 5  # fewer pretraining seeds make intervals visibly too narrow
NEARLY_PERFECT = 0.98  # of a metric that ends at 1: above it no pretraining has room to help
CLOSE_TO_ALL = 90.0  # percent of the reference's gain whose interval counts as all of it


def compose_verdict(panel: Panel, summary: Summary) -> str:
    """Say what the study found on one task with one model."""
    return f"{panel.task}, {panel.model}: " + _compose(panel, summary)


def _compose(panel: Panel, summary: Summary) -> str:
    own = panel.find(OWN)
    if own is None:
        return _compose_without_own(panel, summary)
    if own.score is None:
        return f"no answer, because pretraining on the task's own text {_explain_state(own)}."
    if _is_nothing_learned(panel):
        return _compose_nothing_learned(panel)
    begun = " from the structured start" if panel.start_differs else ""
    scored = f"{format_score(own.score.point)} {_name_metric(panel.metric)}"
    found = f"pretraining on the task's own text{begun} scored {scored}"
    if own.gain is None:
        baseline = panel.find(summary.baseline)
        why = _explain_state(baseline) if baseline else "is not in this study"
        added = f", {_describe_added(own.added, summary)}" if own.added else ""
        what = "start and text gained together" if own.added else "it gained"
        return (
            f"{found} {format_interval(own.score.low, own.score.high)}{added}, but {name_condition(summary.baseline)} "
            f"{why}, so what {what} is unknown. {_advise(panel, summary)}"
        )
    parts = [
        f"{found}, {_describe_gain(own.gain, summary)}{_describe_reference(panel, summary)}.",
        _divide_gain(panel, own, own.gain, summary),
        _answer(panel, own, own.gain, summary),
        _answer_together(panel, own, own.gain, summary),
        _advise(panel, summary),
    ]
    return " ".join(part for part in parts if part)


def name_condition(condition: str) -> str:
    """A condition in words."""
    names = {
        "none": "no pretraining",
        "mimetic": "the structured start without pretraining",
        "own": "the own text",
        "offshelf": "the released checkpoint",
    }
    if condition.startswith(CROSS_PREFIX):
        return f"the text of {condition.removeprefix(CROSS_PREFIX)}"
    return names.get(condition, condition)


def _name_metric(metric: str) -> str:
    return {
        "macro_f1": "macro F1",
        "f1": "F1",
        "mcc": "Matthews correlation",
        "pearson": "Pearson correlation",
        "spearman": "Spearman correlation",
        "micro_auc": "micro AUC",
    }.get(metric, metric)


def _explain_state(entry: Entry) -> str:
    """Why an entry has no score, as the end of a sentence, with what to do."""
    count = entry.counts.get(entry.state, 0)
    of = f"{count} of {entry.num_runs_planned}"
    if entry.state == "failed":
        return f"failed in {of} runs (see the notes; the same study command tries them again)"
    if entry.state == "diverged":
        return f"diverged in {of} runs (see the notes; a lower learning rate may help)"
    if entry.state == "undefined":
        return "has no defined score (see the notes)"
    return f"is not finished, {of} runs are {entry.state} (the same study command continues)"


def _is_nothing_learned(panel: Panel) -> bool:
    scored = [entry for entry in panel.entries if entry.score]
    return bool(scored) and not any(entry.learned for entry in scored)


def _compose_nothing_learned(panel: Panel) -> str:
    scored = [(entry, entry.score) for entry in panel.entries if entry.score]
    best, score = max(scored, key=lambda pair: pair[1].point)
    assert panel.blind_score is not None
    interval = format_interval(score.low, score.high)
    return (
        f"nothing was learned, so this says nothing about pretraining: {panel.blind_rule} scores "
        f"{format_score(panel.blind_score)} {_name_metric(panel.metric)} without reading the text, and no "
        f"condition is clearly above that (the best, {best.condition}: {format_score(score.point)} "
        f"{interval}). More labelled examples or longer training (effort=standard) may change that."
    )


def _describe_gain(gain: Difference, summary: Summary) -> str:
    return _describe_difference(gain, name_condition(summary.baseline), summary)


def _describe_added(added: Difference, summary: Summary) -> str:
    return _describe_difference(added, "its own start", summary)


def _describe_difference(difference: Difference, base: str, summary: Summary) -> str:
    delta = difference.delta
    text = (
        f"{format_signed(delta.point)} {format_interval(delta.low, delta.high)} over {base} "
        f"({format_p_clause(difference.p_holm, difference.p_is_bound)}, {_count_seeds(difference)})"
    )
    return text if difference.is_clear(summary.alpha) else f"{text}, which {_say_unclear(difference, summary)}"


def _divide_gain(panel: Panel, own: Entry, gain: Difference, summary: Summary) -> str:
    """Of the gain over the baseline, what the start gives and what the text adds; empty where both start alike."""
    start = panel.find(START)
    if not panel.start_differs or start is None:
        return ""
    if own.added is None or start.gain is None:
        return (
            f"How much of the {format_signed(gain.delta.point)} is the start's is unknown, because {name_condition(START)} "
            f"{_explain_state(start)}."
        )
    return (
        f"Of the {format_signed(gain.delta.point)} over {name_condition(summary.baseline)}, the start alone accounts for "
        f"{_describe_part(start.gain, summary)}, the own text on top of it for {_describe_part(own.added, summary)}."
    )


def _describe_part(part: Difference, summary: Summary) -> str:
    """+.031 [.010, .050] (p = .004), in brief: a sentence has two of them."""
    doubt = "suggestive" if part.p < summary.alpha else "not told from no difference"
    clause = format_p_clause(part.p_holm, part.p_is_bound) + ("" if part.is_clear(summary.alpha) else f", {doubt}")
    return f"{format_signed(part.delta.point)} {format_interval(part.delta.low, part.delta.high)} ({clause})"


def _say_unclear(difference: Difference, summary: Summary) -> str:
    if difference.p < summary.alpha:
        return "is suggestive but does not hold once corrected for the number of comparisons"
    return "this study cannot tell from no difference"


def _count_seeds(difference: Difference) -> str:
    first, second = difference.num_seeds
    return format_counted(first, "seed") if first == second else f"{first} against {format_counted(second, 'seed')}"


def _describe_reference(panel: Panel, summary: Summary) -> str:
    """The clause on own against the reference; empty without one."""
    if summary.reference == OWN:
        return ""
    versus = panel.versus_reference
    if versus is None:
        reference = panel.find(summary.reference)
        return "" if reference is None else f"; {summary.reference_name} {_explain_state(reference)}"
    delta = versus.delta
    name = summary.reference_name
    if round(delta.point, 3) == 0:
        text = f"; {name} scored the same [{format_score(-delta.high)}, {format_score(-delta.low)}]"
    else:
        low, high = (-delta.high, -delta.low) if delta.point < 0 else (delta.low, delta.high)
        side = "better" if delta.point < 0 else "worse"
        text = f"; {name} is {format_score(abs(delta.point))} {format_interval(low, high)} {side}"
    clause = format_p_clause(versus.p_holm, versus.p_is_bound)
    return f"{text} ({clause})" + ("" if versus.is_clear(summary.alpha) else f", which {_say_unclear(versus, summary)}")


def _answer(panel: Panel, own: Entry, gain: Difference, summary: Summary) -> str:
    """Was the task's own text enough? Judged by what it adds to its own start, where the study can tell."""
    text = "the own text with its start" if panel.start_differs and own.added is None else "the own text"
    condition = START if own.added else summary.baseline
    gain = own.added or gain
    clear = gain.is_clear(summary.alpha)
    if clear and gain.delta.point < 0:
        return f"No: {text} did harm here, {name_condition(condition)} is better."
    baseline = panel.find(condition)
    if not clear and baseline and baseline.score and baseline.score.point >= NEARLY_PERFECT:
        scored = format_score(baseline.score.point)
        return f"{_capitalise(name_condition(condition))} already scores {scored}: there is hardly room to help."
    versus = panel.versus_reference
    if versus is None:
        if not clear:
            return "Whether pretraining on the own text helps stays open."
        return _answer_without_reference(panel, text, summary)
    reference = panel.find(summary.reference)
    assert reference is not None
    reference_helps = _is_clear_gain(reference.added or reference.gain, summary)
    name = summary.reference_name
    if not clear:
        if reference_helps:
            return f"Not shown to be enough: {name} helped, {text} not clearly{_say_share(own, summary)}."
        return f"Neither {text} nor {name} clearly helped, so at this budget the question stays open."
    own_better, different = versus.delta.point > 0, versus.is_clear(summary.alpha)
    if different and own_better:
        return f"Yes: the own text was enough, and better than {name}{_say_share(own, summary)}."
    if different:
        return f"Only in part: {name} gives more{_say_share(own, summary)}."
    share = own.added_share if own.added else own.benefit
    if share and share.low >= CLOSE_TO_ALL:
        return f"Yes: the own text was enough{_say_share(own, summary)}."
    shortfall = format_score(max(0.0, -versus.delta.low))
    if share is None and not reference_helps:
        return f"{_capitalise(text)} helped and {name} did not clearly: so far it was enough."
    return f"So far the own text looks enough{_say_share(own, summary)}, though {name} may be up to {shortfall} better."


def _is_clear_gain(gain: Difference | None, summary: Summary) -> bool:
    return gain is not None and gain.is_clear(summary.alpha) and gain.delta.point > 0


def _answer_without_reference(panel: Panel, text: str, summary: Summary) -> str:
    name = summary.reference_name
    found = f"{_capitalise(text)} helped; whether it is enough stays open"
    if panel.find(summary.reference) is None:
        return f"{found}, because {name} is not in this study (add {summary.reference} to study.conditions)."
    return f"{found}."


def _answer_together(panel: Panel, own: Entry, gain: Difference, summary: Summary) -> str:
    """What the answer about the text leaves to be said about start and text together."""
    name = name_condition(summary.baseline)
    if not panel.start_differs:
        return ""
    if own.added is None and panel.find(START):
        return ""
    if own.added is None:
        return f"The difference to {name} is that of start and pretraining together (see the notes)."
    text_helps, clear = _is_clear_gain(own.added, summary), gain.is_clear(summary.alpha)
    if clear and gain.delta.point < 0:
        return f"Start and text together did harm: {name} from the usual start is better."
    if clear and not text_helps:
        return f"The gain over {name} is not shown to come from the text."
    if text_helps and not clear:
        return f"Start and text together are not shown to beat {name} from the usual start."
    return ""


def _say_share(own: Entry, summary: Summary) -> str:
    share = own.added_share if own.added else own.benefit
    if share is None:
        return ""
    of = f"what {summary.reference_name} adds" if own.added else f"the gain of {summary.reference_name}"
    return f" (own recovers {format_whole(share.point)} % {format_percent_interval(share.low, share.high)} of {of})"


def _compose_without_own(panel: Panel, summary: Summary) -> str:
    """A study that does not hold the question's condition: report the other conditions."""
    found = []
    for entry in panel.entries:
        if entry.condition == summary.baseline:
            continue
        if entry.score is None:
            found.append(f"{name_condition(entry.condition)} {_explain_state(entry)}")
        elif entry.gain is None:
            interval = format_interval(entry.score.low, entry.score.high)
            found.append(f"{name_condition(entry.condition)} scored {format_score(entry.score.point)} {interval}")
        else:
            scored = f"{name_condition(entry.condition)} scored {format_score(entry.score.point)}"
            added = f", and {_describe_added(entry.added, summary)}" if entry.added else ""
            found.append(f"{scored}, {_describe_gain(entry.gain, summary)}{added}")
    listed = "; ".join(found) if found else f"only {name_condition(summary.baseline)} was run"
    return f"{listed}. Whether the own text is enough was not asked (add own to study.conditions)."


def _advise(panel: Panel, summary: Summary) -> str:
    """What would make it surer."""
    seeds = [entry.num_seeds for entry in panel.entries if entry.score and entry.condition != "offshelf"]
    fewest = min(seeds)
    unfinished = [entry for entry in panel.entries if entry.state == "partial"]
    if unfinished:
        return "Provisional: some seeds are not finished; the same study command continues."
    if fewest == 1:
        return (
            "From one seed this is provisional: another seed may turn it round, and no interval here shows that; "
            "study.pretrain_seeds=5 would tell."
        )
    more = f"study.pretrain_seeds={FEW_SEEDS if fewest < FEW_SEEDS else 2 * fewest}"
    if fewest < FEW_SEEDS:
        extra = f", and more than {panel.num_examples} test examples" if panel.weakest_link == "examples" else ""
        return f"From {fewest} seeds the intervals are somewhat too narrow; {more}{extra} would make this surer."
    if panel.weakest_link == "examples":
        return (
            f"Most of the doubt comes from the {panel.num_examples} test examples: more of them would make this surer."
        )
    return f"Most of the doubt comes from the chance of pretraining: {more} would make this surer."


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
