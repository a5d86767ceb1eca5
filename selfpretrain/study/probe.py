"""How long a study will take here, from a few timed steps of each kind of run."""

from __future__ import annotations

import time

import numpy as np
import torch

from selfpretrain.config import Settings
from selfpretrain.data.packing import PackedBlocks, PretrainBatches, SpecialIds
from selfpretrain.finetune import DEFAULT_MICRO_BATCH, count_steps
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.objectives import build_objective
from selfpretrain.pretrain import split_rows
from selfpretrain.study.data import read_task
from selfpretrain.study.plan import FINISHED, Cell
from selfpretrain.train.optim import AdamW
from selfpretrain.train.trainer import choose_device, move

PROBE_STEPS = 3
CORPUS_SECONDS = 15.0  # reading, tokenising and storing a corpus of a few tens of MB
OVERHEAD_SECONDS = 2.0  # starting a run, loading, evaluating, writing
TYPICAL_TOKENS = 48  # of a fine-tuning example after sorting by length


def estimate_seconds(waves: dict[str, list[Cell]]) -> float:
    """Seconds for all cells that are not finished."""
    steps_seconds: dict[str, float] = {}
    total = 0.0
    for cells in waves.values():
        for cell in cells:
            if cell.status in FINISHED:
                continue
            if cell.stage == "corpus":
                total += CORPUS_SECONDS
                continue
            key = f"{cell.stage} {cell.model}"
            if key not in steps_seconds:
                measure = time_pretrain_step if cell.stage == "pretrain" else time_finetune_step
                steps_seconds[key] = measure(cell.settings)
            total += OVERHEAD_SECONDS + steps_seconds[key] * count_cell_steps(cell)
    return total


def count_cell_steps(cell: Cell) -> int:
    if cell.stage == "pretrain":
        return cell.settings.pretrain.total_steps
    data = read_task(cell.settings.task, cell.settings.runtime.runs_dir)
    return count_steps(cell.settings.finetune, len(data.splits["train"].ids))


def time_pretrain_step(settings: Settings) -> float:
    """Seconds of one optimizer step on made-up text (the median of a few)."""
    config, vocab_size = settings.pretrain, settings.tokenizer.vocab_size
    module = build_objective(settings.model, settings.objective, vocab_size, 0, 0).to(choose_device(settings.runtime))
    tokens = np.random.default_rng(0).integers(5, vocab_size, config.seq_len * 64).astype(np.int32)
    blocks = PackedBlocks(tokens, SpecialIds(2, 3, 4, (0, 1, 2, 3, 4), vocab_size), config.seq_len, config.packing, 0)
    rows = min(config.batch_size, config.micro_batch_size or config.batch_size, 32)
    batch = split_rows(PretrainBatches(blocks, settings.objective, rows, 0)[0], rows)[0][1]
    return _time_steps(module, AdamW(module, config), batch, settings) * config.batch_size / rows


def time_finetune_step(settings: Settings) -> float:
    config, vocab_size = settings.finetune, settings.tokenizer.vocab_size
    encoder = Encoder(settings.model, vocab_size, 0)

    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self.encoder(batch["input_ids"]).float().pow(2).mean(), {}

    module = Probe().to(choose_device(settings.runtime))
    rows = config.micro_batch_size or DEFAULT_MICRO_BATCH
    ids = np.random.default_rng(0).integers(5, vocab_size, (rows, min(TYPICAL_TOKENS, config.seq_len)))
    return _time_steps(module, AdamW(module, config), {"input_ids": ids}, settings) * config.batch_size / rows


def _time_steps(module: torch.nn.Module, optimizer: AdamW, batch: dict[str, np.ndarray], settings: Settings) -> float:
    device = choose_device(settings.runtime)
    tensors = move(batch, device)
    times = []
    for step in range(PROBE_STEPS + 1):  # the first warms up
        start = time.perf_counter()
        loss, _ = module(tensors)
        loss.backward()
        optimizer.clip()
        optimizer.step(1e-9, step)
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
