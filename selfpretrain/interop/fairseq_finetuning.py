"""``finetune.engine=fairseq``: RoBERTa with a classifier trained by ``fairseq-train --task sentence_prediction``.

It begins at the weights that the native engine would begin at, head included, and reads the same sequences; their order
and dropout are fairseq's. Its weights are written for every look at validation, which the native code takes with the task's
own metric; the best ones make the predictions.

    runs/finetune/<id>/checkpoints/    checkpoint_last.pt; look_<updates>.pt until the run is done
    runs/finetune/<id>/fairseq/        data/input0, data/label, start.pt, train.log

[fairseq 0.12.2, tasks/sentence_prediction.py, criterions/sentence_prediction.py, models/roberta/model.py]
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfpretrain.data.examples import EncodedSplit
from selfpretrain.data.store import choose_dtype, write_dictionary
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.files import make_folder, remove_folder, write_text
from selfpretrain.interop.fairseq_arguments import (
    START,
    describe_device,
    describe_optimizer,
    describe_roberta,
    refuse_lacking,
    want_optimizer,
    want_roberta,
    write_arguments,
)
from selfpretrain.interop.fairseq_process import LOG, SHIM, VERSION, find_python, hold_folder, run_command
from selfpretrain.interop.fairseq_roberta import CLASSIFIER_NAME, load_classifier, save_classifier
from selfpretrain.kinds import CLASSES, VALUES, get_kind
from selfpretrain.runs.folder import RunFolder
from selfpretrain.seeds import derive_seed
from selfpretrain.sources.fairseq_files import DICTIONARY, FIRST, check_order
from selfpretrain.sources.indexed import write_index
from selfpretrain.train.engine import Engine


def finetune_fairseq(trainings: Sequence[Any]) -> None:
    """Fine-tune one run, and store it. Raises as :func:`selfpretrain.interop.fairseq_engine.train_fairseq`."""
    (job,) = trainings
    settings, run = job.settings, job.run
    python = find_python(settings.runtime.fairseq_env)
    member = job.build(1)
    try:
        with hold_folder(run) as (folder, lock):
            data = make_folder(folder / "data")
            write_input(make_folder(data / "input0"), job.splits["train"], job.tokenizer)
            write_labels(data / "label", job.splits["train"].labels, len(job.data.task.label_names))
            save_classifier(folder / START, job.model.encoder, job.model.head)
            job.model.to(job.device)
            command: list[str | Path] = [python, SHIM, "train", *list_arguments(job)]
            seen = 0
            # from the first row on, also of a run that goes on: which checkpoint was best is known by looking again
            rows = run_command(
                command, folder / LOG, run, settings.runtime, member.total_steps, (lock,), True, job.evaluation_steps
            )
            for row in rows:
                step = int(row.pop("step"))
                seen = take_looks(job, member, seen, step)
                member.keeper.log(step, row)
        take_looks(job, member, seen, member.total_steps)
        job.finish(member)
        for file in list_looks(run).values():
            file.unlink()
        for best in run.checkpoints.glob("best_*"):
            remove_folder(best)
        member.keeper.tracker.finish(0)
    finally:
        member.keeper.tracker.finish(1)  # of a run that did not come to its end


def check_settings(job: Any) -> None:
    """Refuse, with what to set, whatever fairseq would do otherwise than the settings say, and a vocabulary that it cannot have."""
    settings, task, encoder, tokenizer = job.settings, job.data.task, job.model.encoder, job.tokenizer
    f, kind, model = settings.finetune, get_kind(task.label_kind), encoder.config
    wanted = {
        "model.family=roberta": model.family == "roberta",
        **want_roberta(model, tokenizer.kind),
        "an encoder whose embeddings are its vocabulary's": encoder.vocab_size == tokenizer.vocab_size,
        "task.label_kind=class or score": kind.form in (CLASSES, VALUES) and kind.count_sequences(task) == 1,
        "finetune.head=tanh": f.head == "tanh",
        "finetune.pooling=cls": f.pooling == "cls",
        "finetune.layerwise_lr_decay=1": f.layerwise_lr_decay == 1,
        **want_optimizer("finetune", f),
        "finetune.precision=fp32": job.config.precision == "fp32" or job.device.type == "cuda",
        "runtime.keep_steps=[]": not settings.runtime.keep_steps,
        "one process": int(os.environ.get("WORLD_SIZE", "1")) == 1,
    }
    refuse_lacking("finetune", wanted)
    check_order(tokenizer.get_tokens())


def write_input(folder: Path, split: EncodedSplit, tokenizer: Tokenizer) -> None:
    """The whole sequences, special tokens among them, as fairseq's ``input0``; its dictionary has our ids."""
    dtype = choose_dtype(tokenizer.vocab_size)
    (folder / "train.bin").write_bytes(np.concatenate(split.tokens).astype(dtype).tobytes())
    write_index(folder / "train.idx", split.lengths.astype(np.int32), dtype)
    write_dictionary(folder, tokenizer, np.ones(tokenizer.vocab_size, np.int64))


