"""Fine-tuning, from an encoder to predictions. Read ``finetune`` as a table of contents."""

from __future__ import annotations

import functools
import math

import numpy as np

from corpora.tasks import Split, TaskData
from selfpretrain import start
from selfpretrain.config import FinetuneConfig, Settings, TaskConfig, UserError
from selfpretrain.data.corpus import build_corpus
from selfpretrain.data.examples import EncodedSplit, FinetuneBatches, encode_split
from selfpretrain.data.store import load_tokenizer
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import to_plain, to_yaml
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.init import build_encoder
from selfpretrain.seeds import derive_seed
from selfpretrain.study import identity
from selfpretrain.study.data import read_task
from selfpretrain.study.predictions import write_predictions
from selfpretrain.study.runs import RunFolder, open_run
from selfpretrain.tasks.sequence import SequenceModel, predict, scale_scores, score
from selfpretrain.tracking import build_tracker
from selfpretrain.train import distributed
from selfpretrain.train.checkpoint import save_encoder
from selfpretrain.train.optim import compute_depth_multiplier
from selfpretrain.train.trainer import Diverged, Evaluation, Trainer, choose_device

MAX_EVALUATIONS = 10  # validation passes in one fine-tuning, however many epochs it has
DEFAULT_MICRO_BATCH = 8  # sorted by length, small micro-batches waste little padding


def finetune(settings: Settings, group: str = "", name: str = "", wait: bool = True) -> RunFolder:
    """Fine-tune one encoder on one task, or return the finished run.

    Raises UserError, Diverged, (on a signal, after saving) Interrupted, and, unless to wait, Busy.
    """
    device = choose_device(settings.runtime)
    data = read_task(settings.task, settings.runtime.runs_dir)
    corpus_id = identity.identify_corpus(settings) if settings.init == "none" else None
    run_id = identity.identify_finetune(settings, data.fingerprint, corpus_id)
    run = open_run(settings.runtime.runs_dir, "finetune", run_id)
    with distributed.hold(run, device, wait) as is_open:
        if is_open:
            encoder, tokenizer = build_start(settings)
            check_vocabulary(encoder, tokenizer)
            run.start(to_yaml(settings), f"selfpretrain finetune (task {settings.task.name}, init {settings.init})")
            _train(settings, run, data, encoder, tokenizer, group, name or run.id)
    return run


def build_start(settings: Settings) -> tuple[Encoder, Tokenizer]:
    """The encoder to fine-tune: loaded, or fresh with the tokenizer of the corpus."""
    if settings.init != "none":
        return start.load_start(settings.init, settings.runtime.runs_dir)
    folder = build_corpus(settings.corpus, settings.task, settings.tokenizer, settings.runtime)
    tokenizer = load_tokenizer(folder)
    seed = derive_seed(identity.get_pretrain_seeds(settings.seeds)["init"], "init")
    return build_encoder(settings.model, tokenizer.vocab_size, tokenizer.pad_id, seed), tokenizer


def check_vocabulary(encoder: Encoder, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > encoder.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the encoder's embeddings only {encoder.vocab_size}; "
            "use the tokenizer the encoder was trained with, or init=none for a fresh encoder"
        )


def encode(split: Split, tokenizer: Tokenizer, task: TaskConfig, seq_len: int) -> EncodedSplit:
    labels = scale_scores(split.labels, task) if task.label_kind == "score" else split.labels
    return encode_split(tokenizer, split.ids, split.texts, labels, seq_len)


def swap_pairs(split: Split) -> Split:
    """Every unordered pair in both orders (ELECTRA's double_unordered)."""
    return Split(
        split.ids + [f"{example}:swapped" for example in split.ids],
        split.texts + [(second, first) for first, second in split.texts],
        np.concatenate([split.labels, split.labels]),
    )


def count_steps(config: FinetuneConfig, num_examples: int) -> int:
    """Optimizer steps: epochs times steps per epoch, held between min_steps and max_steps."""
    per_epoch = math.ceil(num_examples / min(config.batch_size, num_examples))
    steps = max(config.min_steps, round(config.epochs * per_epoch))
    return max(1, steps if config.max_steps is None else min(steps, config.max_steps))


def choose_evaluation_steps(config: FinetuneConfig, total_steps: int, num_examples: int) -> set[int]:
    per_epoch = math.ceil(num_examples / min(config.batch_size, num_examples))
    wanted = round(config.evals_per_epoch * total_steps / per_epoch)
    count = min(max(1, wanted), MAX_EVALUATIONS, total_steps)
    return {round(total_steps * (i + 1) / count) for i in range(count)}


def _train(
    settings: Settings, run: RunFolder, data: TaskData, encoder: Encoder, tokenizer: Tokenizer, group: str, name: str
) -> None:
    config, task = settings.finetune, data.task
    seq_len = min(config.seq_len, encoder.config.max_positions)
    train = swap_pairs(data.splits["train"]) if task.unordered_pair and config.swap_pairs else data.splits["train"]
    encoded = encode(train, tokenizer, task, seq_len)
    held_out = {split: encode(data.splits[split], tokenizer, task, seq_len) for split in ("validation", "test")}
    model = SequenceModel(encoder, config, task, derive_seed(settings.seeds.finetune_seed, "head"))
    batches = FinetuneBatches(
        encoded, config.batch_size, config.micro_batch_size or DEFAULT_MICRO_BATCH, settings.seeds.finetune_seed,
        encoder.pad_id, encoder.config.type_vocab_size > 1,
    )  # fmt: skip
    total_steps = count_steps(config, len(encoded))
    multiplier = functools.partial(
        compute_depth_multiplier, num_layers=encoder.config.num_layers, decay=config.layerwise_lr_decay
    )
    tracker = build_tracker(
        settings.tracking, run_id=run.id, group=group, job_type="finetune", name=name, settings=to_plain(settings),
        folder=run.path,
    )  # fmt: skip
    exit_code = 1
    try:
        trainer = Trainer(
            model, batches, config, total_steps, run=run, runtime=settings.runtime, tracker=tracker,
            seed=settings.seeds.finetune_seed, multiplier=multiplier,
        )  # fmt: skip

        def evaluate() -> dict[str, float]:
            outputs = predict(model, held_out["validation"], task, trainer.device, trainer.autocast_dtype)
            return {"score": score(task, data.splits["validation"].labels, outputs)}

        steps = choose_evaluation_steps(config, total_steps, len(encoded))
        trainer.evaluation = Evaluation(evaluate, steps, best_of="score")
        trainer.train()
        trainer.load_best()
        if trainer.rank != 0:
            return
        scores = {}
        for split, encoded_split in held_out.items():
            outputs = predict(model, encoded_split, task, trainer.device, trainer.autocast_dtype)
            write_predictions(run.predictions(split), encoded_split.ids, data.splits[split].labels, outputs)
            scores[split] = score(task, data.splits[split].labels, outputs)
        tracker.log({f"{split}_{task.metric}": value for split, value in scores.items()}, step=total_steps)
        exit_code = 0
    except Diverged as error:
        run.set_status("diverged", str(error))
        raise
    finally:
        tracker.finish(exit_code)
    description = {"finetune": to_plain(config), "task": to_plain(task)}
    save_encoder(run.path / "model", encoder, tokenizer, model.head, description)
    evaluation = trainer.evaluation
    run.finish({"task": task.name, "metric": task.metric, "scores": scores, "best_step": evaluation.best_step,
                "steps": total_steps, "train_examples": len(train.ids), "history": evaluation.history})  # fmt: skip
