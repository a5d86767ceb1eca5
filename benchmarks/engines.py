"""Both engines at the same pretraining: tokens per second, and whether they come to the same held-out loss.

    python -m benchmarks engines [model=roberta_tiny|electra_tiny] [seeds=5] [total_steps=300] [margin=0.05]

Each run is a ``selfpretrain pretrain`` with one thread, one after the other, native and fairseq in turn by seed, from the
same weights and token files, with the settings that fairseq's arithmetic has; batches and masks are each engine's own.
Speed is the median of what a run logs of its second half. Losses are compared seed by seed: two one-sided t tests. Text: the
own text of AG News where $SELFPRETRAIN_DATA has it, else docstrings.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fairseq_peer, harness, tokens
from benchmarks.harness import Row
from benchmarks.work import TOY_MODEL, choose_text
from benchmarks.work import Options as TextOptions
from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.runs.folder import RunFolder
from selfpretrain.stages.corpus import build_corpus
from selfpretrain.stats import compute_equivalence

MODELS = ("roberta_tiny", "electra_tiny")
ENGINES = ("native", "fairseq")
AS_FAIRSEQ = (
    "pretrain.packing=full", "pretrain.decay_all=true", "pretrain.bias_correction=true", "pretrain.eps_uncorrected=true",
    "pretrain.schedule=polynomial",
)  # fmt: skip
# a held-out measure: how much of the margin counts as none; the detector's loss is a tenth of the generator's
MEASURES = {"loss": 1.0, "gen_loss": 1.0, "disc_loss": 0.1}
TOY_STEPS, TOY_SEEDS = 8, 2


@dataclass
class Options(harness.Options):
    model: str | None = None  # a preset of MODELS; none: each
    seeds: int = 5
    total_steps: int = 300
    margin: float = 0.05  # nats per masked token; a tenth of it per token for the detector
    settings: str = ""  # more settings of both sides, as on the command line, separated by spaces
    runs_dir: str = "runs"
    fairseq_env: str = ".fairseq"


def run(options: Options) -> Iterator[Row]:
    """A row for each model."""
    if options.seeds < 2:
        raise UserError(f"seeds={options.seeds} leaves no variance to judge by; at least 2")
    peer, reason = "fairseq-train 0.12.2", fairseq_peer.find_obstacle(options.fairseq_env)
    for model in [options.model] if options.model else MODELS:
        if reason:
            yield Row(model, peer, skipped=reason)
            continue
        runs: dict[str, list[RunFolder]] = {engine: [] for engine in ENGINES}
        for seed in range(TOY_SEEDS if options.toy else options.seeds):
            for engine in ENGINES:
                words = compose(model, engine, seed, options)
                settings = compose_settings("pretrain", words)
                one = tokens.find_run(settings, build_corpus(settings))
                tokens.pretrain_all([words], [one], workers=1)
                runs[engine].append(one)
        p, diverged = settings.pretrain, [one for one in (*runs["native"], *runs["fairseq"]) if one.status != "done"]
        if diverged:
            yield Row(model, peer, skipped=f"{len(diverged)} runs diverged; settings=pretrain.peak_lr=<less>")
            continue
        work = f"{model}, {p.total_steps} steps of {p.batch_size} x {p.seq_len}, one thread"
        ours, theirs = ([read_speed(one) for one in runs[engine]] for engine in ENGINES)
        yield Row(work, peer, "tokens/s", ours, theirs, note=compare_losses(*runs.values(), margin=options.margin))


def compose(model: str, engine: str, seed: int, options: Options) -> list[str]:
    """The command line of one run."""
    steps = TOY_STEPS if options.toy else options.total_steps
    text = choose_text(TextOptions(toy=options.toy, runs_dir=options.runs_dir))
    toy = [*TOY_MODEL, "pretrain.batch_size=4", "objective.mlm_fraction=0"] if options.toy else []
    return [
        f"model={model}", "corpus=own", *text, f"seeds.seed={seed}", "tokenizer.source=own", *AS_FAIRSEQ,
        f"pretrain.engine={engine}", f"pretrain.total_steps={steps}", f"runtime.device={options.device}",
        f"runtime.fairseq_env={Path(options.fairseq_env).resolve()}", f"runtime.log_every={max(1, steps // 20)}",
        "runtime.num_threads=1", "runtime.progress=false", f"runtime.runs_dir={Path(options.runs_dir).resolve()}",
        *toy, *options.settings.split(),
    ]  # fmt: skip


def read_speed(one: RunFolder) -> float:
    """Tokens per second, the median over the second half of what a run logged."""
    rows = [json.loads(line) for line in (one.path / "metrics.jsonl").read_text().splitlines()]
    speeds = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
    return statistics.median(speeds[len(speeds) // 2 :])


def compare_losses(ours: Sequence[RunFolder], theirs: Sequence[RunFolder], margin: float) -> str:
    """Of each held-out loss the means, and whether the difference is none, pair by pair of seeds."""
    held_out = [[one.read_result()["held_out"] for one in side] for side in (ours, theirs)]
    names = [name for name in MEASURES if name in held_out[0][0]]
    if "gen_loss" in names:
        names.remove("loss")  # their weighted sum
    words = []
    for name in names:
        sides = [[measures[name] for measures in side] for side in held_out]
        differences = [b - a for a, b in zip(*sides, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        mean = statistics.mean(differences)
        found = compute_equivalence((mean, error, len(differences) - 1), margin * MEASURES[name])
        means = " and ".join(f"{statistics.mean(side):.4f}" for side in sides)
        words.append(f"held-out {name} {means}, theirs - ours {mean:+.4f}: {found.statement}")
    return "; ".join(words)
