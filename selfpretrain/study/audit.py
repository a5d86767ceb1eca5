"""What the texts that a study trains on hold of its tasks' evaluation splits: ``selfpretrain corpus audit``, and the report's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from selfpretrain.config import CorpusConfig, TaskConfig
from selfpretrain.door import read_parts
from selfpretrain.sources import documents
from selfpretrain.stages.audit import Audit, audit_text, count_split
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.plan import StudyPlan

TRAINING = "training split"  # what every condition is fine-tuned on

Text = tuple[CorpusConfig, TaskConfig | None]  # a corpus, and the task whose own text it is or goes by


def audit_study(plan: StudyPlan) -> dict[str, dict[str, Audit]]:
    """By task and text, the evaluation examples of the task that the text holds, for all texts behind its conditions.

    Texts that are the same, as the training split and the own text most often, stand together, their names joined.
    Every text is read once for all its tasks, and not at all where that was done before.
    """
    texts: dict[str, Text] = {}  # by fingerprint
    names: dict[str, dict[str, list[str]]] = {}  # by the task's key and that fingerprint
    for key in plan.tasks:
        names[key] = {}
        for name, text in _iter_texts(plan, key):
            fingerprint = documents.compute_fingerprint(*text, plan.settings.runtime.runs_dir)
            texts.setdefault(fingerprint, text)
            known = names[key].setdefault(fingerprint, [])
            known += [name] if name not in known else []
    found: dict[tuple[str, str], Audit] = {}
    for fingerprint, text in texts.items():
        keys = [key for key, by_text in names.items() if fingerprint in by_text]
        audits = audit_text(*text, [plan.tasks[key] for key in keys], plan.settings.runtime)
        found |= {(key, fingerprint): audit for key, audit in zip(keys, audits, strict=True)}
    return {
        key: {", ".join(joined): found[key, fingerprint] for fingerprint, joined in by_text.items()}
        for key, by_text in names.items()
    }


def _iter_texts(plan: StudyPlan, key: str) -> Iterator[tuple[str, Text]]:
    """The texts behind a task's conditions, by name; of a mix, those it is made of."""
    # as a corpus of the text columns, so that it is the own text where that has the same columns
    training = dataclasses.replace(plan.tasks[key], corpus_columns=[], max_train_examples=None)
    yield TRAINING, (CorpusConfig(source="own"), training)
    for group in plan.groups:
        cells = group.choose_cells() if group.task == key else []
        for run_id in dict.fromkeys(run_id for cell in cells for run_id in cell.stands_on):
            settings = plan.pretrainings[run_id].settings
            text: Text = settings.corpus, settings.task
            for corpus, owner in read_parts(*text) or [text]:
                yield _name(corpus, owner), (corpus, owner)


def _name(corpus: CorpusConfig, owner: TaskConfig | None) -> str:
    task = documents.find_owner(corpus, owner)
    name = f"own of {task.name}" if task else str(corpus.card)
    limit = f", {corpus.max_mb:g} MiB" if corpus.max_mb is not None else ""
    return f"{name}{limit}, sized" if corpus.size_as else f"{name}{limit}"


def list_held(audits: dict[str, Audit]) -> dict[str, list[str]]:
    """By text, the test examples that it holds."""
    return {name: audit["test"].list_held() for name, audit in audits.items()}


def print_audit(plan: StudyPlan, console: Console) -> None:
    """Print what each text holds of each split, how to read it, and what is known of the tasks' data."""
    for key, audits in audit_study(plan).items():
        columns = [Column("split", no_wrap=True), *(Column(name, justify="right") for name in ("examples", *MEASURES))]
        table = Table("text", *columns, title=f"audit of {key}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for name, audit in audits.items():
            for place, (split, found) in enumerate(audit.items()):
                table.add_row("" if place else name, split, *map("{:,}".format, count_split(found).values()))
        console.print(table)
    lines = [*EXPLANATIONS, *(f"data of {key}: {note}" for key, data in plan.data.items() for note in data.notes)]
    for line in [*lines, *list_unknown(plan)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def list_unknown(plan: StudyPlan) -> list[str]:
    """The conditions whose texts cannot be audited, and the tasks whose data are missing."""
    released = [key for key in plan.conditions if find_condition(key).is_of_others]
    lines = [f"{', '.join(released)}: what the released checkpoint was trained on is unknown"] if released else []
    return [*lines, *(f"data of {name}: missing: {reason}" for name, reason in plan.missing.items())]


MEASURES = ("exact", "near", "any", "half", "most")
EXPLANATIONS = (
    "exact: equal to a document or a line of the text, but for case and white space. near: of a Jaccard similarity of at "
    "least .8 to one, over runs of five words, by MinHash.",
    "n-grams: runs of 13 words, or all words of an example with 8 to 12; counted are the examples of which any, at least "
    "half, and at least .8 (most) stand in the text. What is exact, near or most is what study.exclude_overlap=true leaves "
    "out of a report's second set of tables.",
)
