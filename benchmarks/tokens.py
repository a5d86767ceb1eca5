"""Tokens of pretraining until a held-out loss is reached: what a start, an optimizer or a precision saves.

    python -m benchmarks tokens [vary=start|optimizer|precision] [model=roberta_tiny] [seeds=5] [workers=2] [total_steps=10000] [eval_every=50]
    python -m benchmarks tokens vary=optimizer ours=pretrain.peak_lr=8e-3 theirs=pretrain.peak_lr=4e-3

The losses are stated as nats under the unigram entropy, the loss of guessing each token by its frequency: a masked
language model first stays near it, which is its plateau. Text: the own text of AG News where $SELFPRETRAIN_DATA has
it, else docstrings. Each run is a ``selfpretrain pretrain`` in a process with one thread, ``workers`` of them at a time;
the runs are ordinary ones under ``runs_dir``, so that the same command continues what was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.harness import Row
from benchmarks.record import ROOT
from benchmarks.work import TEXTS, TOY_MODEL, choose_text
from benchmarks.work import Options as TextOptions
from selfpretrain.config import Settings, UserError
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import compose_settings
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.runs.folder import RunFolder, open_run
from selfpretrain.runs.identity import identify_pretrain
from selfpretrain.stages.corpus import build_corpus

MODELS = ("roberta_tiny", "electra_tiny")  # by default; any preset can be asked for
MARGINS = (0.3, 0.7, 1.0, 1.5)
TOY_STEPS, TOY_EVAL_EVERY, TOY_SEEDS = 6, 2, 1
CONFIDENCE, NUM_REPLICATES = 0.95, 10_000


@dataclass(frozen=True)
class Comparison:
    """Two values of one setting."""

    setting: str
    values: tuple[str, str]  # ours, and the peer's
    shared: tuple[str, ...] = ()  # what both sides have, as on the command line

    @property
    def peer(self) -> str:
        return f"ours with {self.setting.partition('.')[2]}={self.values[1]}"


COMPARISONS = {
    "start": Comparison("model.init_scheme", ("mimetic", "normal")),
    "optimizer": Comparison("pretrain.optimizer", ("muon", "adamw"), ("model.init_scheme=mimetic",)),
    "precision": Comparison("pretrain.precision", ("bf16", "fp32")),
}


@dataclass
class Options(harness.Options):
    vary: str = "start"  # a name of COMPARISONS
    model: str | None = None  # a preset; none: roberta_tiny and electra_tiny
    seeds: int = 5
    workers: int = 2  # runs side by side
    total_steps: int = 10_000  # the learning rate's schedule ends there, and so does a run
    eval_every: int = 50  # steps between held-out losses
    margin: float | None = None  # nats under the unigram entropy; none: each of MARGINS
    settings: str = ""  # more settings of both sides, as on the command line, separated by spaces
    ours: str = ""  # of our side alone, for example its own learning rate
    theirs: str = ""  # of the peer's
    runs_dir: str = "runs"


@dataclass(frozen=True)
class Curve:
    """Held-out losses of one run."""

    tokens: Sequence[float]  # trained on before each
    losses: Sequence[float]  # nats
    total: float  # tokens of the whole run


@dataclass(frozen=True)
class TokensRow(Row):
    """The ratio as it should be quoted, besides the row's medians and ranges."""

    loss: float = math.nan  # nats
    unigram_entropy: float = math.nan  # nats
    mean_ratio: float | None = None  # geometric mean over seeds
    mean_ratio_low: float | None = None  # percentile interval of a bootstrap over seeds
    mean_ratio_high: float | None = None


def run(options: Options) -> Iterator[Row]:
    """A row per model and loss, all of a model's once its runs are done."""
    check_options(options)
    comparison = COMPARISONS[options.vary]
    for model in [options.model] if options.model else MODELS:
        seeds = range(count_seeds(options))
        overrides = [compose(model, value, seed, options) for value in comparison.values for seed in seeds]
        settings = [compose_settings("pretrain", words) for words in overrides]
        folder = build_corpus(settings[0])
        runs = [find_run(one, folder) for one in settings]
        pretrain_all(overrides, runs, options.workers)
        entropy = compute_unigram_entropy(settings[0], folder)
        curves = [read_curve(one, chosen) for one, chosen in zip(runs, settings, strict=True)]
        half = len(curves) // 2
        for margin in [options.margin] if options.margin is not None else MARGINS:
            yield build_row(name_work(settings[0], options), margin, entropy, curves[:half], curves[half:], comparison)


