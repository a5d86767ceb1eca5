"""How long a study will take here: a few real steps of each kind of run, timed, and the rest by FLOPs.

A kind is a stage with a model. Its step is timed at two sizes with the trainer that will run it; a step of another
size lies on the line through the two: a fixed part (the optimizer, starting kernels) and a part in its FLOPs.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from selfpretrain.data.examples import EncodedSplit
from selfpretrain.data.vocabulary import sample_vocabulary
from selfpretrain.devices import choose_autocast, choose_device, resolve_precision
from selfpretrain.kinds import get_kind
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.flops import BACKWARD
from selfpretrain.numbers import format_counted
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.stages.finetune import build_batches
from selfpretrain.stages.pretrain import MicroBatches
from selfpretrain.stages.work import choose_layout, count_task_flops
from selfpretrain.study.cells import FINISHED, Cell
from selfpretrain.study.cost import Costs, list_once
from selfpretrain.study.plan import StudyPlan
from selfpretrain.tasks.heads import get_head
from selfpretrain.tasks.sequence import SequenceModel, predict
from selfpretrain.train.trainer import time_steps

Clock = Callable[[Cell], "float | None"]  # seconds a run will take; None where its size is not known yet

LIMIT_SECONDS = 30.0  # of all probes together
MAX_STEPS = 5  # timed at each size
MAX_ROWS = 32  # sequences of a timed pretraining step, unless it is cut into micro-batches
NATIVE = "native"  # the engine that is timed
OVERHEAD_SECONDS = 2.0  # starting a run, loading, writing
SAMPLE_BYTES = 1 << 20  # of text, to time a tokenizer
EVALUATED_ROWS = 64  # at most


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step, fixed + per_flop * FLOPs, and of a forward pass over held-out data."""

    fixed: float
    per_flop: float
    per_evaluated_flop: float


@dataclass
class Estimate:
    """Seconds by wave and by cell, one process working, and how many runs of each wave are left out."""

    seconds: dict[str, float] = field(default_factory=dict)
    cells: dict[tuple[str, str], float] = field(default_factory=dict)  # by stage and name, whatever the recipe
    unknown: dict[str, int] = field(default_factory=dict)  # their size is not known before their corpus is built
    of_other_engines: int = 0  # runs that are counted as if the native engine trained them

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def caveat(self) -> str:
        """What is to be added where another engine trains; empty where none does."""
        count = self.of_other_engines
        return f"{format_counted(count, 'run')} of another engine at the native one's speed" if count else ""


def estimate_seconds(
    plan: StudyPlan, costs: Costs, limit_seconds: float = LIMIT_SECONDS, anew: bool = False
) -> Estimate:
    """The time that the unfinished cells will take, or anew all of them, by wave. Trains throw-away models; writes nothing."""
    waves = list_once(dict(plan.iter_waves()))
    missing = {name: [cell for cell in cells if anew or cell.status not in FINISHED] for name, cells in waves.items()}
    kinds: dict[tuple[str, str], list[Cell]] = {}
    for cell in itertools.chain(*missing.values()):
        kinds.setdefault((cell.stage, cell.model), []).append(cell)
    clocks: dict[tuple[str, str], Clock] = {}
    deadline = time.perf_counter() + limit_seconds
    for number, (kind, cells) in enumerate(kinds.items()):
        share = max(0.0, deadline - time.perf_counter()) / (len(kinds) - number)
        clocks[kind] = build_clock(costs, cells, share)
    others = sum(trains_elsewhere(cell) for cells in missing.values() for cell in cells)
    estimate = Estimate(of_other_engines=others)
    for name, cells in missing.items():
        seconds = [clocks[cell.stage, cell.model](cell) for cell in cells]
        estimate.cells |= {
            (c.stage, c.name): OVERHEAD_SECONDS + s for c, s in zip(cells, seconds, strict=True) if s is not None
        }
        estimate.seconds[name] = sum(OVERHEAD_SECONDS + value for value in seconds if value is not None)
        estimate.unknown[name] = seconds.count(None)
    return estimate


def trains_elsewhere(cell: Cell) -> bool:
    """Whether another engine than the native one, which is timed, trains a run."""
    section = getattr(cell.settings, cell.stage, None)
    return getattr(section, "engine", NATIVE) != NATIVE


def build_clock(costs: Costs, cells: list[Cell], limit_seconds: float) -> Clock:
    """The clock of one kind of run, from timing it."""
    if cells[0].stage == "corpus":
        return time_corpora(costs, cells[0])
    measure = measure_pretraining if cells[0].stage == "pretrain" else measure_finetuning
    known = [cell for cell in cells if costs.compute_work(cell).steps is not None]
    speed = measure(costs, known, limit_seconds) if known else None

    def clock(cell: Cell) -> float | None:
        if cell.stage == "pretrain" and cell.settings.pretrain.budget == "seconds":
            return cell.settings.pretrain.budget_amount
        work = costs.compute_work(cell)
        if work.steps is None or speed is None:
            return None
        training = work.steps * (speed.fixed + speed.per_flop * work.step_flops)
        return training + speed.per_evaluated_flop * work.evaluation_flops

    return clock


