"""What a run takes, ahead of it: optimizer steps, FLOPs by formula, bytes on disk. No torch, and nothing is built.

The stages go by the same rules (how many examples and steps there are, when held-out data are scored, how many texts
are computed at once), so that what is said ahead of a run is what it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from selfpretrain.config import FinetuneConfig, PretrainConfig, RuntimeConfig, Settings, TaskConfig
from selfpretrain.data.store import choose_dtype
from selfpretrain.kinds import get_kind
from selfpretrain.model.flops import BACKWARD, count_sequence_flops, count_token_flops
from selfpretrain.model.sizes import count_encoder_parameters, count_head_parameters
from selfpretrain.pretext.objectives import (
    count_handed_parameters,
    count_pretrain_flops,
    count_pretrain_parameters,
    count_step_flops,
)
from selfpretrain.pretext.schedules import RULE, choose_steps, list_shares, round_shares
from selfpretrain.sources.labelled import TaskData

if TYPE_CHECKING:
    import torch

BYTES_PER_TOKEN = 4.0  # of English text, where no corpus says its own
WEIGHT_BYTES = 4  # of each parameter, fp32
ANSWER_BYTES = 32  # of an answer in words with its sums, in a file of predictions
KEPT_BYTES = 3 * WEIGHT_BYTES  # in a checkpoint: the weight and Adam's two moments
FILES = {  # those of each kind of bytes in the folder that a stage leaves
    "corpus": {"corpora": "**/*"},
    "pretrain": {"checkpoints": "checkpoints/**/*", "encoders": "encoder*/**/*"},
    "evaluate": {"predictions": "predictions/**/*"},
    "finetune": {"checkpoints": "checkpoints/**/*", "encoders": "model/**/*", "predictions": "predictions/**/*"},
}
DISK_KINDS = tuple(dict.fromkeys(kind for kinds in FILES.values() for kind in kinds))

PADDED_MICRO_BATCH = 8  # sorted by length, small micro-batches waste little padding
PACKED_TOKENS = 4096  # of a packed micro-batch, if every text were as long as may be


@dataclass(frozen=True)
class Work:
    """The arithmetic of one run, and what it leaves. A corpus is written, and nothing is trained for it."""

    steps: int | None = 0  # of the optimizer; None while nothing tells them
    step_flops: int = 0
    evaluation_flops: int = 0  # of all passes over held-out text or examples
    disk: dict[str, int] = field(default_factory=dict)  # bytes by kind, logs left out; empty while nothing tells them

    @property
    def training_flops(self) -> int | None:
        return None if self.steps is None else self.steps * self.step_flops

    @property
    def flops(self) -> int | None:
        return None if self.steps is None else self.steps * self.step_flops + self.evaluation_flops


def describe_corpus(vocab_size: int, text_bytes: int | None) -> Work:
    """A corpus of so much text; None: of unknown size."""
    if text_bytes is None:
        return Work()
    return Work(disk={"corpora": round(text_bytes / BYTES_PER_TOKEN * np.dtype(choose_dtype(vocab_size)).itemsize)})


def describe_pretraining(settings: Settings, vocab_size: int, total_steps: int | None) -> Work:
    """A pretraining of so many steps (None: not known yet), its held-out text being at most as much as is kept."""
    config, parts = settings.pretrain, (settings.model, settings.objective, vocab_size)
    passes = 0 if total_steps is None else len(choose_held_out_steps(config, total_steps))
    snapshots = [] if total_steps is None else choose_snapshot_steps(config, total_steps)
    checkpoints = count_checkpoints(settings.runtime, total_steps)
    parameters = count_pretrain_parameters(settings.model, settings.objective, vocab_size, 1)
    return Work(
        total_steps,
        count_step_flops(*parts, config.batch_size, config.seq_len),
        passes * count_pretrain_flops(*parts, config.max_held_out, config.seq_len),
        {
            "checkpoints": checkpoints * KEPT_BYTES * parameters,
            "encoders": (1 + len(snapshots)) * WEIGHT_BYTES * count_handed_parameters(*parts),
        },
    )


def describe_finetuning(
    settings: Settings, data: TaskData, vocab_size: int, mean_length: int, mean_windows: float = 1.0
) -> Work:
    """A fine-tuning on ``data``, whose examples' sequences have ``mean_length`` tokens, and are that many windows."""
    config, model = settings.finetune, settings.model
    num_examples = len(data.splits["train"].ids) * (2 if swaps_pairs(config, data.task) else 1)
    num_examples = round(num_examples * mean_windows)
    steps = count_steps(config, num_examples)
    evaluations = choose_evaluation_steps(config, steps, num_examples)
    validation, test = data.splits["validation"].ids, data.splits["test"].ids
    evaluated = round(((len(evaluations) + 1) * len(validation) + len(test)) * mean_windows)
    kind = get_kind(data.task.label_kind)
    head = "linear" if kind.of_tokens else config.head
    head_parameters = count_head_parameters(model, head, kind.count_outputs(data.task))
    parameters = count_encoder_parameters(model, vocab_size) + head_parameters
    # best weights that may be left: one, and every one since the last checkpoint, which removes the older
    since = steps - steps % settings.runtime.save_every
    best = min(len(evaluations), 1 + sum(step > since for step in evaluations))
    checkpoint_bytes = count_checkpoints(settings.runtime, steps) * KEPT_BYTES + best * WEIGHT_BYTES
    return Work(
        steps,
        (1 + BACKWARD) * count_task_flops(settings, data.task, min(config.batch_size, num_examples), mean_length),
        count_task_flops(settings, data.task, evaluated, mean_length),
        {
            "checkpoints": checkpoint_bytes * parameters,
            "encoders": WEIGHT_BYTES * parameters,
            "predictions": count_prediction_bytes(data.task, [*validation, *test]),
        },
    )


