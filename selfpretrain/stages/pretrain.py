"""Pretraining, from a corpus to an encoder. Read ``pretrain`` as a table of contents."""

from __future__ import annotations

import math
from pkgutil import resolve_name

import numpy as np
import torch
from torch import nn

from selfpretrain.config import PretrainConfig, Settings, UserError
from selfpretrain.data.examples import Arrays
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.devices import choose_autocast, choose_device, resolve_precision
from selfpretrain.door import to_yaml
from selfpretrain.engines import ENGINES
from selfpretrain.model.pretraining import HandedOver, PretrainModule
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.objectives import build_objective, count_mlm_steps, starts_with_mlm
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.runs import budget, identity
from selfpretrain.runs.folder import RunFolder, open_run
from selfpretrain.seeds import derive_seed
from selfpretrain.stages import start
from selfpretrain.stages.corpus import prepare_corpus
from selfpretrain.stages.mirror import Caption, open_tracker, share_seconds, store_weights
from selfpretrain.stages.work import (
    choose_held_out_steps,
    choose_snapshot_steps,
    describe_pretraining,
    may_trim,
)
from selfpretrain.tracking import NullTracker, Tracker
from selfpretrain.train import distributed
from selfpretrain.train.checkpoint import find_latest, save_encoder, set_tensors
from selfpretrain.train.engine import Engine, carry_out
from selfpretrain.train.keeper import Evaluation, Keeper, note_start
from selfpretrain.train.learners import BatchSource, Hook, Member, move
from selfpretrain.train.sharing import Sharing, copy_first_unit
from selfpretrain.train.trainer import time_steps

MEASURED_SECONDS = 10.0  # at most, for budget=seconds
TRIMMED_PARTS = 4  # of a batch of padded rows, if nothing else is asked for: more save padding and cost products
PADDED = ("input_ids", "original_ids", "token_type_ids", "attention_mask", "token_weights")  # [B, seq_len]


class MicroBatches:
    """The rows of a pretraining batch in equal parts; ``trims`` them where rows are padded."""

    def __init__(self, batches: PretrainBatches, micro_batch_size: int | None, trims: bool = False):
        self.batches, self.size, self.trims = batches, micro_batch_size, trims

    def __getitem__(self, step: int) -> list[tuple[float, Arrays]]:
        batch = self.batches[step]
        if self.trims and "attention_mask" in batch:
            return trim(batch, self.size or math.ceil(self.batches.batch_size / TRIMMED_PARTS))
        return split_rows(batch, self.size or self.batches.batch_size)


def trim(batch: Arrays, size: int) -> list[tuple[float, Arrays]]:
    """:func:`split_rows` of rows sorted by length, each part cut to its longest; their losses add up to the same."""
    order = np.argsort(batch["num_tokens"], kind="stable")
    parts = split_rows({name: value[order] for name, value in batch.items()}, size)
    for _, part in parts:
        longest = int(part["num_tokens"][-1])
        part |= {name: part[name][:, :longest] for name in PADDED if name in part}
    return parts


def split_rows(batch: Arrays, size: int) -> list[tuple[float, Arrays]]:
    """A batch as micro-batches of ``size`` rows, each with its share of the rows."""
    rows = len(batch["input_ids"])
    return [
        (min(size, rows - i) / rows, {name: value[i : i + size] for name, value in batch.items()})
        for i in range(0, rows, size)
    ]


def pretrain(settings: Settings) -> RunFolder:
    """Pretrain one encoder, or return the finished run.

    Raises UserError, Diverged and (on a signal, after saving) Interrupted.
    """
    return carry_out(Pretraining(settings), wait=True)