def check_options(options: Options) -> None:
    """Refuse numbers that leave nothing to do, and a comparison that there is not."""
    if options.vary not in COMPARISONS:
        raise UserError(f"vary={options.vary} is not known; allowed: {', '.join(COMPARISONS)}")
    for name in ("seeds", "workers", "total_steps", "eval_every"):
        if getattr(options, name) < 1:
            raise UserError(f"{name}={getattr(options, name)} leaves nothing to do; at least 1")


def count_seeds(options: Options) -> int:
    return TOY_SEEDS if options.toy else options.seeds


# the runs


def compose(model: str, value: str, seed: int, options: Options) -> list[str]:
    """The command line of one run, ``value`` being that of what varies."""
    comparison = COMPARISONS[options.vary]
    steps, every = (TOY_STEPS, TOY_EVAL_EVERY) if options.toy else (options.total_steps, options.eval_every)
    text = choose_text(TextOptions(toy=options.toy, runs_dir=options.runs_dir))
    toy = [*TOY_MODEL, "pretrain.batch_size=4"] if options.toy else []
    own = options.ours if value == comparison.values[0] else options.theirs
    return [
        f"model={model}", "corpus=own", *text, f"seeds.seed={seed}", *comparison.shared, f"{comparison.setting}={value}",
        "tokenizer.source=own",
        f"pretrain.total_steps={steps}", f"pretrain.eval_every={every}", f"runtime.device={options.device}",
        "runtime.num_threads=1", "runtime.progress=false", f"runtime.runs_dir={Path(options.runs_dir).resolve()}",
        *toy, *options.settings.split(), *own.split(),
    ]  # fmt: skip


def find_run(settings: Settings, corpus: Path) -> RunFolder:
    return open_run(settings.runtime.runs_dir, "pretrain", identify_pretrain(settings, corpus.name))


def pretrain_all(overrides: Sequence[list[str]], runs: Sequence[RunFolder], workers: int) -> None:
    """Every run that is not decided yet, ``workers`` at a time; Ctrl-C stops them, saved."""
    pool = ThreadPoolExecutor(workers)
    try:
        missing = [(words, one) for words, one in zip(overrides, runs, strict=True) if not is_decided(one)]
        for _ in pool.map(lambda pair: pretrain(*pair), missing):
            continue
    finally:
        pool.shutdown(cancel_futures=True)


def is_decided(one: RunFolder) -> bool:
    """A run that diverged would diverge again; here it counts as one that did not get there."""
    return one.status in ("done", "diverged")


def pretrain(overrides: list[str], one: RunFolder) -> None:
    """One run in a process of its own; UserError with its last words if it fails."""
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    command = [sys.executable, "-m", "selfpretrain", "pretrain", *overrides]
    found = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if not is_decided(one):
        raise UserError(f"{one.path} ended with {found.returncode}: {found.stderr.strip()[-500:]}")
    print(f"{one.path}: {one.status}", file=sys.stderr, flush=True)


# what they show


