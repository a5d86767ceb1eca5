"""What is known of a study's data before anything is trained, as lines: the same on the console and in the report."""

from __future__ import annotations

from selfpretrain.config import Settings
from selfpretrain.data.examples import describe_cut
from selfpretrain.data.store import load_tokenizer
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.runs import identity
from selfpretrain.runs.folder import find_run, get_corpus_folder, is_corpus_built
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import read_task
from selfpretrain.study.plan import StudyPlan


def describe_data(data: TaskData) -> list[str]:
    """One line per fact: ``data of <task>: ...``."""
    return [f"data of {data.task.name}: {note}" for note in data.notes]


def describe_task(settings: Settings) -> list[str]:
    """The facts of the one task of a fine-tuning; lengths by the tokenizer of its start where that is at hand."""
    data = read_task(settings.task, settings.runtime.runs_dir)
    seq_len = min(settings.finetune.seq_len, settings.model.max_positions)
    cut = describe_cut(data.splits["train"].texts, seq_len, _find_start_tokenizer(settings))
    return [*describe_data(data), f"data of {data.task.name}: {cut}"]


def _find_start_tokenizer(settings: Settings) -> Tokenizer | None:
    """That of the corpus, the start's or a fresh encoder's own, where it is there; a released start is read later."""
    start = settings.start
    if start.is_fresh:
        corpus_id = identity.identify_corpus(settings)
    elif start.run_id is not None:
        corpus_id = find_run(settings.runtime.runs_dir, "pretrain", start.run_id).read_result()["corpus"]
    else:
        return None
    if not is_corpus_built(corpus_id, settings.runtime):
        return None
    return load_tokenizer(get_corpus_folder(corpus_id, settings.runtime))


def describe_lengths(plan: StudyPlan) -> list[tuple[str, str]]:
    """For each task, and each model where that makes a difference, how much of the texts is cut."""
    lines: list[tuple[str, str]] = []
    for task in plan.tasks:
        found: dict[str, list[str]] = {}
        for model in dict.fromkeys(group.model for group in plan.groups if group.task == task):
            line = describe_cut(
                plan.data[task].splits["train"].texts, _get_length(plan, model), _find_tokenizer(plan, model, task)
            )
            found.setdefault(line, []).append(model)
        # the texts of one model are those of all where the lines are equal
        lines += [
            (task, line if len(found) == 1 else f"{line} ({', '.join(models)})") for line, models in found.items()
        ]
    return lines


def _get_length(plan: StudyPlan, model: str) -> int:
    settings = next(group for group in plan.groups if group.model == model).choose_cells()[0].settings
    return min(settings.finetune.seq_len, settings.model.max_positions)


def _find_tokenizer(plan: StudyPlan, model: str, task: str) -> Tokenizer | None:
    """That of the model's corpus of this task, or of any other of its corpora; None before one is built."""
    built = [
        cell
        for cell in plan.corpora.values()
        if cell.model == model and is_corpus_built(cell.id, cell.settings.runtime)
    ]
    built.sort(key=lambda cell: cell.settings.task.name != task)
    return load_tokenizer(get_corpus_folder(built[0].id, built[0].settings.runtime)) if built else None
