"""What is known of a study's data and conditions before anything is trained, as lines: the same on the console and in the
report.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from selfpretrain.cards import follow_card
from selfpretrain.config import RuntimeConfig, Settings
from selfpretrain.data.examples import describe_cut
from selfpretrain.data.store import load_tokenizer, read_manifest
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.kinds import arrange, get_kind
from selfpretrain.runs import identity
from selfpretrain.runs.folder import find_run, get_corpus_folder, is_corpus_built
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import read_task
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.plan import StudyPlan
from selfpretrain.study.released import describe_released


def describe_task(settings: Settings) -> list[str]:
    """The facts of the one task of a fine-tuning; lengths by the tokenizer of its start where that is at hand."""
    settings = follow_card(settings, settings.task)
    data, start = read_task(settings.task, settings.runtime.runs_dir), settings.start
    corpora: list[str] = []
    if start.is_fresh:
        corpora = [identity.identify_corpus(settings)]
    elif start.run_id is not None:  # a released start is read later
        corpora = [find_run(settings.runtime.runs_dir, "pretrain", start.run_id).read_result()["corpus"]]
    tokenizer = _find_tokenizer(corpora, settings.runtime)
    cut = _describe_cut(data, settings.finetune.seq_len, tokenizer)
    return [f"data of {data.task.name}: {fact}" for fact in (*data.notes, cut)]


def describe_data(plan: StudyPlan) -> dict[str, list[str]]:
    """What is known of each task's data, lengths included.

    What holds for one task at several numbers of labels stands with the first of them. Of data that are missing it is how
    to get them.
    """
    lengths, said = describe_lengths(plan), set()
    facts = {name: [f"missing: {reason}"] for name, reason in plan.missing.items()}
    for key, data in plan.data.items():
        facts[key] = [fact for fact in (*data.notes, *lengths[key]) if (data.task.name, fact) not in said]
        said |= {(data.task.name, fact) for fact in facts[key]}
    for name, transfers in plan.transfers.items():
        for transfer in transfers:
            known = transfer.data.notes if transfer.data else [f"missing: {transfer.problem}"]
            facts[f"{transfer.card.name} (test set for {name})"] = list(known)
    return facts


def describe_conditions(plan: StudyPlan) -> dict[str, str]:
    """How those conditions are made whose names do not say it, and what the mixes that are built hold."""
    found = {}
    for key in plan.conditions:
        condition, given = find_condition(key), plan.study.tapt
        changed = f"; in place of the published: {given}" if condition.recipe is not None and given else ""
        if condition.note:
            found[f"condition {key}"] = condition.note + changed
    for key, released in plan.released.items():
        found[f"condition {key}"] = describe_released(released)
    for cell in plan.corpora.values():
        if cell.settings.corpus.parts and cell.status == "done":
            parts = read_manifest(cell.folder)["source"]["parts"]
            sizes = [f"{_name_part(part)} {part['text_bytes'] / 1e6:,.3g} MB" for part in parts]
            found[f"text of {cell.condition}"] = ", ".join(sizes)
    return found


def _name_part(part: dict[str, Any]) -> str:
    return f"own of {part['task']['name']}" if part["task"] else str(part["corpus"]["card"])


def list_conditions(plan: StudyPlan) -> list[str]:
    """:func:`describe_conditions` as lines."""
    return [f"{name}: {fact}" for name, fact in describe_conditions(plan).items()]


def list_data(plan: StudyPlan) -> list[str]:
    """:func:`describe_data` as lines."""
    return [f"data of {name}: {fact}" for name, facts in describe_data(plan).items() for fact in facts]


def describe_lengths(plan: StudyPlan) -> dict[str, list[str]]:
    """How much of each task's texts is cut, a line for each model where that makes a difference.

    By the tokenizer of the model's corpus of this task, or of any other of its corpora.
    """
    lines = {}
    for task, data in plan.data.items():
        found: dict[str, list[str]] = {}
        for model, group in {group.model: group for group in plan.groups if group.task == task}.items():
            corpora = [cell for cell in plan.corpora.values() if cell.model == model]
            corpora.sort(key=lambda cell: cell.settings.task.name != data.task.name)
            tokenizer = _find_tokenizer([cell.id for cell in corpora], plan.settings.runtime)
            seq_len = group.choose_cells()[0].settings.finetune.seq_len
            found.setdefault(_describe_cut(data, seq_len, tokenizer), []).append(model)
        # the texts of one model are those of all where the lines are equal
        lines[task] = [line if len(found) == 1 else f"{line} ({', '.join(models)})" for line, models in found.items()]
    return lines


def _describe_cut(data: TaskData, seq_len: int, tokenizer: Tokenizer | None) -> str:
    in_windows = get_kind(data.task.label_kind).of_tokens
    return describe_cut(data.splits["train"].texts, seq_len, tokenizer, partial(arrange, data.task), in_windows)


def _find_tokenizer(corpora: list[str], runtime: RuntimeConfig) -> Tokenizer | None:
    """That of the first of these corpora that is built; None before one is."""
    built = [corpus_id for corpus_id in corpora if is_corpus_built(corpus_id, runtime)]
    return load_tokenizer(get_corpus_folder(built[0], runtime)) if built else None
