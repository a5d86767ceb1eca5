"""Fine-tuning, from an encoder to predictions. Read ``finetune`` as a table of contents."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch

from selfpretrain.cards import follow_card
from selfpretrain.config import FinetuneConfig, RuntimeConfig, Settings, TaskConfig, UserError
from selfpretrain.data.examples import EncodedSplit, FinetuneBatches, encode_split
from selfpretrain.data.store import load_tokenizer
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.data.vocabulary import is_own, prepare_vocabulary
from selfpretrain.devices import choose_device
from selfpretrain.door import to_yaml
from selfpretrain.hashing import to_plain
from selfpretrain.kinds import get_kind
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.init import build_encoder
from selfpretrain.runs import identity
from selfpretrain.runs.folder import RunFolder, open_run
from selfpretrain.runs.predictions import write_predictions
from selfpretrain.seeds import derive_seed
from selfpretrain.sources.labelled import Split
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages import start
from selfpretrain.stages.corpus import build_corpus
from selfpretrain.tasks.scores import score_split
from selfpretrain.tasks.sequence import SequenceModel, predict
from selfpretrain.tracking import build_tracker
from selfpretrain.train.checkpoint import save_encoder
from selfpretrain.train.jobs import NATIVE, carry_out
from selfpretrain.train.optim import compute_depth_multiplier
from selfpretrain.train.provenance import note_start
from selfpretrain.train.trainer import Evaluation, Trainer

PADDED_MICRO_BATCH = 8  # sorted by length, small micro-batches waste little padding
PACKED_TOKENS = 4096  # of a packed micro-batch, if every text were as long as may be


def finetune(settings: Settings) -> RunFolder:
    """Fine-tune one encoder on one task, or return the finished run.

    Raises UserError, Diverged and (on a signal, after saving) Interrupted.
    """
    return carry_out(Finetuning(settings), wait=True)


class Finetuning:
    """One fine-tuning run: what it is made of, and what is stored when its training has ended."""

    engine = NATIVE

    def __init__(self, settings: Settings, group: str = "", name: str = ""):
        self.settings = settings = follow_card(settings, settings.task)
        self.runtime = settings.runtime
        self.device = choose_device(settings.runtime)
        self.data = read_task(settings.task, settings.runtime.runs_dir)
        vocabulary_id = identity.identify_vocabulary(settings) if settings.start.is_fresh else None
        run_id = identity.identify_finetune(settings, self.data, vocabulary_id)
        self.run = open_run(settings.runtime.runs_dir, "finetune", run_id)
        self.group, self.name = group, name or run_id

    def build(self, num_seeds: int) -> Trainer:
        """Mark the run as running and make its trainer; ``num_seeds`` are trained together. Under the lock."""
        settings, config, task = self.settings, self.settings.finetune, self.data.task
        encoder, self.tokenizer = build_start(settings)
        check_vocabulary(encoder, self.tokenizer)
        command = f"selfpretrain finetune (task {settings.task.name}, init {settings.init})"
        seed, seq_len = settings.seeds.finetune_seed, min(config.seq_len, encoder.config.max_positions)
        self.model = SequenceModel(encoder, config, task, derive_seed(seed, "head"))
        note_start(self.run, to_yaml(settings), command, num_seeds, self.model, config.precision, self.device)
        self.splits = self.encode_splits(seq_len)
        num_examples = len(self.splits["train"])
        packed, micro_batch_size = choose_layout(config, settings.runtime, self.device)
        batches = FinetuneBatches(
            self.splits["train"], config.batch_size, micro_batch_size, seed, encoder.pad_id,
            encoder.config.type_vocab_size > 1, packed,
        )  # fmt: skip
        total_steps = count_steps(config, num_examples)
        multiplier = functools.partial(
            compute_depth_multiplier, num_layers=encoder.config.num_layers, decay=config.layerwise_lr_decay
        )
        tracker = build_tracker(
            settings.tracking, run_id=self.run.id, group=self.group, job_type="finetune", name=self.name,
            settings=to_plain(settings), folder=self.run.path,
        )  # fmt: skip
        trainer = Trainer(
            self.model, batches, config, total_steps, run=self.run, runtime=settings.runtime, tracker=tracker,
            seed=seed, multiplier=multiplier,
        )  # fmt: skip

        def evaluate() -> dict[str, float]:
            value, _ = self.score("validation", self.predict(trainer, "validation"))
            return {} if value is None else {"score": value}

        steps = choose_evaluation_steps(config, total_steps, num_examples)
        trainer.evaluation = Evaluation(evaluate, steps, best_of="score")
        return trainer

    def finish(self, trainer: Trainer) -> None:
        """Store predictions and the model with the best validation score, and the result."""
        trainer.load_best()
        if trainer.rank != 0:
            return
        task, evaluation = self.data.task, trainer.evaluation
        assert evaluation is not None
        scores: dict[str, float | None] = {}
        undefined: dict[str, str] = {}
        for split in ("validation", "test"):
            outputs, labels = self.predict(trainer, split), self.data.splits[split].labels
            write_predictions(self.run.predictions(split), self.splits[split].ids, labels, outputs)
            scores[split], undefined[split] = self.score(split, outputs)
        measures = {f"{split}_{task.metric}": value for split, value in scores.items() if value is not None}
        trainer.tracker.log(measures, step=trainer.total_steps)
        description = {"finetune": to_plain(self.settings.finetune), "task": to_plain(task)}
        save_encoder(self.run.path / "model", self.model.encoder, self.tokenizer, self.model.head, description)
        self.run.finish(
            {"task": task.name, "metric": task.metric, "scores": scores, "best_step": evaluation.best_step,
             "steps": trainer.total_steps, "train_examples": len(self.splits["train"]), "history": evaluation.history,
             "data": self.data.fingerprint, **note_undefined(undefined)}
        )  # fmt: skip

    def encode_splits(self, seq_len: int) -> dict[str, EncodedSplit]:
        splits, task = dict(self.data.splits), self.data.task
        if task.unordered_pair and self.settings.finetune.swap_pairs:
            splits["train"] = swap_pairs(splits["train"])
        return {name: encode(splits[name], self.tokenizer, task, seq_len) for name in ("train", "validation", "test")}

    def predict(self, trainer: Trainer, split: str) -> npt.NDArray[np.float32]:
        """Outputs [N, K] for the examples of a split."""
        return predict(self.model, self.splits[split], self.data.task, trainer.device, trainer.autocast_dtype)

    def score(self, split: str, outputs: npt.NDArray[np.float32]) -> tuple[float | None, str]:
        return score_split(self.data.task, self.data.splits[split].labels, outputs)


def note_undefined(reasons: dict[str, str]) -> dict[str, dict[str, str]]:
    """For a result: why a split's score is null, where one is."""
    undefined = {split: reason for split, reason in reasons.items() if reason}
    return {"undefined": undefined} if undefined else {}


