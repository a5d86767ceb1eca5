"""Seconds of training to the held-out loss at which transformers' run_mlm.py ends, ours against its own.

    python -m benchmarks time_to_loss [model=roberta_tiny] [tokens=4e6] [repeats=3] [threads=] [total_steps=] [settings=""]

The peer trains on ``tokens`` tokens by the defaults of its script (run_mlm_peer.py) and then measures its loss. Ours is a
``selfpretrain pretrain`` of the preset with Muon: same text, same tokenizer, same sizes, and by default as many tokens, so
that its learning rate falls over the same length. Each side has a process of its own with as many threads of torch; ours
makes its batches in another thread, as every run does. They take turns, with another seed each time.

Counted is training alone: no evaluation, no start of Python, no corpus. Our seconds are those between the lines that the run
writes down. A line right after a held-out loss has that in it and is given the rate of the line that follows. The moment
is read on a straight line between two held-out losses, ``eval_every`` steps apart.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.harness import Row, open_contestants
from benchmarks.pretrain import find_obstacle
from benchmarks.tokens import Curve, compute_tokens, find_run, pretrain, read_curve
from benchmarks.work import TEXTS, TOY_MODEL, Work, choose_text
from benchmarks.work import Options as TextOptions
from selfpretrain.config import Settings, UserError
from selfpretrain.devices import resolve_precision
from selfpretrain.door import compose_settings
from selfpretrain.files import remove_folder
from selfpretrain.runs.folder import RunFolder
from selfpretrain.stages.corpus import build_corpus

PEER = "transformers Trainer, the recipe of run_mlm.py"
PEER_BATCH = 8  # blocks per step, the default of TrainingArguments
LINES = 4  # written between two held-out losses: one of them has the evaluation before it in its time
TOY_TOKENS, TOY_BATCH = 4096.0, 4


@dataclass
class Options(harness.Options):
    repeats: int = 3
    model: str = "roberta_tiny"  # a preset of the RoBERTa family
    tokens: float = 4e6  # of the peer's training
    total_steps: int | None = None  # of ours; none: as many tokens as the peer's
    eval_every: int = 20  # our steps between held-out losses
    settings: str = ""  # more settings of ours, as on the command line, separated by spaces
    runs_dir: str = "runs"  # ours lie in its folder time_to_loss, and are trained anew each time


@dataclass(frozen=True)
class Outcome:
    """Both sides of one repeat."""

    peer_seconds: float
    loss: float  # nats, the peer's at its end, which ours has to reach
    curve: Curve  # of ours
    clock: tuple[Sequence[float], Sequence[float]]  # tokens that ours has trained on, and after how many seconds

    @property
    def reached(self) -> float | None:
        """Our tokens until the loss; None if it was not reached."""
        return compute_tokens(self.curve, self.loss)

    @property
    def tokens(self) -> float:
        """Ours until the loss, or all of them."""
        return self.clock[0][-1] if self.reached is None else self.reached

    @property
    def seconds(self) -> float:
        """Ours until the loss, or all of them."""
        return float(np.interp(self.tokens, *self.clock))


def run(options: Options) -> Iterator[Row]:
    """One row."""
    if options.toy:
        options = dataclasses.replace(options, tokens=TOY_TOKENS)
    settings = compose_settings("pretrain", compose(options, 0))
    check(options, settings)
    title = name_work(settings, options)
    if reason := find_obstacle("trainer"):
        yield Row(title, PEER, skipped=reason)
        return
    corpus = build_corpus(settings)
    steps = count_steps(options, PEER_BATCH, settings)
    outcomes = [measure(options, corpus, steps, seed) for seed in range(options.repeats)]
    yield build_row(title, outcomes, settings, steps * PEER_BATCH * settings.pretrain.seq_len)


def check(options: Options, settings: Settings) -> None:
    """Refuse what leaves nothing to do or to time, and what the peer's script does not train as we do."""
    if options.tokens <= 0 or options.eval_every < LINES or options.eval_every % LINES:
        given = f"tokens={options.tokens:g} eval_every={options.eval_every}"
        raise UserError(f"{given} cannot be; tokens above 0, eval_every a multiple of {LINES}")
    if (settings.model.family, settings.objective.name, settings.pretrain.packing) != ("roberta", "mlm", "full"):
        raise UserError(f"model={options.model} is no RoBERTa on full blocks; allowed: roberta_tiny and its like")


# the two sides


def compose(options: Options, seed: int) -> list[str]:
    """The command line of our run."""
    import torch

    toy = [*TOY_MODEL, f"pretrain.batch_size={TOY_BATCH}"] if options.toy else []
    words = [
        f"model={options.model}", "corpus=own", *choose_text(TextOptions(toy=options.toy, runs_dir=options.runs_dir)),
        "tokenizer.source=own", "pretrain.optimizer=muon", f"seeds.seed={seed}", f"pretrain.eval_every={options.eval_every}",
        f"runtime.log_every={max(1, options.eval_every // LINES)}", "runtime.save_every=1000000000", "runtime.progress=false",
        f"runtime.device={options.device}", f"runtime.num_threads={options.threads or torch.get_num_threads()}",
        f"runtime.runs_dir={Path(options.runs_dir).resolve() / 'time_to_loss'}", *toy, *options.settings.split(),
    ]  # fmt: skip
    settings = compose_settings("pretrain", words)
    steps = options.total_steps or count_steps(options, settings.pretrain.batch_size, settings)
    return [*words, f"pretrain.total_steps={steps}"]


