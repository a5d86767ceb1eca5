"""Scoring a fine-tuned run on a task: its own, or another with the same labels (a shifted domain, a challenge set)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from selfpretrain.config import FinetuneConfig, Settings, TaskConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.devices import choose_autocast, choose_device, resolve_precision
from selfpretrain.door import to_dataclass, to_yaml
from selfpretrain.kinds import CLASSES, get_kind
from selfpretrain.runs.folder import RunFolder, find_run, open_run
from selfpretrain.runs.identity import identify_evaluation
from selfpretrain.sources.evaluation import check_labels, describe_seen, load_file, load_test_set, map_labels
from selfpretrain.sources.labelled import Split, TaskData
from selfpretrain.sources.tasks import is_test_set, read_task
from selfpretrain.stages.finetune import encode, fit, score_splits
from selfpretrain.stages.mirror import Caption, name_scores, open_tracker, share_seconds
from selfpretrain.tasks.reader import Outputs, Predicted
from selfpretrain.tasks.sequence import SequenceModel, predict_split
from selfpretrain.train.checkpoint import load_encoder, load_json, load_part


def evaluate(settings: Settings, wait: bool = True, caption: Caption | None = None) -> RunFolder:
    """Predict and score the task's validation and test splits with the fine-tuned run ``init=run:<id>``.

    Of a user's file, all rows are the test split; a card that is a test set has no other. Not to ``wait`` for another
    process that works on it: ``Busy``.
    """
    run_id = settings.start.run_id
    if run_id is None or settings.start.step is not None:
        raise UserError(f"init={settings.init}: evaluate needs a fine-tuned run; init=run:<id of a fine-tuning>")
    source = find_run(settings.runtime.runs_dir, "finetune", run_id)
    data = read_data(settings, source)
    run = open_run(settings.runtime.runs_dir, "evaluate", identify_evaluation(run_id, data))
    with run.lock(wait):
        if run.status != "done":
            _score(settings, run, source, data, caption or Caption())
    return run


def read_data(settings: Settings, source: RunFolder) -> TaskData:
    """The examples to score; ``notes`` say how many there are, and how many of them were in training."""
    task, runs_dir = settings.task, settings.runtime.runs_dir
    if task.loader != "local" and not is_test_set(task):
        return read_task(task, runs_dir)
    trained = to_dataclass(load_json(source.path / "model" / "encoder.json")["head"]["task"], TaskConfig)
    data = load_test_set(task) if is_test_set(task) else load_file(task, trained, runs_dir)
    seen = describe_seen(data, trained, source.read_result().get("data"), runs_dir)
    return dataclasses.replace(data, notes=[*data.notes, seen])


def load_model(source: RunFolder, task: TaskConfig) -> tuple[SequenceModel, Tokenizer, FinetuneConfig, TaskConfig]:
    """The fine-tuned model of a run with its tokenizer, settings and task; UserError when that has not ``task``'s labels."""
    folder = source.path / "model"
    encoder, tokenizer = load_encoder(folder)
    description = load_json(folder / "encoder.json")["head"]
    trained = to_dataclass(description["task"], TaskConfig)
    check_labels(task, trained, f"run:{source.id}")
    config = to_dataclass(description["finetune"], FinetuneConfig)
    if task.label_map and get_kind(task.label_kind).form is not CLASSES:
        raise UserError(f"task.label_map is of classes, not of label_kind={task.label_kind}; set task.label_map=null")
    model = SequenceModel(encoder, config, trained, seed=0)
    load_part(folder, "head.safetensors", model.head)
    return model, tokenizer, config, trained


def merge_outputs(outputs: Outputs, task: TaskConfig, trained: TaskConfig) -> Outputs:
    """Outputs [N, classes of the run] as those of the task's classes: each the largest of what counts as it.

    The largest output then chooses what the run's own class counts as.
    """
    if not task.label_map:
        return outputs
    mapped = np.array(map_labels(task, trained))
    return np.stack([outputs[:, mapped == name].max(axis=1) for name in task.label_names], axis=1)


def _score(settings: Settings, run: RunFolder, source: RunFolder, data: TaskData, caption: Caption) -> None:
    predict = prepare(settings, source, data.task)
    run.start(to_yaml(settings), f"selfpretrain evaluate (run {source.id}, task {settings.task.name})")
    with ExitStack() as stack:
        tracker = open_tracker(run, settings, caption, describe_source(source, data.task))
        stack.callback(tracker.finish, 1)  # of one that does not come to its end
        scored = score_splits(run, data, lambda name: predict(data.splits[name]))
        examples = {name: len(data.splits[name].ids) for name in scored["scores"]}
        run.finish(
            {"task": data.task.name, "metric": data.task.metric, **scored, "examples": examples, "run": source.id,
             "notes": data.notes}
        )  # fmt: skip
        tracker.summarize({**name_scores(data.task.metric, scored["scores"]), **share_seconds(run, 1)})
        tracker.finish(0)


def describe_source(source: RunFolder, task: TaskConfig) -> dict[str, Any]:
    """The columns of an evaluation: what its fine-tuned run was made of, and the test set."""
    head = load_json(source.path / "model" / "encoder.json")["head"]
    return {
        "run": source.id,
        "task": head["task"]["name"],
        "test_set": task.name,
        "learning_rate": head["finetune"]["peak_lr"],
        "label_count": source.read_result()["train_examples"],
    }


def prepare(settings: Settings, source: RunFolder, task: TaskConfig) -> Callable[[Split], Predicted]:
    """What the fine-tuned run says of a split of ``task``; UserError where its labels are others."""
    model, tokenizer, config, trained = load_model(source, task)
    task = dataclasses.replace(task, score_range=trained.score_range)
    device, fitting = choose_device(settings.runtime), fit(config, model.encoder)
    model.to(device)
    resolved = resolve_precision(config, dataclasses.replace(settings, model=model.encoder.config))
    autocast = choose_autocast(resolved.precision)

    def predict(split: Split) -> Predicted:
        predicted = predict_split(model, split, encode(split, tokenizer, task, fitting), task, device, autocast)
        return predicted._replace(outputs=merge_outputs(predicted.outputs, task, trained))

    return predict
