"""Our side: ``Trainer.train()`` as the commands run it, over a run folder that is thrown away."""

from __future__ import annotations

import atexit
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from benchmarks.harness import Rate
from benchmarks.matmul import synchronize
from benchmarks.work import Work
from selfpretrain.config import OptimConfig, SeedConfig
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.devices import choose_device
from selfpretrain.kinds import get_kind
from selfpretrain.model.init import build_encoder
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages import finetune
from selfpretrain.stages.pretrain import MicroBatches, build_batches
from selfpretrain.stages.work import may_trim
from selfpretrain.tasks.sequence import SequenceModel
from selfpretrain.tracking import NullTracker
from selfpretrain.train.keeper import Keeper
from selfpretrain.train.learners import BatchSource, Member
from selfpretrain.train.trainer import Trainer

SEED = SeedConfig().seed  # of our side, unless a benchmark sets another, and of the peers


def build_pretraining(work: Work) -> Rate:
    """Tokens per second; every token of a packed block is real."""
    member, amount = make_pretraining(work)
    return build_rate(work, [member], amount)


def build_finetuning(work: Work) -> Rate:
    """Examples per second."""
    member, amount = make_finetuning(work)
    return build_rate(work, [member], amount)


def make_pretraining(work: Work) -> tuple[Member, float]:
    """What is trained, and the tokens of one of its steps."""
    settings, tokenizer = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    config, seed = settings.pretrain, settings.seeds.seed
    module = build_objective(settings.model, settings.objective, work.vocab_size, tokenizer.pad_id, seed)
    batches = build_batches(settings, TokenFile.open(work.corpus), tokenizer)
    trims = may_trim(config.precision, settings.runtime, choose_device(settings.runtime))
    source = MicroBatches(batches, config.micro_batch_size, trims)
    return make_member(work, module, source, config, seed), config.batch_size * config.seq_len


def make_finetuning(work: Work) -> tuple[Member, float]:
    """What is trained, and the examples of one of its steps."""
    settings, tokenizer = work.settings, Tokenizer.load(work.corpus / "tokenizer")
    config, data, seed = settings.finetune, read_task(settings.task, settings.runtime.runs_dir), settings.seeds.seed
    encoder = build_encoder(settings.model, work.vocab_size, tokenizer.pad_id, seed)
    module = SequenceModel(encoder, config, data.task, seed)
    split = finetune.encode(data.splits["train"], tokenizer, data.task, config)
    batches = finetune.build_batches(settings, get_kind(data.task.label_kind), split, encoder)
    return make_member(work, module, batches, config, seed), config.batch_size


def make_member(work: Work, module: nn.Module, batches: BatchSource, config: OptimConfig, seed: int) -> Member:
    folder = tempfile.TemporaryDirectory(prefix="selfpretrain_benchmark_")
    atexit.register(folder.cleanup)
    keeper = Keeper(module, RunFolder(Path(folder.name)), work.settings.runtime, NullTracker())
    return Member(keeper, batches, config, 1, seed)


MAKERS: dict[str, Callable[[Work], tuple[Member, float]]] = {"pretrain": make_pretraining, "finetune": make_finetuning}
BUILDERS: dict[str, Callable[[Work], Rate]] = {"pretrain": build_pretraining, "finetune": build_finetuning}


def build_rate(work: Work, members: Sequence[Member], amount_per_step: float) -> Rate:
    """The measure of a trainer that runs so many steps from step 0, over and over."""
    trainer = Trainer(members)

    def run_steps(steps: int) -> tuple[float, float]:
        trainer.total_steps = steps
        start = time.perf_counter()
        trainer.train()
        synchronize(trainer.device.type)
        return steps * amount_per_step, time.perf_counter() - start

    return Rate(run_steps, work.seconds, lambda: f"Ours ran in {trainer.config.precision}.")
