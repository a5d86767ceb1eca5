"""The answer for each model and task: one sentence that follows from named outcomes, and the evidence they rest on.

Two outcomes make the sentence, both by :mod:`selfpretrain.stats`: whether the own text helps (own against the
baseline: clear after Holm's correction, or not), and how it stands to the reference (:func:`selfpretrain.stats.decide`).
Nothing is concluded from a p-value that is not small, nor from one difference being clear and another not.
"""

from __future__ import annotations

from selfpretrain.numbers import format_counted, format_p_clause, format_score
from selfpretrain.report.comparisons import Difference
from selfpretrain.report.curves import describe_length
from selfpretrain.report.findings import PARTIAL, TOKENS, UNDEFINED, Entry, Panel, Summary
from selfpretrain.runs.results import ABSENT, DIVERGED, FAILED
from selfpretrain.stats import METRICS, Decision
from selfpretrain.stats.power import POWER
from selfpretrain.study.conditions import OWN, find_condition

NEARLY_PERFECT = 0.98  # of a metric that ends at 1: above it no pretraining has room to help
MOST_WORDS = 25  # of a verdict

# own against the baseline
HELPS, HARMS, OPEN, ONE_SEED, UNKNOWN = "helps", "harms", "open", "one seed", "unknown"
# own against the reference: the outcomes of Decision, or that there is none
BETTER, NOT_WORSE, WORSE, UNDECIDED, CHECKPOINTS = "better", "not worse", "worse", "undecided", "checkpoints only"
NO_REFERENCE = "no reference"

_ANSWERS = {
    (HELPS, BETTER): "the own text is enough: better than {base}, and better than {reference}.",
    (HELPS, NOT_WORSE): "the own text is enough: better than {base}, and no worse than {reference} beyond the margin.",
    (HELPS, WORSE): "the own text helps, but {reference} gives more.",
    (HELPS, UNDECIDED): "the own text helps; whether it is enough beside {reference} is undecided.",
    (HELPS, NO_REFERENCE): "the own text helps; whether it is enough stays open without {reference}.",
    (OPEN, BETTER): "the own text is better than {reference}; whether it helps at all is undecided.",
    (OPEN, NOT_WORSE): "the own text is no worse than {reference} beyond the margin; whether it helps at all is undecided.",
    (OPEN, WORSE): "{reference} is better than the own text, and whether the own text helps at all is undecided.",
    (OPEN, UNDECIDED): "undecided, both whether the own text helps and how it stands to {reference}.",
    (OPEN, NO_REFERENCE): "whether the own text helps is undecided.",
    (UNKNOWN, BETTER): "the own text is better than {reference}; {base} has no score.",
    (UNKNOWN, NOT_WORSE): "the own text is no worse than {reference} beyond the margin; {base} has no score.",
    (UNKNOWN, WORSE): "{reference} is better than the own text; {base} has no score.",
    (UNKNOWN, UNDECIDED): "undecided how the own text stands to {reference}; {base} has no score.",
    (UNKNOWN, NO_REFERENCE): "no answer, because there is nothing to compare the own text with.",
}  # fmt: skip
GOOD, BAD = "good", "bad"  # of the own text; a page colours a sentence by it
# why there is no score: as the end of a verdict, and as that of its evidence, with what to do
_STATES = {
    FAILED: ("failed", "failed in {of} runs (see the notes; the same study command tries them again)"),
    DIVERGED: ("diverged", "diverged in {of} runs (see the notes; a lower learning rate may help)"),
    UNDEFINED: ("has no defined score", "has no defined score (see the notes)"),
    ABSENT: ("is missing", "is missing (see the notes)"),
}
_UNFINISHED = ("is not finished", "is not finished, {of} runs are {state} (the same study command continues)")


def compose(panel: Panel, summary: Summary) -> tuple[str, list[str]]:
    """What the study found on one task with one model: a sentence of at most ``MOST_WORDS`` words, and its evidence.

    The evidence is a line each: the differences with their rules, and what would decide what is open.
    """
    answer, evidence = _answer(panel, summary)
    return f"{panel.task}, {panel.model}: {answer}", [line for line in evidence if line]


