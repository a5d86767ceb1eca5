"""Fine-tuning, from an encoder to predictions. Read ``finetune`` as a table of contents."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import numpy as np

from selfpretrain.cards import follow_card
from selfpretrain.config import FinetuneConfig, Settings, TaskConfig, UserError
from selfpretrain.data.examples import EncodedSplit, FinetuneBatches, encode_split
from selfpretrain.data.store import load_tokenizer
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.data.vocabulary import is_own, prepare_vocabulary
from selfpretrain.devices import choose_autocast, choose_device, resolve_precision
from selfpretrain.door import to_yaml
from selfpretrain.engines import FINETUNE_ENGINES
from selfpretrain.hashing import to_plain
from selfpretrain.kinds import TaskKind, arrange, get_kind
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.init import build_encoder
from selfpretrain.runs import identity
from selfpretrain.runs.folder import RunFolder, open_run
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.seeds import derive_seed
from selfpretrain.sources.labelled import Split, TaskData
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages import start
from selfpretrain.stages.corpus import prepare_corpus
from selfpretrain.stages.mirror import Caption, name_scores, open_tracker, share_seconds, store_weights
from selfpretrain.stages.work import (
    choose_evaluation_steps,
    choose_layout,
    count_steps,
    describe_finetuning,
    swaps_pairs,
)
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.reader import Predicted
from selfpretrain.tasks.scores import score_split
from selfpretrain.tasks.sequence import SequenceModel, predict_split
from selfpretrain.train.checkpoint import save_encoder
from selfpretrain.train.distributed import get_rank
from selfpretrain.train.engine import Engine, carry_out
from selfpretrain.train.keeper import Evaluation, Keeper, note_start
from selfpretrain.train.learners import Hook, Member
from selfpretrain.train.optim import compute_depth_multiplier


def finetune(settings: Settings) -> RunFolder:
    """Fine-tune one encoder on one task, or return the finished run.

    Raises UserError, Diverged and (on a signal, after saving) Interrupted.
    """
    return carry_out(Finetuning(settings), wait=True)


class Finetuning:
    """One fine-tuning run: what it is made of, and what is stored when its training has ended."""

    hook: Hook | None = None

    def __init__(self, settings: Settings, caption: Caption | None = None):
        self.settings = settings = follow_card(settings, settings.task)
        self.runtime = settings.runtime
        self.device = choose_device(settings.runtime)
        self.data = read_task(settings.task, settings.runtime.runs_dir)
        vocabulary_id = identity.identify_vocabulary(settings) if settings.start.is_fresh else None
        run_id = identity.identify_finetune(settings, self.data, vocabulary_id)
        self.run = open_run(settings.runtime.runs_dir, "finetune", run_id)
        self.config = resolve_precision(settings.finetune, settings)
        self.caption = caption or Caption()
        self.engine: Engine = resolve_name(FINETUNE_ENGINES[settings.finetune.engine])

    def build(self, num_seeds: int) -> Member:
        """Mark the run as running and make what is trained; ``num_seeds`` are trained together. Under the lock."""
        settings, config, task = self.settings, self.config, self.data.task
        encoder, self.tokenizer = build_start(settings)
        command = f"selfpretrain finetune (task {settings.task.name}, init {settings.init})"
        seed = settings.seeds.finetune_seed
        pooler = start.load_pooler(settings.start, settings.runtime.runs_dir) if config.head == "pooler" else None
        self.model = SequenceModel(encoder, config, task, derive_seed(seed, "head"), pooler)
        self.splits = self.encode_splits(fit(config, encoder))
        batches = build_batches(settings, get_kind(task.label_kind), self.splits["train"], encoder)
        num_examples = len(self.splits["train"])
        self.total_steps = total_steps = count_steps(config, num_examples)
        self.evaluation_steps = choose_evaluation_steps(config, total_steps, num_examples)
        facts = self.engine.describe(self)
        note_start(self.run, to_yaml(settings), command, num_seeds, self.model, config.precision, self.device, facts)
        multiplier = functools.partial(
            compute_depth_multiplier, num_layers=encoder.config.num_layers, decay=config.layerwise_lr_decay
        )
        columns = {
            "task": settings.task.name, "finetune_seed": seed, "learning_rate": config.peak_lr,
            "label_count": len(self.data.splits["train"].ids),
        }  # fmt: skip
        self.num_seeds, self.tracker = num_seeds, open_tracker(self.run, settings, self.caption, columns)
        evaluation = Evaluation(self.evaluate, self.evaluation_steps, best_of="score")
        keeper = Keeper(self.model, self.run, settings.runtime, self.tracker, evaluation)
        return Member(keeper, batches, config, total_steps, seed, multiplier, self.hook)

    def evaluate(self, done: int) -> dict[str, float]:
        """The score on validation, unless it has none."""
        value, _ = score_split(self.data.task, *self.predict("validation")[:2])
        return {} if value is None else {"score": value}

    def finish(self, member: Member) -> None:
        """Store predictions and the model with the best validation score, and the result."""
        member.keeper.load_best()
        if get_rank() != 0:
            return
        task, evaluation = self.data.task, member.keeper.evaluation
        scored = score_splits(self.run, self.data, self.predict)
        description = {"finetune": to_plain(self.settings.finetune), "task": to_plain(task)}
        save_encoder(self.run.path / "model", self.model.encoder, self.tokenizer, self.model.head, description)
        self.run.finish(
            {"task": task.name, "metric": task.metric, "best_step": evaluation.best_step, "steps": member.total_steps,
             "train_examples": len(set(self.splits["train"].ids)), "history": evaluation.history, "data": self.data.fingerprint,
             **scored}
        )  # fmt: skip
        self.mirror(scored["scores"])

    def mirror(self, scores: dict[str, float | None]) -> None:
        """Tell the tracker what is stored; FLOPs by formula, of this many tokens."""
        task, train, encoder = self.data.task, self.splits["train"], self.model.encoder
        settings = dataclasses.replace(self.settings, model=encoder.config)
        windows = len(train.lengths) / (len(train) * get_kind(task.label_kind).count_sequences(task))
        work = describe_finetuning(settings, self.data, encoder.vocab_size, round(train.lengths.mean()), windows)
        seconds = share_seconds(self.run, self.num_seeds)
        found = {**name_scores(task.metric, scores), "flops": work.flops, "steps": self.total_steps, **seconds}
        self.tracker.summarize(found)
        weights = {f"step-{self.total_steps}": self.run.path / "model"}
        store_weights(self.tracker, self.settings, f"finetuned-{self.run.id}", weights)

    def encode_splits(self, config: FinetuneConfig) -> dict[str, EncodedSplit]:
        splits, task = dict(self.data.splits), self.data.task
        if swaps_pairs(self.settings.finetune, task):
            splits["train"] = swap_pairs(splits["train"])
        return {name: encode(splits[name], self.tokenizer, task, config) for name in ("train", "validation", "test")}

    def predict(self, name: str) -> Predicted:
        """What the model says of a split."""
        split, dtype = self.data.splits[name], choose_autocast(self.config.precision)
        return predict_split(self.model, split, self.splits[name], self.data.task, self.device, dtype)


def score_splits(run: RunFolder, data: TaskData, predict: Callable[[str], Predicted]) -> dict[str, Any]:
    """Store and score the predictions for what there is of validation and test.

    Returns, for the result, ``scores`` by split and, where one is null, the reason under ``undefined``.
    """
    scores: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for name in ("validation", "test"):
        if name in data.splits:
            predicted = predict(name)
            write_predictions(run.predictions(name), list(data.splits[name].ids), *predicted)
            scores[name], reason = score_split(data.task, predicted.labels, predicted.outputs)
            undefined |= {name: reason} if reason else {}
    return {"scores": scores, "undefined": undefined} if undefined else {"scores": scores}


def build_start(settings: Settings) -> tuple[Encoder, Tokenizer]:
    """The encoder to fine-tune: loaded, or fresh with the vocabulary that a pretrained one would have."""
    if not settings.start.is_fresh:
        encoder, tokenizer = start.load_start(settings.start, settings.runtime.runs_dir)
        if tokenizer.vocab_size > encoder.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the encoder's embeddings only {encoder.vocab_size}; "
                "use the tokenizer the encoder was trained with, or init=none for a fresh encoder"
            )
        return encoder, tokenizer
    if is_own(settings.tokenizer):
        tokenizer = load_tokenizer(prepare_corpus(settings))
    else:
        tokenizer = prepare_vocabulary(settings.tokenizer, settings.runtime)
    seed = derive_seed(identity.get_pretrain_seeds(settings.seeds)["init"], "init")
    return build_encoder(settings.model, tokenizer.vocab_size, tokenizer.pad_id, seed), tokenizer


def build_batches(settings: Settings, kind: TaskKind, split: EncodedSplit, encoder: Encoder) -> FinetuneBatches:
    """A training split's batches, laid out as the device likes them."""
    config, runtime = settings.finetune, settings.runtime
    packed, micro_batch_size = choose_layout(config, runtime, choose_device(runtime), split.num_sequences, kind.packs)
    return FinetuneBatches(
        split, config.batch_size, micro_batch_size, settings.seeds.finetune_seed, encoder.pad_id,
        encoder.config.type_vocab_size > 1, packed,
    )  # fmt: skip


def fit(config: FinetuneConfig, encoder: Encoder) -> FinetuneConfig:
    """The settings with sequences no longer than the encoder has positions for."""
    return dataclasses.replace(config, seq_len=min(config.seq_len, encoder.config.max_positions))


def encode(split: Split, tokenizer: Tokenizer, task: TaskConfig, config: FinetuneConfig) -> EncodedSplit:
    """The sequences of a split's examples, or, of a kind whose answers are parts of the text, windows of their texts."""
    reader = get_head(task.label_kind).reader
    if reader is not None:
        return reader.encode(task, split, tokenizer, config)
    labels = get_kind(task.label_kind).encode(task, split.labels)
    return encode_split(tokenizer, list(split.ids), arrange(task, split.texts), labels, config.seq_len)


def swap_pairs(split: Split) -> Split:
    """Every unordered pair in both orders (ELECTRA's double_unordered)."""
    return Split(
        [*split.ids, *(f"{example}:swapped" for example in split.ids)],
        [*split.texts, *((second, first) for first, second in split.texts)],
        np.concatenate([split.labels, split.labels]),
    )
