"""Scoring a fine-tuned run on a task: its own, or another with the same labels (a shifted domain, a challenge set)."""

from __future__ import annotations

import dataclasses

from selfpretrain.config import FinetuneConfig, Settings, TaskConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.devices import choose_autocast, choose_device, resolve_precision
from selfpretrain.door import to_dataclass, to_yaml
from selfpretrain.hashing import compute_id
from selfpretrain.runs.folder import RunFolder, find_run, open_run
from selfpretrain.sources.evaluation import describe_seen, load_file
from selfpretrain.sources.labelled import TaskData
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages.finetune import Outputs, encode, score_splits
from selfpretrain.tasks.sequence import SequenceModel, predict
from selfpretrain.train.checkpoint import load_encoder, load_json, load_part


def evaluate(settings: Settings) -> RunFolder:
    """Predict and score the task's validation and test splits with the fine-tuned run ``init=run:<id>``.

    Of a user's file, all rows are the test split.
    """
    run_id = settings.start.run_id
    if run_id is None or settings.start.step is not None:
        raise UserError(f"init={settings.init}: evaluate needs a fine-tuned run; init=run:<id of a fine-tuning>")
    source = find_run(settings.runtime.runs_dir, "finetune", run_id)
    data = read_data(settings, source)
    identity = compute_id({"stage": "evaluate", "run": run_id, "task": data.fingerprint, "metric": data.task.metric})
    run = open_run(settings.runtime.runs_dir, "evaluate", identity)
    with run.lock():
        if run.status != "done":
            _score(settings, run, source, data)
    return run


def read_data(settings: Settings, source: RunFolder) -> TaskData:
    """The examples to score; ``notes`` say how many there are, and how many of them were in training."""
    task, runs_dir = settings.task, settings.runtime.runs_dir
    if task.loader != "local":
        return read_task(task, runs_dir)
    trained = to_dataclass(load_json(source.path / "model" / "encoder.json")["head"]["task"], TaskConfig)
    data = load_file(task, trained, runs_dir)
    seen = describe_seen(data, trained, source.read_result().get("data"), runs_dir)
    return dataclasses.replace(data, notes=[*data.notes, seen])


def load_model(source: RunFolder, task: TaskConfig) -> tuple[SequenceModel, Tokenizer, FinetuneConfig, TaskConfig]:
    """The fine-tuned model of a run with its tokenizer and settings, and ``task`` with the score range it was trained on.

    UserError when the labels differ.
    """
    folder = source.path / "model"
    encoder, tokenizer = load_encoder(folder)
    description = load_json(folder / "encoder.json")["head"]
    trained = to_dataclass(description["task"], TaskConfig)
    for name in ("label_kind", "label_names"):
        if getattr(trained, name) != getattr(task, name):
            raise UserError(
                f"run:{source.id} was fine-tuned for {trained.name} with {name} {getattr(trained, name)}, "
                f"task={task.name} has {getattr(task, name)}; choose a task with the same labels"
            )
    config = to_dataclass(description["finetune"], FinetuneConfig)
    model = SequenceModel(encoder, config, trained, seed=0)
    load_part(folder, "head.safetensors", model.head)
    return model, tokenizer, config, dataclasses.replace(task, score_range=trained.score_range)


def _score(settings: Settings, run: RunFolder, source: RunFolder, data: TaskData) -> None:
    model, tokenizer, config, task = load_model(source, data.task)
    run.start(to_yaml(settings), f"selfpretrain evaluate (run {source.id}, task {settings.task.name})")
    device, seq_len = choose_device(settings.runtime), min(config.seq_len, model.encoder.config.max_positions)
    model.to(device)
    trained = dataclasses.replace(settings, model=model.encoder.config)
    autocast = choose_autocast(resolve_precision(config, trained).precision)

    def predict_split(name: str) -> Outputs:
        encoded = encode(data.splits[name], tokenizer, task, seq_len)
        return predict(model, encoded, task, device, autocast)

    scored = score_splits(run, data, predict_split)
    examples = {name: len(data.splits[name].ids) for name in scored["scores"]}
    run.finish(
        {"task": task.name, "metric": task.metric, **scored, "examples": examples, "run": source.id,
         "notes": data.notes}
    )  # fmt: skip
