"""Several seeds in one process with stacked weights, against the same seeds one after the other.

    python -m benchmarks seeds [stage=pretrain|finetune] [model=electra_small|roberta_base] [seeds=5] [device=cuda] ...

Both sides do the same optimizer steps of every seed; the rate is of all seeds together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness import Rate, Row, interleave, open_contestants
from benchmarks.work import Options as TrainingOptions
from benchmarks.work import Work, prepare_work
from selfpretrain.config import UserError

BATCH_SIZES = {("pretrain", "cpu"): 16, ("pretrain", "cuda"): 128, ("finetune", "cpu"): 32, ("finetune", "cuda"): 32}
UNITS = {"pretrain": "tokens/s", "finetune": "examples/s"}
NAMES = {"pretrain": "pretraining", "finetune": "fine-tuning"}
TOY_BATCH = 8


@dataclass
class Options(TrainingOptions):
    stage: str | None = None  # pretrain | finetune; none: both
    model: str = "electra_small"
    seeds: int = 5
    batch_size: int | None = None  # sequences per step of a seed; none: 16 (GPU: 128) to pretrain, 32 to fine-tune


def run(options: Options) -> Iterator[Row]:
    """One row per stage."""
    if options.stage not in (None, *UNITS):
        raise UserError(f"stage={options.stage} is not known; allowed: {', '.join(UNITS)}")
    if options.seeds < 2:
        raise UserError(f"seeds={options.seeds} compares nothing; at least 2")
    for stage in UNITS:
        if options.stage in (None, stage):
            yield compare(stage, options)


def compare(stage: str, options: Options) -> Row:
    batch_size = TOY_BATCH if options.toy else options.batch_size or BATCH_SIZES[stage, options.device]
    work = prepare_work(stage, options.model, batch_size, options)
    parts = [f"{options.model} {NAMES[stage]}", f"batch {batch_size}", f"{options.seeds} seeds together", *work.marks]
    builds = {"ours": (build_together, stage, work, options.seeds), "theirs": (build_in_turn, stage, work, options.seeds)}  # fmt: skip
    with open_contestants(builds, options) as sides:
        values = interleave(sides, options.repeats)
        peaks = sides["ours"].get_peak_mb(), sides["theirs"].get_peak_mb()
        return Row(", ".join(parts), "the same seeds in turn", UNITS[stage], values["ours"], values["theirs"], *peaks)


def list_seeds(work: Work, num_seeds: int) -> list[Work]:
    """The same work with another seed for everything."""
    chosen = [dataclasses.replace(work.settings.seeds, seed=seed, finetune_seed=seed) for seed in range(num_seeds)]
    return [dataclasses.replace(work, settings=dataclasses.replace(work.settings, seeds=seeds)) for seeds in chosen]


def build_in_turn(stage: str, work: Work, num_seeds: int) -> Rate:
    """One trainer after the other in one process: what starting takes is paid once here, too."""
    from benchmarks import engine

    sides = [engine.BUILDERS[stage](each) for each in list_seeds(work, num_seeds)]

    def run_steps(steps: int) -> tuple[float, float]:
        parts = [side.run(steps) for side in sides]
        return sum(amount for amount, _ in parts), sum(seconds for _, seconds in parts)

    return Rate(run_steps, work.seconds)


def build_together(stage: str, work: Work, num_seeds: int) -> Rate:
    """One trainer for all."""
    from benchmarks import engine

    members, amounts = zip(*(engine.MAKERS[stage](each) for each in list_seeds(work, num_seeds)), strict=True)
    return engine.build_rate(work, members, sum(amounts))