def build_start(settings: Settings) -> tuple[Encoder, Tokenizer]:
    """The encoder to fine-tune: loaded, or fresh with the vocabulary that a pretrained one would have."""
    if not settings.start.is_fresh:
        return start.load_start(settings.start, settings.runtime.runs_dir)
    if is_own(settings.tokenizer):
        tokenizer = load_tokenizer(build_corpus(settings.corpus, settings.task, settings.tokenizer, settings.runtime))
    else:
        tokenizer = prepare_vocabulary(settings.tokenizer, settings.runtime)
    seed = derive_seed(identity.get_pretrain_seeds(settings.seeds)["init"], "init")
    return build_encoder(settings.model, tokenizer.vocab_size, tokenizer.pad_id, seed), tokenizer


def check_vocabulary(encoder: Encoder, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > encoder.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the encoder's embeddings only {encoder.vocab_size}; "
            "use the tokenizer the encoder was trained with, or init=none for a fresh encoder"
        )


def choose_layout(config: FinetuneConfig, runtime: RuntimeConfig, device: torch.device) -> tuple[bool, int]:
    """Whether texts are packed or padded, and how many make a micro-batch.

    Padded ones keep to shapes that recur, which a compiler needs, and to a GPU's fused kernels.
    """
    packed = device.type == "cpu" and not runtime.compile
    usual = max(1, PACKED_TOKENS // config.seq_len) if packed else PADDED_MICRO_BATCH
    return packed, config.micro_batch_size or usual


def encode(split: Split, tokenizer: Tokenizer, task: TaskConfig, seq_len: int) -> EncodedSplit:
    labels = get_kind(task.label_kind).encode(task, split.labels)
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
    count = min(max(1, wanted), config.max_evals, total_steps)
    return {round(total_steps * (i + 1) / count) for i in range(count)}
