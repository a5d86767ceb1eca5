"""A report is a list of blocks, built once; an output is a table with a function for each kind of them, and ``walk``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import Any, TypeVar

from selfpretrain.files import to_stem
from selfpretrain.numbers import format_score
from selfpretrain.report import charts
from selfpretrain.report.columns import Table
from selfpretrain.report.cross import MEAN_COLUMN, MEAN_ROW
from selfpretrain.report.disagreements import ExampleList
from selfpretrain.report.dynamics_tables import explain_dynamics
from selfpretrain.report.examples import NAME, explain_examples, list_csv
from selfpretrain.report.findings import LABELS, TOKENS, Panel, Summary
from selfpretrain.report.record_tables import build_chart_tables, build_record_tables
from selfpretrain.report.records import Records
from selfpretrain.report.tables import WITHOUT_OVERLAP, build_tables
from selfpretrain.report.variance import explain_variance, has_sources
from selfpretrain.report.verdict import judge_tone
from selfpretrain.runs.results import Citation
from selfpretrain.stats.calibration import NUM_BINS
from selfpretrain.study.conditions import START, find_condition

__all__ = [
    "Block", "Examples", "Facts", "Figure", "Functions", "Notes", "Sentence", "Table", "Title", "build_blocks", "walk",
]  # fmt: skip

Form = TypeVar("Form")


@dataclass(frozen=True)
class Title:
    """Of the whole report."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """The answer for one model and task, and what it rests on, a line each."""

    verdict: str
    evidence: tuple[str, ...]
    model: str = ""
    task: str = ""
    tone: str = ""  # good | bad, for the own text; empty: neither


@dataclass(frozen=True)
class Figure:
    """A plot, drawn when an output asks for it; one that is not drawn is for the page alone."""

    name: str  # stem of the files
    title: str
    draw: Callable[[], dict[str, bytes]] | None  # form, as in plots.FORMATS -> file
    data: Callable[[], dict[str, Any]] | None = None  # of a chart to look into, as in charts


@dataclass(frozen=True)
class Examples:
    """Test examples on which procedures disagree most, with their texts: for the page and a file of their own alone."""

    name: str  # stem of the file
    lists: tuple[ExampleList, ...]
    csv_header: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]

    @property
    def place(self) -> str:
        """Where they are, in a sentence."""
        return f"Test examples on which procedures disagree most, with their texts: {self.name}.csv and report.html"


@dataclass(frozen=True)
class Notes:
    """How to read the numbers, and what to know before trusting them."""

    explanations: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a reader needs to repeat the study, by name."""

    facts: dict[str, str]
    lasting: dict[str, str]  # those that equal studies share
    citations: tuple[Citation, ...] = ()  # of what was used, where an output cites


Block = Title | Sentence | Table | Figure | Examples | Notes | Facts
Functions = Mapping[type, Callable[[Any], Form]]  # of an output, by the kind of block


def walk(blocks: Iterable[Any], functions: Functions[Form]) -> list[Form]:
    """What an output makes of each block, by its function for the kind.

    Raises:
        TypeError: a kind without a function; left out of an output, a block would not be missed.
    """
    forms = []
    for block in blocks:
        if type(block) not in functions:
            raise TypeError(f"this output has no function for blocks of the kind {type(block).__name__}")
        forms.append(functions[type(block)](block))
    return forms


_CURVES = {LABELS: "scores by labelled examples", TOKENS: "validation scores by tokens of pretraining"}