def count_steps(options: Options, batch_size: int, settings: Settings) -> int:
    """Steps of so many blocks for ``options.tokens``, at least one."""
    return max(1, round(options.tokens / (batch_size * settings.pretrain.seq_len)))


def measure(options: Options, corpus: Path, steps: int, seed: int) -> Outcome:
    """Ours, anew even if such a run was done before, and then the peer."""
    from benchmarks.run_mlm_peer import Peer

    words = compose(options, seed)
    settings = compose_settings("pretrain", words)
    one = find_run(settings, corpus)
    if one.path.exists():
        remove_folder(one.path)
    pretrain(words, one)
    with open_contestants({"theirs": (Peer, Work(settings, corpus, 0.0, "default"), steps, seed)}, options) as sides:
        seconds, loss = sides["theirs"](), float(sides["theirs"].get_note())
    return Outcome(seconds, loss, read_curve(one, settings), read_clock(one, settings))


def read_clock(one: RunFolder, settings: Settings) -> tuple[list[float], list[float]]:
    """Tokens and seconds of training at the start and at each line of a run; UserError where it has none."""
    config = settings.pretrain
    rows = [json.loads(line) for line in (one.path / "metrics.jsonl").read_text().splitlines()]
    lines = [row for row in rows if "tokens_per_second" in row]
    if not lines:
        raise UserError(f"{one.path}: {one.status} before its first line")
    steps, rates = [row["step"] for row in lines], [row["tokens_per_second"] for row in lines]
    clean = choose_rates(steps, rates, {row["step"] for row in rows if "eval_loss" in row})
    amounts = np.diff([0, *steps]) * config.batch_size * config.seq_len
    return np.cumsum([0.0, *amounts]).tolist(), np.cumsum([0.0, *(amounts / np.array(clean))]).tolist()


def choose_rates(steps: Sequence[int], rates: Sequence[float], evaluated: set[int]) -> list[float]:
    """Tokens per second of each line; of one that begins with an evaluation, those of the next line that does not."""
    late = [*(previous in evaluated for previous in (0, *steps[:-1])), True]
    after = [*rates[1:], math.nan]
    return [after[i] if late[i] and not late[i + 1] else rate for i, rate in enumerate(rates)]


# what they show


def build_row(title: str, outcomes: Sequence[Outcome], settings: Settings, peer_tokens: int) -> Row:
    """Seconds of both; a run of ours that did not get there counts with all its seconds, as a bound."""
    ours, theirs = [one.seconds for one in outcomes], [one.peer_seconds for one in outcomes]
    bounds = ("ours",) * any(one.reached is None for one in outcomes)
    note = describe(outcomes, settings, peer_tokens)
    return Row(title, PEER, "s", ours, theirs, lower_is_better=True, note=note, bounds=bounds)


def describe(outcomes: Sequence[Outcome], settings: Settings, peer_tokens: int) -> str:
    """Losses and tokens of both sides, medians of the repeats, and what speaks for or against ours."""
    middle = {name: statistics.median(getattr(one, name) for one in outcomes) for name in ("loss", "tokens")}
    last = statistics.median(one.curve.losses[-1] if one.curve.losses else math.nan for one in outcomes)
    precision = resolve_precision(settings.pretrain, settings).precision
    missed = sum(one.reached is None for one in outcomes)
    early = sum(one.reached in one.curve.tokens[:1] for one in outcomes)
    said = [
        f"Held-out loss of the peer {middle['loss']:.3f} after {peer_tokens / 1e6:.3g} M tokens, in fp32; ours there after "
        f"{middle['tokens'] / 1e6:.3g} M, in {precision}, and at {last:.3f} after {outcomes[0].curve.total / 1e6:.3g} M.",
        f"Same blocks, the peer's at 15 % masks, ours at {100 * settings.objective.mask_prob:.0f} %, the harder question.",
        "Training alone, without evaluations.",
        f"{missed} of {len(outcomes)} of ours did not get there and count with all they took." * bool(missed),
        f"{early} of {len(outcomes)} of ours were there at the first held-out loss: at most so long." * bool(early),
    ]  # fmt: skip
    return " ".join(filter(None, said))


def name_work(settings: Settings, options: Options) -> str:
    """Model, loss, text and our recipe, in short."""
    config = settings.pretrain
    recipe = f"ours Muon {config.batch_size} x {config.seq_len} x {config.total_steps:,}"
    goal = f"to run_mlm's held-out loss after {options.tokens / 1e6:.3g} M tokens of {TEXTS[settings.task.name]}"
    return ", ".join([settings.model.preset, goal, recipe, *filter(None, [options.settings])])