class Pretraining:
    """One pretraining run: what it is made of, and what is stored when its training has ended.

    What any engine goes by: ``settings`` (resolved), ``tokens`` and ``tokenizer`` (the token files), ``run``, ``device``,
    :meth:`start` and :meth:`store`. ``hook`` is the native engine's.
    """

    hook: Hook | None = None
    sharing: Sharing | None = None  # of the native engine, too
    tracker: Tracker = NullTracker()  # of engines that build
    num_seeds = 1

    def __init__(self, settings: Settings, caption: Caption | None = None):
        self.runtime, self.device = settings.runtime, choose_device(settings.runtime)
        settings = budget.take_share(settings)
        folder = prepare_corpus(settings)
        self.tokens, self.tokenizer = TokenFile.open(folder), Tokenizer.load(folder / "tokenizer")
        self.settings = budget.resolve(settings, self.tokens.sizes, self.tokenizer.vocab_size)
        run_id = identity.identify_pretrain(self.settings, folder.name)
        self.run = open_run(settings.runtime.runs_dir, "pretrain", run_id)
        self.precision = resolve_precision(settings.pretrain, settings).precision
        self.caption = caption or Caption()
        self.engine: Engine = resolve_name(ENGINES[settings.pretrain.engine])

    def start(self, num_seeds: int, module: nn.Module) -> None:
        """Mark the run as running; ``module`` holds the weights it starts from. Under the lock."""
        settings, command = self.settings, f"selfpretrain pretrain (corpus {self.tokens.folder.name})"
        facts = self.engine.describe(self)
        note_start(self.run, to_yaml(settings), command, num_seeds, module, self.precision, self.device, facts)

    def build(self, num_seeds: int) -> Member:
        """Mark the run as running and make what is trained; ``num_seeds`` are trained together. Under the lock."""
        settings = self.settings
        _, world = distributed.start(self.device)
        check_ranks(settings.pretrain, world)
        check_mlm_fraction(settings, world)
        self.module = build_model(settings, self.tokenizer)
        batches = build_batches(settings, self.tokens, self.tokenizer)
        self.held_out, self.mlm_steps = split_rows(batches.get_held_out(), 32), batches.mlm_steps
        trims = may_trim(self.precision, settings.runtime, self.device)
        micro_batches = MicroBatches(batches, settings.pretrain.micro_batch_size, trims)
        self.start(num_seeds, self.module)
        self.settings = settings = fix_seconds(settings, self.run, self.tokenizer, micro_batches)
        config = resolve_precision(settings.pretrain, settings)
        own = settings.task.name if settings.corpus.source == "own" else None
        columns = {"task": own, "learning_rate": config.peak_lr}
        self.num_seeds, self.tracker = num_seeds, open_tracker(self.run, settings, self.caption, columns)
        steps = choose_held_out_steps(config, config.total_steps)
        if config.weight_sharing != "none":
            self.sharing = Sharing(config, dict(self.module.named_parameters()), config.total_steps)
        evaluation = Evaluation(self.evaluate, steps)
        keeper = Keeper(self.module, self.run, settings.runtime, self.tracker, evaluation, self.sharing)
        seed = identity.get_pretrain_seeds(settings.seeds)["mask"]
        return Member(keeper, micro_batches, config, config.total_steps, seed, hook=self.hook)

    def evaluate(self, done: int) -> dict[str, float]:
        """The held-out measures after ``done`` steps; where a snapshot is wanted, the encoder is kept."""
        config = self.settings.pretrain
        if done in choose_snapshot_steps(config, config.total_steps) and distributed.get_rank() == 0:
            save_encoder(self.run.encoder(done), tokenizer=self.tokenizer, **self.module.hand_over())
        return self.measure(done)

    @torch.no_grad()
    def measure(self, done: int) -> dict[str, float]:
        """The measures of held-out text under one fixed draw of masks, averaged over the parts that have them.

        As long as there is no generator, those of masked tokens.
        """
        self.module.eval()
        left_out = "sample_uniforms" if done <= self.mlm_steps else ""
        dtype = choose_autocast(self.precision)
        totals: dict[str, float] = {}
        weights: dict[str, float] = {}
        for weight, arrays in self.held_out:
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                kept = {name: value for name, value in arrays.items() if name != left_out}
                _, measures = self.module(move(kept, self.device))
            for name, value in measures.items():
                totals[name] = totals.get(name, 0.0) + weight * float(value)
                weights[name] = weights.get(name, 0.0) + weight
        return {name: float(np.float32(value / weights[name])) for name, value in totals.items()}

    def finish(self, member: Member) -> None:
        """What the module hands over, and its last held-out measures, are the result."""
        last = member.keeper.evaluation.history[-1]
        if distributed.get_rank() == 0:
            self.store(self.module.hand_over(), {name: value for name, value in last.items() if name != "step"})

    def store(self, handed: HandedOver, held_out: dict[str, float]) -> None:
        """Store what fine-tuning starts from and the result; the run is done. Once, by one process."""
        settings, config = self.settings, self.settings.pretrain
        assert config.budget != "seconds", "measured seconds have become steps"
        save_encoder(self.run.encoder(), tokenizer=self.tokenizer, **handed)
        sequences = config.total_steps * config.batch_size
        epoch = BLOCK_BUILDERS[config.packing].count_epoch(self.tokens.sizes, config.seq_len)
        work = describe_pretraining(settings, self.tokenizer.vocab_size, config.total_steps)
        snapshots = (
            self.run.list_snapshots()
        )  # what was kept: those asked for later may lie before a resumed run's steps
        self.run.finish(
            {
                "held_out": held_out,
                "positions": sequences * config.seq_len,
                "tokens": round(sequences * epoch.tokens / epoch.sequences),
                "corpus": self.tokens.folder.name,
                "epochs": sequences / epoch.sequences,
                "flops": work.training_flops,
                **({"parted": self.sharing.describe()} if self.sharing else {}),
                **({"snapshots": snapshots} if snapshots else {}),
            }
        )
        self.mirror(held_out, work.training_flops)

    def mirror(self, held_out: dict[str, float], flops: int | None) -> None:
        """Tell the tracker what is stored."""
        last = self.settings.pretrain.total_steps
        measures = {f"held_out_{name}": value for name, value in held_out.items()}
        seconds = share_seconds(self.run, self.num_seeds)
        self.tracker.summarize({**measures, "flops": flops, "steps": last, **seconds})
        kept = {f"step-{step}": self.run.encoder(step) for step in self.run.list_snapshots()}
        weights = {**kept, f"step-{last}": self.run.encoder()}
        store_weights(self.tracker, self.settings, f"encoder-{self.run.id}", weights)