def build_blocks(summary: Summary, records: Records | None = None) -> list[Block]:
    """The report: the answers, the tables, the plots, how to read them, and how all of it was made.

    What only a page shows is among them: detail tables, and charts that are not drawn; ``records`` adds those of the runs.
    """
    return [
        Title(f"Study {summary.name}"),
        *(_build_sentence(panel, summary) for panel in summary.panels),
        *build_tables(summary),
        *build_chart_tables(summary),
        *(build_record_tables(records, summary) if records else []),
        *_build_figures(summary),
        *([Figure("courses", "training by steps", None, partial(charts.describe_courses, records))] if records else []),
        *([build_examples(summary.disagreements)] if summary.disagreements else []),
        Notes(tuple(list_explanations(summary)), tuple(summary.warnings)),
        *([Facts(summary.facts, summary.lasting_facts, tuple(summary.citations))] if summary.lasting_facts else []),
    ]


def build_examples(lists: Sequence[ExampleList]) -> Examples:
    return Examples(NAME, tuple(lists), *list_csv(lists))


def _build_sentence(panel: Panel, summary: Summary) -> Sentence:
    return Sentence(panel.verdict, tuple(panel.evidence), panel.model, panel.task, judge_tone(panel, summary))


def _build_figures(summary: Summary) -> list[Figure]:
    scores = partial(_draw, "draw_scores", summary)
    figures = [Figure("scores", "scores with intervals", scores, partial(charts.describe_scores, summary))]
    for name in dict.fromkeys(curve.name for curve in summary.curves):
        data = partial(charts.describe_curves, summary, name)
        figures.append(Figure(name, _CURVES[name], partial(_draw, "draw_curves", summary, name), data))
    if summary.dynamics:
        title, data = "test scores by steps of pretraining", partial(charts.describe_dynamics, summary)
        figures.append(Figure("dynamics", title, partial(_draw, "draw_dynamics", summary), data))
    for cross in summary.crosses:
        name, draw = to_stem(f"cross_{cross.model}_{cross.unit}"), partial(_draw, "draw_cross", cross, summary)
        figures.append(Figure(name, "cross-task matrix", draw, partial(charts.describe_cross, cross, summary)))
    if summary.calibrations:
        draw, data = partial(_draw, "draw_reliability", summary), partial(charts.describe_reliability, summary)
        figures.append(Figure("reliability", "share right by confidence", draw, data))
    if any(entry.run_scores for entry in summary.entries):
        figures.append(
            Figure("seeds", "every run by its pretraining seed", None, partial(charts.describe_seeds, summary))
        )
    if has_sources(summary):
        title = "how far a score moves by each source of chance"
        figures.append(Figure("variance", title, None, partial(charts.describe_variance, summary)))
    return figures


def _draw(function: str, *arguments: Any) -> dict[str, bytes]:
    # by its name, since Matplotlib takes a second to import
    files: dict[str, bytes] = resolve_name(f"selfpretrain.report.plots:{function}")(*arguments)
    return files