def _answer(panel: Panel, summary: Summary) -> tuple[str, list[str]]:
    own = panel.find(OWN)
    if panel.is_absent:
        return f"no answer, its data are {panel.entries[0].state_text}.", []
    if own is None:
        return "whether the own text is enough was not asked.", _describe_others(panel, summary)
    if own.score is None:
        state = _STATES.get(own.state, _UNFINISHED)[0]
        evidence = [f"{own.about.words} {_explain_state(own)}"]
        return f"no answer, because pretraining on the own text {state}.", evidence
    scored = [entry for entry in panel.entries if entry.score]
    differences = {summary.baseline: own.gain, summary.reference: panel.versus_reference}
    could_find = _describe_detectable(differences, own, panel)
    if not any(entry.learned for entry in scored):
        evidence = [_describe_nothing_learned(panel, scored), could_find]
        return "nothing was learned, so this says nothing about pretraining.", evidence
    effect, standing = _judge_effect(own, summary), panel.decision.outcome if panel.decision else NO_REFERENCE
    evidence = [
        _describe_effect(own, effect, panel, summary),
        _describe_standing(own, panel, summary),
        could_find,
        _describe_room(panel, summary) if effect == OPEN else "",
        _advise(own, effect, standing, panel, summary),
        *(describe_length(c) for c in summary.curves if (c.name, c.model, c.task) == (TOKENS, panel.model, panel.task)),
    ]
    if effect == HARMS:
        answer = "pretraining on the own text does harm: {base} is better."
    elif effect == ONE_SEED or standing == CHECKPOINTS:
        answer = "one seed tells of these checkpoints only, not of the procedures that made them."
    else:
        answer = _ANSWERS[effect, standing]
    return answer.format(base=summary.baseline_name, reference=summary.reference_name), evidence


def judge_tone(panel: Panel, summary: Summary) -> str:
    """Whether the sentence speaks for the own text or against it; empty where it says neither."""
    own = panel.find(OWN)
    if own is None or own.score is None or not any(entry.learned for entry in panel.entries if entry.score):
        return ""
    effect, standing = _judge_effect(own, summary), panel.decision.outcome if panel.decision else NO_REFERENCE
    if effect == ONE_SEED or standing == CHECKPOINTS:
        return ""
    if effect == HARMS or standing == WORSE:
        return BAD
    return GOOD if effect == HELPS and standing in (BETTER, NOT_WORSE) else ""


def _judge_effect(own: Entry, summary: Summary) -> str:
    """Whether pretraining on the own text helps, against the baseline."""
    if own.gain is None:
        return UNKNOWN
    if own.gain.is_of_checkpoints:
        return ONE_SEED
    if not own.gain.is_clear(summary.alpha):
        return OPEN
    return HELPS if own.gain.delta.point > 0 else HARMS


# the evidence


def _explain_state(entry: Entry) -> str:
    of = f"{entry.counts.get(entry.state, 0)} of {entry.num_runs_planned}"
    return _STATES.get(entry.state, _UNFINISHED)[1].format(of=of, state=entry.state)


def _describe_others(panel: Panel, summary: Summary) -> list[str]:
    """A study without the question's condition: its other conditions against the baseline."""
    lines = []
    for entry in panel.entries:
        if entry.condition == summary.baseline:
            continue
        if entry.score is None:
            found = f" {_explain_state(entry)}"
        elif entry.gain is None:
            found = f" scored {entry.score.format('score')}"
        else:
            found = f" - {summary.baseline_name}: {_describe_difference(entry.gain)}"
        lines.append(f"{entry.about.words}{found}")
    lines += [_describe_detectable({summary.baseline: e.gain}, e, panel) for e in panel.entries if e.gain]
    return [*lines, "add own to study.conditions to ask whether the own text is enough"]


def _describe_nothing_learned(panel: Panel, scored: list[Entry]) -> str:
    score, best = max(((entry.score, entry) for entry in scored if entry.score), key=lambda pair: pair[0].point)
    assert panel.blind_score is not None
    return (
        f"{panel.blind_rule} scores {format_score(panel.blind_score)} {METRICS[panel.metric].words} without reading the "
        f"text; no condition is clearly above that (the best, {best.condition}: {score.format('score')}); "
        "more labelled examples or longer training (effort=standard) may change it"
    )


def _describe_effect(own: Entry, effect: str, panel: Panel, summary: Summary) -> str:
    if own.gain is None:
        baseline = panel.find(summary.baseline)
        return f"{summary.baseline_name} {_explain_state(baseline) if baseline else 'is not in this study'}"
    clear = f"clear: p below {format_score(summary.alpha, 2)}, Holm-corrected"
    rule = {OPEN: "not clear", ONE_SEED: "these checkpoints only"}.get(effect, clear)
    return f"own - {summary.baseline}: {_describe_difference(own.gain)}; {rule}"


def _describe_standing(own: Entry, panel: Panel, summary: Summary) -> str:
    if summary.reference == OWN:
        return ""
    if panel.versus_reference is None:
        reference = panel.find(summary.reference)
        if reference is None:
            return f"{summary.reference_name} is not in this study: add {summary.reference} to study.conditions"
        return f"{summary.reference_name} {_explain_state(reference)}"
    text = f"own - {summary.reference}: {_describe_difference(panel.versus_reference)}; {_name_rule(panel)}"
    if own.benefit:
        text += f"; own reaches {own.benefit.format('benefit', ' %')} of the reference's gain"
    return text