def time_corpora(costs: Costs, cell: Cell) -> Clock:
    """A vocabulary learnt from a sample, and the sample encoded; a corpus is encoded about twice (counted, written)."""
    texts, size = [], 0
    for text in ("\n".join(row) for data in costs.plan.data.values() for row in data.splits["train"].texts):
        if size >= SAMPLE_BYTES:
            break
        texts.append(text)
        size += len(text.encode())
    start = time.perf_counter()
    tokenizer = sample_vocabulary(cell.settings.tokenizer, texts)
    learnt = time.perf_counter() - start
    tokenizer.encode_batch(texts)
    per_byte = (time.perf_counter() - start - learnt) / size

    def clock(cell: Cell) -> float | None:
        text = costs.estimate_text_bytes(cell)
        return None if text is None else learnt + 2 * per_byte * text

    return clock


def fit_line(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """(fixed, per FLOP) of the line through two (FLOPs, seconds); proportional where noise or one size gives none."""
    slope = (large[1] - small[1]) / (large[0] - small[0]) if large[0] > small[0] else math.nan
    fixed = large[1] - slope * large[0]
    return (fixed, slope) if slope > 0 and fixed > 0 else (0.0, large[1] / large[0])


def measure_pretraining(costs: Costs, cells: list[Cell], limit_seconds: float) -> Speed:
    """Made-up text, one sequence and as many as time and ``batch_size`` allow."""
    settings, vocab_size = cells[0].settings, costs.get_vocab_size(cells[0])
    config, objective = resolve_precision(settings.pretrain, settings), settings.objective
    tokens = np.random.default_rng(0).integers(5, vocab_size, config.seq_len * 64).astype(np.int32)
    special = SpecialIds(2, 3, 4, 0, 1, (0, 1, 2, 3, 4), vocab_size)
    entries, sizes = [""] * vocab_size, np.full(4, len(tokens) // 4)  # pairs are of several documents
    blocks = BLOCK_BUILDERS[config.packing].build(tokens, sizes, special, entries, config, 0)

    def get_batches(rows: int) -> MicroBatches:
        return MicroBatches(PretrainBatches(blocks, objective, rows, 0), config.micro_batch_size)

    module = build_objective(settings.model, objective, vocab_size, 0, 0)
    first = time_steps(module, get_batches(1), config, settings.runtime, 0.0)
    most = config.batch_size if config.micro_batch_size else min(config.batch_size, MAX_ROWS)
    rows = max(1, min(most, _count_fitting(first, limit_seconds)))
    last = first
    if rows > 1:
        last = time_steps(module, get_batches(rows), config, settings.runtime, limit_seconds, MAX_STEPS)
    flops = costs.compute_work(cells[0]).step_flops / config.batch_size  # in proportion to the rows
    fixed, per_flop = fit_line((flops, first), (rows * flops, last))
    return Speed(fixed, per_flop, per_flop)


def _count_fitting(seconds: float, limit_seconds: float) -> int:
    """How many times as much work fits into the limit, with a step to warm up and a few to time."""
    return int(limit_seconds / (4 * seconds))


def measure_finetuning(costs: Costs, cells: list[Cell], limit_seconds: float) -> Speed:
    """Made-up sequences of the shortest and the longest task's mean length, then a forward pass."""
    settings, data, vocab_size = cells[0].settings, costs.plan.data[cells[0].task], costs.get_vocab_size(cells[0])
    config, kind = resolve_precision(settings.finetune, settings), get_kind(data.task.label_kind)
    lengths = sorted({costs.measure_length(cell) for cell in cells})
    num_sequences = kind.count_sequences(data.task)
    reader, known = get_head(data.task.label_kind).reader, data.splits["train"].labels
    model = SequenceModel(Encoder(settings.model, vocab_size, 0), config, data.task, 0)

    def make_split(rows: int, length: int) -> EncodedSplit:
        ids = np.random.default_rng(0).integers(5, vocab_size, (rows * num_sequences, length)).astype(np.int32)
        if reader is None:
            labels = kind.encode(data.task, known[np.arange(rows) % len(known)])
        else:
            labels = reader.make_up(rows, length)
        return EncodedSplit([""] * rows, list(ids), np.full(len(ids), length), labels)

    device = choose_device(settings.runtime)
    _, micro = choose_layout(config, settings.runtime, device, num_sequences, kind.packs)

    def time_batch(rows: int, length: int, limit_seconds: float) -> float:
        batches = build_batches(settings, kind, make_split(rows, length), model.encoder)
        return time_steps(model, batches, config, settings.runtime, limit_seconds, MAX_STEPS)

    first = time_batch(min(micro, config.batch_size), lengths[-1], 0.0)
    rows = min(config.batch_size, micro * max(1, _count_fitting(first, limit_seconds / 3)))
    points = []
    for length in (lengths[0], lengths[-1]):
        seconds = time_batch(rows, length, limit_seconds / 3) * config.batch_size / rows
        points.append(((1 + BACKWARD) * count_task_flops(settings, data.task, config.batch_size, length), seconds))
    split = make_split(min(EVALUATED_ROWS, rows * max(1, _count_fitting(seconds, limit_seconds))), lengths[-1])
    evaluated = count_task_flops(settings, data.task, len(split), lengths[-1])
    start = time.perf_counter()
    predict(model, split, data.task, device, choose_autocast(config.precision))
    return Speed(*fit_line(*points), (time.perf_counter() - start) / evaluated)