def read_curve(one: RunFolder, settings: Settings) -> Curve:
    """The held-out losses that a run wrote down."""
    config, measure = settings.pretrain, "eval_gen_loss" if has_generator(settings) else "eval_loss"
    rows = [json.loads(line) for line in (one.path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if measure in row]
    per_step = config.batch_size * config.seq_len
    tokens = [row["step"] * per_step for row in rows]
    return Curve(tokens, [row[measure] for row in rows], float(config.total_steps * per_step))


def compute_unigram_entropy(settings: Settings, corpus: Path) -> float:
    """Nats per token of the held-out text, each guessed by its frequency in the rest (one added to every count).

    Special tokens are left out on both sides: they are never masked.
    """
    from selfpretrain.stages.pretrain import build_batches

    tokenizer, stored = Tokenizer.load(corpus / "tokenizer"), TokenFile.open(corpus).tokens
    blocks = build_batches(settings, TokenFile.open(corpus), tokenizer).blocks
    ordinary = np.ones(tokenizer.vocab_size, bool)
    ordinary[list(tokenizer.special_ids)] = False
    counts = (np.bincount(stored[: blocks.train_tokens], minlength=tokenizer.vocab_size) + 1.0) * ordinary
    held_out = blocks.build(blocks.get_held_out_starts(), np.random.default_rng(0)).ids
    held_out = held_out[ordinary[held_out]]
    return float(-np.log(counts[held_out] / counts.sum()).mean())


def compute_tokens(curve: Curve, loss: float) -> float | None:
    """Tokens until the loss was first reached, on a straight line between two held-out losses; None if it was not."""
    for index, (tokens, value) in enumerate(zip(curve.tokens, curve.losses, strict=True)):
        if value <= loss:
            if index == 0:
                return float(tokens)
            earlier, higher = curve.tokens[index - 1], curve.losses[index - 1]
            return float(earlier + (tokens - earlier) * (higher - loss) / (higher - value))
    return None


def compute_mean_ratio(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean, and its percentile interval when seeds are drawn with replacement."""
    logs = np.log(np.asarray(ratios, dtype=float))
    drawn = np.random.default_rng(0).integers(0, len(logs), (NUM_REPLICATES, len(logs)))
    low, high = np.quantile(logs[drawn].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


def build_row(
    work: str, margin: float, entropy: float, ours: Sequence[Curve], theirs: Sequence[Curve],
    comparison: Comparison = COMPARISONS["start"],
) -> TokensRow:  # fmt: skip
    """A run that did not get there counts with all its tokens."""
    loss = entropy - margin
    title = f"{work}: loss {loss:.2f} (unigram entropy {entropy:.2f} - {margin:g})"
    sides = {"ours": ours, "theirs": theirs}
    found = {side: [compute_tokens(curve, loss) for curve in curves] for side, curves in sides.items()}
    bounds = tuple(side for side, values in found.items() if None in values)
    if all(value is None for values in found.values() for value in values):
        total = max(curve.total for curve in (*ours, *theirs))
        reason = f"no run got there in {total / 1e6:.3g} M tokens; total_steps=<more> trains on"
        return TokensRow(title, comparison.peer, skipped=reason, loss=loss, unigram_entropy=entropy)
    millions = {
        side: [
            (curve.total if value is None else value) / 1e6 for curve, value in zip(sides[side], values, strict=True)
        ]
        for side, values in found.items()
    }
    row = TokensRow(
        title, comparison.peer, "M tokens", millions["ours"], millions["theirs"], lower_is_better=True,
        bounds=bounds, loss=loss, unigram_entropy=entropy,
    )  # fmt: skip
    return add_mean_ratio(row, dict(zip(comparison.values, (each.count(None) for each in found.values()), strict=True)))


def add_mean_ratio(row: TokensRow, num_missed: dict[str, int]) -> TokensRow:
    """The row with its ratio over all seeds, said in the note; none where both sides have runs that did not get there."""
    missed = " and ".join(f"{count} of {len(row.ours)} with {value}" for value, count in num_missed.items() if count)
    said = f"; not reached by {missed}, which count with all their tokens" if missed else ""
    if len(row.bounds) > 1:
        return dataclasses.replace(row, note=f"Median [lowest, highest] of {len(row.ours)} seeds{said}.")
    mean, low, high = compute_mean_ratio(row.compute_ratios())
    sign = {"theirs": "more than ", "ours": "less than "}.get(row.bounds[0], "") if row.bounds else ""
    note = (
        f"Tokens, geometric mean over {len(row.ours)} seeds: {sign}{mean:.2f} times fewer [{low:.2f}, {high:.2f}] "
        f"({CONFIDENCE:.0%}, bootstrap over seeds){said}."
    )
    return dataclasses.replace(row, note=note, mean_ratio=mean, mean_ratio_low=low, mean_ratio_high=high)


def has_generator(settings: Settings) -> bool:
    """Whether masked language modelling is the work of a generator that replaces tokens, as ELECTRA's."""
    return OBJECTIVES[settings.objective.name].samples


def name_work(settings: Settings, options: Options) -> str:
    """Model, what its loss is of, text and recipe, in short."""
    config = settings.pretrain
    kind = "generator's masked tokens" if has_generator(settings) else "masked tokens"
    recipe = f"{config.batch_size} x {config.seq_len} x {config.total_steps:,}"
    values = COMPARISONS[options.vary].values
    sides = [
        ("", options.settings),
        *((f"{value} with ", own) for value, own in zip(values, (options.ours, options.theirs), strict=True)),
    ]
    more = "".join(f", {side}{given}" for side, given in sides if given)
    return f"{settings.model.preset}, {kind} of {TEXTS[settings.task.name]}, {recipe}{more}"