def list_explanations(summary: Summary) -> list[str]:
    lines = [
        f"Brackets: {summary.confidence:.0%} t intervals whose variance adds that between pretraining seeds, of each side, "
        "and that of the test examples. seeds: pretraining seeds behind the row (x fine-tunings of each).",
        f"p: two-sided, by the same t. Own and {summary.reference} against {summary.baseline}, and own against "
        f"{summary.reference}, are what the sentences rest on: Holm-corrected over all {len(summary.list_claims())} of them. "
        "Other rows are Holm-corrected among themselves, as is each table.",
    ]
    lines += [*_explain_chance(summary), *explain_dynamics(summary), *_explain_groups(summary)]
    if any(panel.decision for panel in summary.panels):
        lines.append(
            "Own against the reference, in this order: better (clear), no worse beyond the margin (the interval's lower "
            "end is above it), worse (clear), else undecided. Clear: corrected p below "
            f"{format_score(summary.alpha, 2)}. Margin: study.margin, else a tenth of the reference's gain where that is "
            "clear, else one point."
        )
    if any(entry.gain or entry.benefit for entry in summary.entries):
        lines.append(
            f"Benefit %: share of the gain of {summary.reference_name} over {summary.baseline}, with Fieller's interval; "
            "undefined where that gain is not clear."
        )
    if any(entry.added for entry in summary.entries):
        lines.append(f"Added: the condition minus {START}, the start that pretraining begins at, without pretraining.")
    lines += explain_variance(summary)
    if any(panel.task != panel.card for panel in summary.panels):
        lines.append(
            "<task>@<count>: fine-tuned on so many labelled examples; its own text is all of the training split's."
        )
    if summary.without_overlap:
        lines.append(
            f"{WITHOUT_OVERLAP.capitalize()}: those that the training split or a text behind one of the task's conditions "
            "holds (equal but for case and white space; or of a Jaccard similarity of at least .8 over runs of five words; or "
            "with at least .8 of their runs of 13 words, of short ones of all words) are left out for all conditions alike, "
            "and everything is computed again. What a released checkpoint was trained on is not known."
        )
    lines += _explain_means(summary)
    lines += _explain_averages(summary)
    lines += _explain_tallies(summary)
    lines += _explain_procedures(summary)
    if summary.transfers:
        lines.append(
            "Other test sets: scored by the same fine-tuned runs, which were not chosen on them; gains are over the baseline on "
            "the same examples. No sentence rests on them."
        )
    if summary.published:
        lines.append(
            "Published: printed by others for the same model, test split and metric, without an interval; where the test "
            "split here is a part, or the condition's text another, the two are not of one experiment. No sentence rests on them."
        )
    lines += _explain_analyses(summary)
    lines += explain_examples(summary)
    blind = [
        f"{panel.card} {format_score(panel.blind_score)} ({panel.blind_rule})"
        for panel in (*summary.panels, *(panel for transfer in summary.transfers for panel in transfer.panels))
        if panel.blind_score is not None and math.isfinite(panel.blind_score)
    ]
    if blind:
        lines.append(f"Without reading the text: {'; '.join(dict.fromkeys(blind))}.")
    return lines


def _explain_chance(summary: Summary) -> list[str]:
    if not summary.chance:
        return []
    crossed = (
        " The variance of a mean over crossed factors is that of an analysis of variance: the mean squares of the factors, "
        "less that of what they do together. seeds: their combinations, and without pretraining the levels of initialisation."
    )
    return [f"Intervals hold over {summary.chance}.{crossed if summary.is_crossed else ''}"]


def _explain_groups(summary: Summary) -> list[str]:
    panels = (*summary.panels, *(panel for transfer in summary.transfers for panel in transfer.panels))
    sizes = {
        panel.card: f"{panel.num_groups:,} of {panel.num_examples:,} examples" for panel in panels if panel.num_groups
    }
    if not sizes:
        return []
    listed = "; ".join(f"{card} {size}" for card, size in sizes.items())
    return [
        f"Groups of test examples that belong together (task.group), and are no independent draws: {listed}. Intervals and p "
        "draw whole groups, and the number of groups, not of examples, gives the degrees of freedom."
    ]


def _explain_means(summary: Summary) -> list[str]:
    if not any(MEAN_COLUMN in cross.tasks for cross in summary.crosses):
        return []
    lines = [
        f"{MEAN_COLUMN}: unweighted, of a text over the tasks that are not its own; of several numbers of labels the largest "
        f"counts. {MEAN_ROW}: of a task over the texts that are not its own. Both take tasks and texts as given, so "
        "intervals say what other seeds and test examples would give, not other tasks or texts. The seeds' part is the "
        "variance between the means of a seed number: of one encoder over its tasks, or of several texts' encoders, which "
        "share first weights and the order of fine-tuning. The examples' part is that of each test set, or of the one that all "
        "texts share. No interval is corrected for their number."
    ]
    if any(cross.unit == "benefit" for cross in summary.crosses):
        lines.append(
            f"{MEAN_COLUMN} in Benefit %: the mean gain as a share of the reference's mean gain on the same tasks."
        )
    return lines


