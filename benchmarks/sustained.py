"""A real pretraining run for some minutes: tokens per second with everything a run does, and the loss it reaches.

    python -m benchmarks sustained [minutes=10] [device=cuda] [compile=true]

``selfpretrain pretrain`` on the docstrings of the installed packages, nothing downloaded. The number of steps comes
from a short probe; the rates are those the run writes down, from its second line on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness import Row, open_contestants
from benchmarks.work import Options as TrainingOptions
from benchmarks.work import Work, prepare_work
from selfpretrain.files import remove_folder
from selfpretrain.runs.folder import RunFolder

MODEL, BATCH_SIZE, TOY_BATCH = "electra_small", 128, 8
NUM_LINES = 20  # of metrics.jsonl


@dataclass
class Options(TrainingOptions):
    minutes: float = 10.0  # of training, about


def run(options: Options) -> Iterator[Row]:
    """One row, without a peer."""
    from benchmarks import engine, matmul
    from selfpretrain.pretext.objectives import count_step_flops

    corpus, batch_size, text = ("own", TOY_BATCH, "made text") if options.toy else ("docs", BATCH_SIZE, "docstrings")
    work = prepare_work("pretrain", MODEL, batch_size, options, corpus)
    model, config = work.settings.model, work.settings.pretrain
    builds = {
        "ours": (engine.build_pretraining, work),
        "products": (matmul.build_matmul, options, options.seconds, config.precision),
    }
    with open_contestants(builds, options) as sides:
        tokens_per_second = sides["ours"]()
        flops_per_second = sides["products"]()
    tokens_per_step = config.batch_size * config.seq_len
    steps = max(NUM_LINES, round(60 * options.minutes * tokens_per_second / tokens_per_step))
    finished = train(work, steps)
    rates = [line["tokens_per_second"] for line in read_metrics(finished) if "tokens_per_second" in line][1:]
    flops = count_step_flops(model, work.settings.objective, work.vocab_size, config.batch_size, config.seq_len)
    losses = ", ".join(f"{name} {value:.3f}" for name, value in finished.read_result()["held_out"].items())
    name = f"ELECTRA-small pretraining for {options.minutes:g} minutes, {config.seq_len} tokens, batch {batch_size}"
    yield Row(
        ", ".join([name, *work.marks]), "", "tokens/s", rates,
        mfu=[rate * flops / tokens_per_step / flops_per_second for rate in rates],
        note=f"{steps:,} steps on {text}; held out: {losses}. Values: {len(rates)} stretches of one run.",
    )  # fmt: skip


def train(work: Work, steps: int) -> RunFolder:
    """The command's own function, anew even if such a run was done before."""
    from selfpretrain.runs.folder import open_run
    from selfpretrain.runs.identity import identify_pretrain
    from selfpretrain.stages.pretrain import pretrain

    runtime = dataclasses.replace(work.settings.runtime, log_every=max(1, steps // NUM_LINES))
    config = dataclasses.replace(work.settings.pretrain, total_steps=steps)
    settings = dataclasses.replace(work.settings, runtime=runtime, pretrain=config)
    before = open_run(runtime.runs_dir, "pretrain", identify_pretrain(settings, work.corpus.name))
    if before.path.exists():
        remove_folder(before.path)
    return pretrain(settings)


def read_metrics(run: RunFolder) -> list[dict[str, float]]:
    text = (run.path / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
