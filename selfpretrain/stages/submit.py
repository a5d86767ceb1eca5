"""A fine-tuned run's predictions on unlabelled test sets, as the server of a benchmark takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfpretrain.cards import list_cards, load_task_card
from selfpretrain.config import Settings, TaskConfig, UserError
from selfpretrain.door import to_dataclass
from selfpretrain.files import make_folder, write_text
from selfpretrain.kinds import CLASSES, get_kind
from selfpretrain.runs.folder import find_run
from selfpretrain.sources.evaluation import load_unlabelled
from selfpretrain.stages.evaluate import prepare
from selfpretrain.tasks.reader import Outputs
from selfpretrain.train.checkpoint import load_json


def submit(settings: Settings) -> list[Path]:
    """Write the files that the card of the run's task names, in ``runtime.submission_dir``: a row for each example.

    A class is its number, or its name where the card says so; a score is held within its range [nyu-mll/jiant
    glue_submission_formatter.py]. Runs of several tasks fill one folder, file by file.

    Raises UserError for a run of a task without a server, and for data that cannot be got.
    """
    if settings.start.run_id is None or settings.start.step is not None:
        raise UserError(f"init={settings.init}: submit needs a fine-tuned run; init=run:<id of a fine-tuning>")
    source = find_run(settings.runtime.runs_dir, "finetune", settings.start.run_id)
    trained = to_dataclass(load_json(source.path / "model" / "encoder.json")["head"]["task"], TaskConfig)
    cards = {name: load_task_card(name) for name in list_cards("task")}
    if trained.name not in cards or not cards[trained.name].server_files:
        served = ", ".join(name for name, card in cards.items() if card.server_files)
        raise UserError(f"run:{source.id} is of {trained.name}, which no server scores; those that one does: {served}")
    card, folder = cards[trained.name], Path(settings.runtime.submission_dir)
    predict, tables = prepare(settings, source, trained), {}
    for name, place in card.server_files.items():
        owner, _, split = place.rpartition("/")
        unlabelled = load_unlabelled(cards[owner or trained.name], split)
        tables[name] = list(zip(unlabelled.ids, render(trained, card, predict(unlabelled).outputs), strict=True))
    make_folder(folder)
    for name, rows in tables.items():
        lines = ["index\tprediction", *("\t".join(row) for row in rows)]
        write_text(folder / name, "\n".join(lines) + "\n")
    return [folder / name for name in tables]


def render(task: TaskConfig, card: TaskConfig, outputs: Outputs) -> Sequence[str]:
    """Outputs [N, K] as they are stored, as the server reads them."""
    kind = get_kind(task.label_kind)
    predicted = kind.decode(outputs)
    if kind.form is not CLASSES:
        low, high = task.score_range
        return [f"{min(max(value, low), high):.3f}" for value in predicted.tolist()]
    return [task.label_names[number] if card.server_names else str(number) for number in predicted.tolist()]