def _explain_averages(summary: Summary) -> list[str]:
    lines = []
    for benchmark, names in {average.benchmark: average.uncounted for average in summary.averages}.items():
        never = f" ({', '.join(names)}: never counted)" if names else ""
        lines.append(
            f"{benchmark}, mean: unweighted, over the tasks of its published average that stand in the table, each with the "
            f"metric and the test split of its card{never}. Its interval takes the tasks as given and adds the variance "
            "between the seeds' means over the tasks, since a seed's encoder is fine-tuned on all of them, and those of the "
            "test sets, which are independent. own_of:<task> has own on that task."
        )
    return lines


def _explain_tallies(summary: Summary) -> list[str]:
    if not summary.tallies:
        return []
    return [
        "Over the tasks: of several numbers of labels the largest counts. share: of the tasks that differ, with Clopper and "
        "Pearson's interval; sign and Wilcoxon's signed-rank test take the tasks as drawn at random, and a difference as "
        "it is, however sure. A run beats one of the other: mean over tasks, t interval over tasks (Clopper and Pearson's where all agree). clearly: Holm-corrected "
        "as in the tables before; BH: with Benjamini and Hochberg's correction over the tasks of the row, which bounds "
        "the share of false ones among those named. equivalent: two one-sided tests within each task's margin (as of the sentences), "
        "Holm-corrected over the tasks. No sentence rests on them, and no p here is corrected for the number of rows."
    ]


def _explain_procedures(summary: Summary) -> list[str]:
    if not summary.procedures:
        return []
    names = {name for found in summary.procedures if not found.is_interaction for name in (found.first, found.second)}
    has_released = any(find_condition(name).released for name in names)
    alike = (
        "paired by their number (of ours it says that first weights, order of text and masks are drawn alike; released ones "
        "need share nothing else)"
        if has_released
        else "whose first weights, order of text and masks are drawn alike"
    )
    lines = [
        f"Procedures, seed by seed: both conditions by the pretraining seeds that both have, {alike}, "
        "so that the interval is of the differences within seeds. FLOPs: of pretraining, "
        "by formula, the first's times the second's. better, not worse, worse and undecided as for own against the "
        "reference, the margin being study.margin, else one point. p is Holm-corrected over all rows of this table, on which "
        "no sentence rests."
    ]
    if any(found.is_interaction for found in summary.procedures):
        lines.append(
            "<procedure> on <text>: its condition minus that of the text alone; one such difference minus another is what "
            "the procedure does more on the first text than on the second. more, less: clear; alike: the interval lies within "
            "the margin."
        )
    return lines


def _explain_analyses(summary: Summary) -> list[str]:
    lines = []
    if summary.ensembles:
        lines.append(
            "Two runs together: the mean of their probabilities, each with the temperature under which its validation "
            "labels are likeliest. single runs: mean score of the same runs alone. inconsistency: share of test examples on "
            "which exactly one of the two is right. No two pairs of a row share a seed: within a condition the first "
            "is paired with the second, the third with the fourth, an odd one left out; across conditions those of the "
            "same number, whose random draws (first weights, order of fine-tuning) are alike. Intervals: between pairs, and of "
            "the test examples; with one pair, of these checkpoints only. Rows share runs, and no interval is corrected for "
            "their number."
        )
    if summary.calibrations:
        lines.append(
            f"Probabilities: confidence is that in the chosen class. ECE: mean of |confidence - share right| over {NUM_BINS} "
            f"bins of equal width. debiased: root of the mean square of that difference over {NUM_BINS} bins of equally many "
            "examples, without what chance adds to it, 0 where chance explains all (another scale than ECE, which counts "
            "chance as error). Brier: squared error of all classes, 0 to 2. temperature: what outputs are divided by, "
            "for each run that under which its validation labels are likeliest; above 1 the run was too sure. Means over seeds; "
            "intervals cover seeds and test examples, those of temperatures seeds and validation examples, and the rows "
            "with a temperature take it as it is."
        )
    return lines