def check_ranks(config: PretrainConfig, world: int) -> None:
    """Every process needs the same number of micro-batches, or some would wait for the others."""
    count = config.batch_size // (config.micro_batch_size or config.batch_size)
    if count % world != 0:
        raise UserError(
            f"{world} processes cannot share {count} micro-batches; set pretrain.micro_batch_size so that "
            f"pretrain.batch_size={config.batch_size} has a multiple of {world} of them"
        )


def check_mlm_fraction(settings: Settings, world: int) -> None:
    """The first steps leave parameters in no loss, which several processes do not expect, and have a speed of their own."""
    if starts_with_mlm(settings.objective) and (world > 1 or settings.pretrain.budget == "seconds"):
        what = f"{world} processes" if world > 1 else "pretrain.budget=seconds"
        raise UserError(
            f"objective.mlm_fraction={settings.objective.mlm_fraction} and {what} do not go together; set it to 0"
        )


def fix_seconds(settings: Settings, run: RunFolder, tokenizer: Tokenizer, batches: BatchSource) -> Settings:
    """With budget=seconds the steps that the run's folder holds; a run that begins measures its speed for them, once.

    The measured steps train a model of their own. Their time is not part of the budget, nor are evaluation and saving.
    """
    config = resolve_precision(settings.pretrain, settings)
    if config.budget != "seconds":
        return settings
    total_steps = budget.read_steps(run)
    if total_steps is not None:
        return budget.fix_steps(settings, total_steps)
    if find_latest(run.checkpoints):
        raise UserError(f"{run.path / budget.FILE} is missing; delete {run.path} and run the command again")
    assert config.budget_amount is not None
    limit = min(MEASURED_SECONDS, config.budget_amount)
    seconds = time_steps(build_model(settings, tokenizer), batches, config, settings.runtime, limit)
    total_steps = distributed.find_lowest(max(1, round(config.budget_amount / seconds)))
    fixed = budget.fix_steps(settings, total_steps)
    if distributed.get_rank() == 0:
        budget.write_steps(run, total_steps, seconds)
    distributed.wait()
    return fixed


def build_model(settings: Settings, tokenizer: Tokenizer) -> PretrainModule:
    """The model to pretrain: fresh weights, its layers alike where they are tied, or an encoder copied from ``init``;
    UserError when it does not fit.
    """
    sharing = settings.pretrain.weight_sharing
    seed = derive_seed(identity.get_pretrain_seeds(settings.seeds)["init"], "init")
    module = build_objective(settings.model, settings.objective, tokenizer.vocab_size, tokenizer.pad_id, seed)
    if sharing != "none":
        if not settings.start.is_fresh:
            raise UserError(
                f"pretrain.weight_sharing={sharing} needs layers that begin as one, which those of init={settings.init} do "
                "not; set pretrain.weight_sharing=none, or init=none"
            )
        copy_first_unit(module, settings.pretrain.share_unit)
    if not settings.start.is_fresh:
        encoder, _ = start.load_start(settings.start, settings.runtime.runs_dir)
        if module.encoder.vocab_size != encoder.vocab_size:
            raise UserError(
                f"init={settings.init} has embeddings for {encoder.vocab_size} tokens, its tokenizer "
                f"{module.encoder.vocab_size}; choose a start whose tokenizer fits, or init=none"
            )
        for name in ("family", "num_heads", "layer_norm_eps", "positions"):  # which no shape of a tensor tells
            if (found := getattr(encoder.config, name)) != (own := getattr(settings.model, name)):
                raise UserError(
                    f"init={settings.init} has model.{name}={found}, not {own}: it belongs to another model; set model=<its own preset>"
                )
        set_tensors(module.encoder, dict(encoder.named_parameters()), f"init={settings.init}")
        own = module.hand_over()["pooler"]
        given = None if own is None else start.load_pooler(settings.start, settings.runtime.runs_dir)
        if own is not None and given is not None:
            own.load_state_dict(given.state_dict())
    return module


def build_batches(settings: Settings, tokens: TokenFile, tokenizer: Tokenizer) -> PretrainBatches:
    config, seeds = settings.pretrain, identity.get_pretrain_seeds(settings.seeds)
    special = SpecialIds(
        tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id, tokenizer.unk_id,
        tuple(sorted(tokenizer.special_ids)), tokenizer.vocab_size,
    )  # fmt: skip
    build, entries = BLOCK_BUILDERS[config.packing].build, tokenizer.get_tokens()
    blocks = build(tokens.tokens, tokens.sizes, special, entries, config, seeds["data"])
    mlm_steps = count_mlm_steps(settings.objective, config.total_steps)
    return PretrainBatches(blocks, settings.objective, config.batch_size, seeds["mask"], mlm_steps)
