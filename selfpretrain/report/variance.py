"""Where the variance of each condition's scores lies, and how large a difference the study could have found."""

from __future__ import annotations

import math

from selfpretrain.config import StudyConfig
from selfpretrain.report.columns import (
    CONDITION,
    NA,
    NOT_APPLICABLE,
    PANEL,
    Cell,
    Table,
    build_table,
    fill_panel,
    list_interval,
    measure,
    name_interval,
)
from selfpretrain.report.comparisons import Difference, Interval, Source
from selfpretrain.report.findings import Entry, Summary
from selfpretrain.runs.results import AlignedRuns
from selfpretrain.stats.components import (
    EXAMPLES,
    FINETUNING,
    Component,
    compute_run_values,
    estimate_run_components,
    sum_interactions,
)
from selfpretrain.stats.power import Expectation, compute_detectable
from selfpretrain.study.conditions import OWN
from selfpretrain.study.power import list_levels


def find_sources(runs: AlignedRuns, metric: str, study: StudyConfig) -> tuple[list[Source], float]:
    """What each source of chance adds to a score, and the part of the mean score's variance that runs and examples make
    together; nothing of a single run.

    Raises UserError for a crossed design with missing runs.
    """
    if len(runs.cells) < 2:
        return [], 0.0
    levels, draws = list_levels(runs), study.num_replicates
    values = compute_run_values(runs.predictions, runs.labels, metric, levels, draws, groups=runs.groups)
    components = estimate_run_components(values, study.confidence)
    sources = [_to_source(part, values.num_examples) for part in components.parts]
    return sources, sum_interactions(values, components) / values.num_examples


def _to_source(part: Component, num_examples: int) -> Source:
    """As standard deviations of a score: of examples, that of a test set of this size."""
    scale = 1 / num_examples if part.source.endswith(EXAMPLES) else 1.0
    point, low, high = (math.sqrt(scale * value) for value in (part.variance, part.low, part.high))
    return Source(part.source, Interval(point, low, high), part.estimate < 0)


def set_detectable(summary: Summary) -> None:
    """Say of every gain, and of own against the reference, which difference the study finds with the usual power, after
    Holm's correction over its family where no other is clear.
    """
    num_claims = len(summary.list_claims())
    others = [
        e for e in summary.entries if e.condition not in (OWN, summary.reference) and e.gain and e.gain.p is not None
    ]
    family = {is_cross: sum((e.about.text_of is not None) == is_cross for e in others) for is_cross in (False, True)}
    for panel in summary.panels:
        baseline, own, reference = map(panel.find, (summary.baseline, OWN, summary.reference))
        for entry in panel.entries:
            size = (
                num_claims if entry.condition in (OWN, summary.reference) else family[entry.about.text_of is not None]
            )
            _set_detectable(entry.gain, (baseline, entry), size, summary.alpha)
        _set_detectable(panel.versus_reference, (reference, own), num_claims, summary.alpha)


def _set_detectable(
    difference: Difference | None, sides: tuple[Entry | None, Entry | None], num_claims: int, alpha: float
) -> None:
    if difference is None or difference.is_of_checkpoints or difference.variance.total == 0:
        return
    variance = difference.variance
    twice = sum(entry.interaction_variance for entry in sides if entry)
    truth = max(variance.base + variance.expt, variance.total - twice)
    difference.detectable = compute_detectable(Expectation(variance, truth), alpha=alpha, num_claims=num_claims)


def has_sources(summary: Summary) -> bool:
    return any(entry.sources for entry in summary.entries)


def build_variance_table(summary: Summary) -> Table:
    """A row per model, task and condition with several runs: standard deviations of a score by source."""
    entries = [(panel, entry) for panel in summary.panels for entry in panel.entries if entry.sources]
    names = list(dict.fromkeys(source.name for _, entry in entries for source in entry.sources))
    names.sort(key=lambda name: (name.endswith(f" x {EXAMPLES}"), name == EXAMPLES, name == FINETUNING))
    columns = {**PANEL, **CONDITION}
    columns |= {name: (*name_interval(_to_column(name)), f"{_to_column(name)}_negative") for name in names}
    rows: list[list[Cell]] = []
    for panel, entry in entries:
        found = {source.name: source for source in entry.sources}
        cells = [_fill(found.get(name)) for name in names]
        rows.append([*fill_panel(panel), (entry.condition, entry.condition, entry.state), *cells])
    return build_table("variance", "Where the variance lies (standard deviations of a score)", columns, rows, (3, 1))


def _to_column(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


def _fill(source: Source | None) -> Cell:
    if source is None:
        return NOT_APPLICABLE, NA, NA, NA, NA
    text = measure(source.sd, mark=" < 0" if source.is_negative else "")
    return text, *list_interval(source.sd), str(source.is_negative).lower()


def explain_variance(summary: Summary) -> list[str]:
    """How to read the table, and what a study is said to find."""
    lines = []
    if has_sources(summary):
        together = "what the factors do together" if summary.is_crossed else "the seed"
        lines.append(
            "Where the variance lies: how far a score moves by one source of chance alone, by the method of moments: the "
            "pretraining seed, a fine-tuning of the same pretraining, another test set of this size, and what runs and "
            f"examples do together, which neither does alone. With one fine-tuning of each seed its part stands in that of {together}. "
            "Brackets: generalized intervals, wide since seeds are few; an estimate below 0 is shown as 0 and "
            "marked < 0."
        )
    if any(entry.gain and entry.gain.detectable for entry in summary.entries):
        lines.append(
            "What the study could find: the difference that is clear with a chance of 80 %, if variances are those seen and "
            "no other difference is clear, so that Holm's correction is at its strictest."
        )
    return lines