def _name_rule(panel: Panel) -> str:
    """The rule that gave the decision, with its margin."""
    assert panel.decision is not None
    margin = f"the margin of {format_score(panel.decision.margin)} ({panel.margin_rule})"
    rules = {
        CHECKPOINTS: "these checkpoints only",
        NOT_WORSE: f"the interval does not reach below {margin}",
        UNDECIDED: f"not clear, and the interval reaches below {margin}",
    }
    return rules.get(panel.decision.outcome, "clear")


def _describe_difference(difference: Difference) -> str:
    """+.031 [.010, .050], p = .004, 3 seeds a side"""
    text = difference.delta.format("gain")
    if difference.p_holm is not None:
        text += f", {format_p_clause(difference.p_holm)}"
    first, second = difference.num_seeds
    seeds = f"{format_counted(first, 'seed')} a side" if first == second else f"{first} against {second} seeds"
    conditional = ", conditional on this checkpoint" if difference.is_conditional else ""
    return f"{text}, {seeds}{conditional}"


def _describe_detectable(differences: dict[str, Difference | None], entry: Entry, panel: Panel) -> str:
    """The differences that the study could find, by what the entry is compared with; empty where none are of procedures."""
    found = {name: each.detectable for name, each in differences.items() if each and each.detectable is not None}
    if not found:
        return ""
    metric = METRICS[panel.metric]
    sizes = {
        name: f"{format_score(value)} or more" if value < metric.high - metric.low else "none that the metric can have"
        for name, value in found.items()
    }
    listed = "; ".join(f"{entry.condition} - {name}: {size}" for name, size in sizes.items())
    return f"what this study could find with a chance of {POWER:.0%}: {listed}"


def _describe_room(panel: Panel, summary: Summary) -> str:
    baseline = panel.find(summary.baseline)
    ends_at_1 = METRICS[panel.metric].high == 1
    if baseline is None or baseline.score is None or baseline.score.point < NEARLY_PERFECT or not ends_at_1:
        return ""
    scored = f"{format_score(baseline.score.point)} {METRICS[panel.metric].words}"
    return f"{summary.baseline_name} already scores {scored}: there is hardly room to help"


def _advise(own: Entry, effect: str, standing: str, panel: Panel, summary: Summary) -> str:
    """What would decide what is open."""
    if any(entry.state == PARTIAL for entry in panel.entries):
        return "provisional: some seeds are not finished; the same study command continues"
    if effect == ONE_SEED or standing == CHECKPOINTS:
        return "study.pretrain_seeds=5 would tell of the procedures"
    if standing == UNDECIDED and panel.decision and panel.versus_reference:
        return _describe_need(panel.decision, panel.versus_reference, panel, summary)
    if effect == OPEN and own.gain:
        return f"most of the doubt whether it helps comes from {_name_largest(own.gain, panel, summary.baseline)}"
    return ""


def _describe_need(decision: Decision, difference: Difference, panel: Panel, summary: Summary) -> str:
    """The seeds or examples that would decide, if the difference stays what it is, and where the doubt comes from."""
    most = f"most of the doubt comes from {_name_largest(difference, panel, summary.reference)}"
    if summary.is_crossed:  # what more levels of one factor would give is not told by the number of runs
        return f"{most}; more levels of a factor (study.seed_factors) narrow the seeds' part"
    setting = "study.seed_factors" if summary.seed_factors else "study.pretrain_seeds"
    seeds, examples = decision.needed_seeds, decision.needed_examples
    units = "groups of test examples" if panel.num_groups else "test examples"
    if seeds and examples:
        need = f"about {seeds} seeds a side and {examples:,} {units} together would decide it"
    elif seeds:
        need = f"about {seeds} seeds a side would decide it ({setting})"
    elif examples:
        need = f"about {examples:,} {units} would decide it, more seeds alone would not"
    else:
        need = f"a thousand times as many seeds and {units} would not decide it"
    return f"if the difference stays what it is, {need}; {most}"


def _name_largest(difference: Difference, panel: Panel, base: str) -> str:
    """The largest part of a difference's variance, in words."""
    largest = difference.variance.find_largest()
    if largest == "examples":
        return f"the {panel.num_examples:,} test examples" + (
            f" in {panel.num_groups:,} groups" if panel.num_groups else ""
        )
    side = base if largest == "base seeds" else OWN
    if find_condition(side).is_released:
        return "the fine-tunings of the released checkpoint"
    return f"the seeds of {side}"
