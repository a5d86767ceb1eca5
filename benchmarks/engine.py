"""Our side: ``Trainer.train()`` as the commands run it, over a run folder that is thrown away."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.harness import Rate
from benchmarks.matmul import synchronize
from benchmarks.work import Work
from selfpretrain.config import OptimConfig
from selfpretrain.data.examples import FinetuneBatches
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.finetune import DEFAULT_MICRO_BATCH, encode
from selfpretrain.model.init import build_encoder
from selfpretrain.model.objectives import build_objective
from selfpretrain.pretrain import MicroBatches, build_batches
from selfpretrain.study.data import read_task
from selfpretrain.study.runs import RunFolder
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.tracking import NullTracker
from selfpretrain.train.trainer import Trainer

SEED = 0


def build_pretraining(work: Work) -> Rate:
    """Tokens per second; every token of a packed block is real."""
    settings, tokenizer = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    config = settings.pretrain
    module = build_objective(settings.model, settings.objective, work.vocab_size, tokenizer.pad_id, SEED)
    batches = build_batches(settings, TokenFile.open(work.corpus), tokenizer)
    source = MicroBatches(batches, config.micro_batch_size)
    return build_rate(work, module, source, config, config.batch_size * config.seq_len)


def build_finetuning(work: Work) -> Rate:
    """Examples per second."""
    settings, tokenizer = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    config, data = settings.finetune, read_task(settings.task, settings.runtime.runs_dir)
    encoder = build_encoder(settings.model, work.vocab_size, tokenizer.pad_id, SEED)
    module = SequenceModel(encoder, config, data.task, SEED)
    batches = FinetuneBatches(
        encode(data.splits["train"], tokenizer, data.task, config.seq_len), config.batch_size,
        config.micro_batch_size or DEFAULT_MICRO_BATCH, SEED, encoder.pad_id, encoder.config.type_vocab_size > 1,
    )  # fmt: skip
    return build_rate(work, module, batches, config, config.batch_size)


def build_rate(work: Work, module: nn.Module, batches: Any, config: OptimConfig, amount_per_step: float) -> Rate:
    """The measure of a Trainer that runs so many steps from step 0, over and over."""
    runtime = work.settings.runtime
    folder = tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")  # gone with the process
    run = RunFolder(Path(folder.name))
    trainer = Trainer(module, batches, config, 1, run=run, runtime=runtime, tracker=NullTracker(), seed=SEED)

    def run_steps(steps: int) -> tuple[float, float]:
        trainer.total_steps = steps
        assert run.path == Path(folder.name)
        start = time.perf_counter()
        trainer.train()
        synchronize(trainer.device.type)
        return steps * amount_per_step, time.perf_counter() - start

    return Rate(run_steps, work.seconds)
