"""Scores that others printed, beside the study's where both are of one model, start, test split and metric.

They stand in ``conf/published/<source>.yaml``, a file per source, and only what was read there itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from selfpretrain.door import find_folder, load_yaml
from selfpretrain.report.findings import Panel, PublishedScore, Summary
from selfpretrain.runs.results import StudyResults
from selfpretrain.starts import Start


@dataclass
class Measure:
    """What a printed number is of: the hub's split, and a metric of ``stats.metrics.METRICS``."""

    split: str = ""
    metric: str = ""


@dataclass
class PublishedRow:
    """The scores of one encoder, by task card."""

    name: str = ""
    model: str = ""  # preset under conf/model/
    condition: str = ""  # that of ours which it stands beside
    checkpoint: str | None = None  # the hub's name of what offshelf has to be
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class PublishedTable:
    """A file under ``conf/published/``."""

    source: str = ""
    statistic: str = ""
    measures: dict[str, Measure] = field(default_factory=dict)  # by task card
    rows: list[PublishedRow] = field(default_factory=list)


def load_published() -> list[PublishedTable]:
    """All files, by name."""
    folder = find_folder("conf") / "published"
    return [load_yaml(path, PublishedTable) for path in sorted(folder.glob("*.yaml"))]


def build_published(summary: Summary, results: StudyResults) -> list[PublishedScore]:
    """What of the printed scores has one of the study's to stand beside, in its order; of several numbers of labels none,
    since printed scores are of all.
    """
    tables = load_published()
    whole = [panel for panel in summary.panels if panel.task == panel.card]
    return [found for panel in whole for found in _match(panel, tables, results)]


def _match(panel: Panel, tables: list[PublishedTable], results: StudyResults) -> Iterator[PublishedScore]:
    task, study = results.tasks[panel.task], results.study
    offshelf = Start.parse(study.offshelf).name.partition("@")[0] if study.offshelf else None
    here = Measure(str(task.splits.get("test")), panel.metric)
    official = task.num_rows.get("test", panel.num_examples)
    for table in tables:
        for row in table.rows if table.measures.get(panel.card) == here else []:
            entry, value = panel.find(row.condition), row.scores.get(panel.card)
            if row.model != panel.model or row.checkpoint not in (None, offshelf) or not entry or not entry.score:
                continue
            if value is not None:
                ours = (
                    panel.model,
                    panel.task,
                    panel.metric,
                    entry.condition,
                    entry.score,
                    panel.num_examples,
                    official,
                )
                yield PublishedScore(*ours, value, row.name, f"{table.source}, {table.statistic}")