def write_labels(folder: Path, labels: np.ndarray, num_classes: int) -> None:
    """Classes as sequences of a number's id and the end's, scores as lines of text."""
    make_folder(folder)
    if labels.dtype.kind == "f":
        write_text(folder / "train.label", "".join(f"{value!r}\n" for value in labels.tolist()))
        return
    ids = np.stack([labels + len(FIRST), np.full(len(labels), FIRST.index("</s>"))], axis=1)
    (folder / "train.bin").write_bytes(ids.astype(np.int32).tobytes())
    write_index(folder / "train.idx", np.full(len(labels), 2, np.int32), np.int32)
    write_text(folder / DICTIONARY, "".join(f"{number} 1\n" for number in range(num_classes)))


def list_arguments(job: Any) -> list[str]:
    """What fairseq-train is called with."""
    settings, run, config = job.settings, job.run, job.config
    folder, model = run.path.absolute() / "fairseq", job.model.encoder.config
    is_score = get_kind(job.data.task.label_kind).form is VALUES
    given: dict[str, Any] = {
        "task": "sentence_prediction", "criterion": "sentence_prediction", "num-classes": job.model.num_outputs,
        "classification-head-name": CLASSIFIER_NAME, **describe_roberta(model), "pooler-dropout": model.dropout_prob,
        "pooler-activation-fn": "tanh", **describe_optimizer(config, job.total_steps),
        "log-interval": settings.runtime.log_every, "save-interval-updates": settings.runtime.save_every, "keep-interval-updates": settings.runtime.keep_checkpoints,
        "save-interval": 10**9,
        "save-dir": run.checkpoints.absolute(), "finetune-from-model": folder / START, "valid-subset": "train",
        "seed": derive_seed(settings.seeds.finetune_seed, "order") % 2**31,
    }  # fmt: skip
    flags = ["no-epoch-checkpoints", "disable-validation", *describe_device(config, job.device.type)]
    return write_arguments(folder / "data", given, [*flags, *(["regression-target"] if is_score else [])])


def list_looks(run: RunFolder) -> dict[int, Path]:
    """The weights that were written for a look at validation, by the update, ascending."""
    return dict(sorted((int(file.stem.removeprefix("look_")), file) for file in run.checkpoints.glob("look_*.pt")))


def take_looks(job: Any, member: Any, seen: int, done: int) -> int:
    """Look at validation with all weights after update ``seen`` and up to ``done``; returns the last one's update."""
    for step, file in list_looks(job.run).items():
        if seen < step <= done:
            load_classifier(file, job.model.encoder, job.model.head)
            member.keeper.evaluate(step)
            seen = step
    return seen


def describe(job: Any) -> dict[str, Any]:
    """What a start's provenance adds; UserError for what fairseq cannot do, before the run is marked as running."""
    check_settings(job)
    return {"engine": {"name": "fairseq", "version": VERSION, "arguments": list_arguments(job)}}


FINETUNING = Engine(finetune_fairseq, describe=describe)