def describe_evaluation(settings: Settings, data: TaskData, vocab_size: int, mean_length: int) -> Work:
    """Scoring a fine-tuned run on the validation and test examples that ``data`` has."""
    ids = [name for split in ("validation", "test") if split in data.splits for name in data.splits[split].ids]
    flops = count_task_flops(settings, data.task, len(ids), mean_length)
    return Work(evaluation_flops=flops, disk={"predictions": count_prediction_bytes(data.task, ids)})


def count_prediction_bytes(task: TaskConfig, ids: Sequence[str]) -> int:
    """Of the examples with these ids, in a file of predictions."""
    kind = get_kind(task.label_kind)
    stored = ANSWER_BYTES if kind.of_tokens else 8 + 4 * kind.count_sequences(task) * kind.count_outputs(task)
    return sum(stored + len(name) for name in ids)


def count_task_flops(settings: Settings, task: TaskConfig, num_examples: int, mean_length: int) -> int:
    """A forward pass over so many examples of a task, whose sequences have ``mean_length`` tokens."""
    config, model, kind = settings.finetune, settings.model, get_kind(task.label_kind)
    num_outputs, num_sequences = kind.count_outputs(task), num_examples * kind.count_sequences(task)
    if kind.of_tokens:
        return count_token_flops(model, num_outputs, num_sequences, mean_length)
    return count_sequence_flops(model, config.head, config.pooling, num_outputs, num_sequences, mean_length)


# the rules


def choose_held_out_steps(config: PretrainConfig, total_steps: int) -> set[int]:
    """Numbers of completed steps after which a pretraining's held-out loss is computed; the last is one."""
    every = config.eval_every or total_steps
    return {*range(every, total_steps, every), *choose_snapshot_steps(config, total_steps), total_steps}


def choose_snapshot_steps(config: PretrainConfig, total_steps: int) -> list[int]:
    """Numbers of completed steps, in order, after which the encoder is kept; never the last, which is kept anyway.

    UserError where there are too few steps for the schedule.
    """
    rule = config.checkpoint_schedule
    scheduled = choose_steps(list_shares(rule), total_steps, f"{RULE}={rule}")
    return sorted({*round_shares(config.snapshots, total_steps), *scheduled})


def swaps_pairs(config: FinetuneConfig, task: TaskConfig) -> bool:
    """Whether every training pair is seen in both orders."""
    return task.unordered_pair and config.swap_pairs


def count_epoch_steps(config: FinetuneConfig, num_examples: int) -> int:
    return -(-num_examples // min(config.batch_size, num_examples))


def count_steps(config: FinetuneConfig, num_examples: int) -> int:
    """Optimizer steps: epochs times steps per epoch, held between min_steps and max_steps."""
    steps = max(config.min_steps, round(config.epochs * count_epoch_steps(config, num_examples)))
    return max(1, steps if config.max_steps is None else min(steps, config.max_steps))


def choose_evaluation_steps(config: FinetuneConfig, total_steps: int, num_examples: int) -> set[int]:
    """Numbers of completed steps after which a fine-tuning is scored on validation; the last is one."""
    wanted = round(config.evals_per_epoch * total_steps / count_epoch_steps(config, num_examples))
    count = min(max(1, wanted), config.max_evals, total_steps)
    return {round(total_steps * (i + 1) / count) for i in range(count)}


def count_checkpoints(runtime: RuntimeConfig, total_steps: int | None) -> int:
    """Checkpoints that a finished run has kept; where its steps are not known, the most there may be."""
    newest, kept = runtime.keep_checkpoints, runtime.keep_steps
    if total_steps is None:
        return newest + len(kept)
    return min(newest, total_steps // runtime.save_every) + sum(step <= total_steps for step in kept)


def may_vary_shapes(runtime: RuntimeConfig, device: torch.device) -> bool:
    """Whether batches may be cut to what is needed: a compiler and a GPU's fused kernels want shapes that recur."""
    return device.type == "cpu" and not runtime.compile


def may_trim(precision: str, runtime: RuntimeConfig, device: torch.device) -> bool:
    """Whether padded rows of pretraining are cut to the longest of their part.

    Not in bf16 on a CPU: oneDNN writes code for each shape, which there takes longer than what is saved.
    """
    return precision == "fp32" and may_vary_shapes(runtime, device)


def choose_layout(
    config: FinetuneConfig, runtime: RuntimeConfig, device: torch.device, num_sequences: int = 1, packs: bool = True
) -> tuple[bool, int]:
    """Whether texts are packed or padded, and how many examples, of so many sequences, make a micro-batch.

    ``packs`` is the kind's.
    """
    packed = packs and may_vary_shapes(runtime, device)
    usual = PACKED_TOKENS // config.seq_len if packed else PADDED_MICRO_BATCH
    return packed, config.micro_batch_size or max(1, usual // num_sequences)
