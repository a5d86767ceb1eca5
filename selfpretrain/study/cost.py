"""What the runs of a study cost, before they are run: optimizer steps and FLOPs by formula, and bytes on disk.

Nothing is built or trained for it. What only a corpus can tell (its vocabulary, its tokens) is read from the corpus
where it is built. Before that the vocabulary is taken to be as large as asked for and the tokens are guessed from the
bytes of the text; where those are not known either (a collection without a limit), the answer is None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import CorpusConfig, Settings
from selfpretrain.data.store import choose_dtype, read_manifest
from selfpretrain.hashing import to_plain
from selfpretrain.kinds import get_kind
from selfpretrain.model.flops import count_finetune_flops, count_sequence_flops
from selfpretrain.model.sizes import count_encoder_parameters, count_head_parameters
from selfpretrain.pretext.objectives import count_pretrain_flops, count_pretrain_parameters, count_step_flops
from selfpretrain.runs import budget, identity
from selfpretrain.runs.folder import get_corpus_folder, is_corpus_built
from selfpretrain.sources import documents
from selfpretrain.study.cells import Cell
from selfpretrain.study.plan import StudyPlan

BYTES_PER_TOKEN = 4.0  # of English text, where no corpus of the study says its own
SAMPLED_TEXTS = 1000
KEPT_BYTES = 12  # of each parameter in a checkpoint: fp32 weight and Adam's two moments
DISK_KINDS = ("corpora", "checkpoints", "encoders", "predictions")


@dataclass(frozen=True)
class Work:
    """The arithmetic of one run."""

    steps: int  # of the optimizer
    step_flops: int
    evaluation_flops: int  # of all passes over held-out text or examples

    @property
    def flops(self) -> int:
        return self.steps * self.step_flops + self.evaluation_flops


class Costs:
    """The costs of a plan's cells; what is read for them is remembered."""

    def __init__(self, plan: StudyPlan):
        self.plan = plan
        self._manifests: dict[str, dict[str, Any]] = {}
        self._text_bytes: dict[str, int] = {}
        self._lengths: dict[tuple[str, int, float], int] = {}

    def find_manifest(self, settings: Settings) -> dict[str, Any] | None:
        """The manifest of the corpus these settings name; None until it is built."""
        corpus_id = identity.identify_corpus(settings)
        if corpus_id not in self._manifests and is_corpus_built(corpus_id, settings.runtime):
            self._manifests[corpus_id] = read_manifest(get_corpus_folder(corpus_id, settings.runtime))
        return self._manifests.get(corpus_id)

    def find_source(self, cell: Cell) -> Settings | None:
        """The settings whose corpus gave a run its tokenizer; None for a released checkpoint."""
        if cell.stage != "finetune" or cell.settings.start.is_fresh:
            return cell.settings
        pretraining = self.plan.pretrainings.get(cell.settings.start.run_id or "")
        return pretraining.settings if pretraining else None

    def get_vocab_size(self, cell: Cell) -> int:
        source = self.find_source(cell)
        manifest = self.find_manifest(source) if source else None
        return int(manifest["tokenizer"]["vocab_size"]) if manifest else cell.settings.tokenizer.vocab_size

    # work

    def compute_work(self, cell: Cell) -> Work | None:
        """None for a corpus, and where the number of steps is not known yet."""
        if cell.stage == "pretrain":
            return self._compute_pretraining(cell)
        return self._compute_finetuning(cell) if cell.stage == "finetune" else None

    def _compute_pretraining(self, cell: Cell) -> Work | None:
        settings, config = cell.settings, cell.settings.pretrain
        steps = self._count_pretraining_steps(cell)
        if steps is None:
            return None
        parts = (settings.model, settings.objective, self.get_vocab_size(cell))
        evaluations = math.ceil(steps / (config.eval_every or steps))
        held_out = evaluations * count_pretrain_flops(*parts, config.max_held_out, config.seq_len)  # at most
        return Work(steps, count_step_flops(*parts, config.batch_size, config.seq_len), held_out)

    def _count_pretraining_steps(self, cell: Cell) -> int | None:
        config = cell.settings.pretrain
        if config.budget == "seconds":
            return budget.read_steps(cell.run)
        sequences = 0.0
        if config.budget == "epochs":  # the corpus is not built, or the plan would have resolved it
            text = self.estimate_text_bytes(cell)
            if text is None:
                return None
            sequences = max(1.0, text / BYTES_PER_TOKEN / config.seq_len)  # at least: each document's end is padded
        return budget.compute_total_steps(cell.settings, sequences, self.get_vocab_size(cell))

    def _compute_finetuning(self, cell: Cell) -> Work:
        from selfpretrain.stages.finetune import count_steps

        config, data = cell.settings.finetune, self.plan.data[cell.task]
        examples = self._count_examples(cell)
        steps = count_steps(config, examples)
        sizes = {split: len(part.ids) for split, part in data.splits.items()}
        evaluated = (1 + len(self._choose_evaluations(cell, steps))) * sizes["validation"] + sizes["test"]
        parts = (
            cell.settings.model,
            config.head,
            config.pooling,
            get_kind(data.task.label_kind).count_outputs(data.task),
        )
        length = self.measure_length(cell)
        step_flops = count_finetune_flops(*parts, min(config.batch_size, examples), length)
        return Work(steps, step_flops, count_sequence_flops(*parts, evaluated, length))

    def _count_examples(self, cell: Cell) -> int:
        data = self.plan.data[cell.task]
        swaps = data.task.unordered_pair and cell.settings.finetune.swap_pairs
        return len(data.splits["train"].ids) * (2 if swaps else 1)

    def _choose_evaluations(self, cell: Cell, steps: int) -> set[int]:
        from selfpretrain.stages.finetune import choose_evaluation_steps

        return choose_evaluation_steps(cell.settings.finetune, steps, self._count_examples(cell))

    def measure_length(self, cell: Cell) -> int:
        """Mean tokens of a task's examples, each cut to the sequence length, estimated from their bytes."""
        seq_len = min(cell.settings.finetune.seq_len, cell.settings.model.max_positions)
        source = self.find_source(cell)
        manifest = self.find_manifest(source) if source else None
        rate = BYTES_PER_TOKEN
        if manifest:  # a separator follows every document
            rate = manifest["text_bytes"] / max(1, manifest["tokens"] - manifest["documents"])
        key = (cell.task, seq_len, rate)
        if key not in self._lengths:
            texts = self.plan.data[cell.task].splits["train"].texts
            sample = texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
            sizes = [1 + len(row) + sum(len(text.encode()) for text in row) / rate for row in sample]
            self._lengths[key] = max(1, round(sum(min(seq_len, size) for size in sizes) / len(sizes)))
        return self._lengths[key]

    def estimate_text_bytes(self, cell: Cell) -> int | None:
        """The text of a corpus that is not built: its own, or at most its limit; None where nothing limits it."""
        corpus, task = cell.settings.corpus, cell.settings.task
        if corpus.source == "card" and corpus.max_mb is not None:
            return int(corpus.max_mb * 2**20)
        if corpus.source == "card" and corpus.size_as is None:
            return None
        own = CorpusConfig() if corpus.source == "card" else corpus
        key = json.dumps([to_plain(own), to_plain(task)])
        if key not in self._text_bytes:
            text = documents.iter_documents(own, task, cell.settings.runtime.runs_dir)
            self._text_bytes[key] = sum(map(documents.count_bytes, text))
        return self._text_bytes[key]

    # disk

    def estimate_bytes(self, cell: Cell) -> dict[str, int] | None:
        """What a finished run will hold, by kind; None for text of unknown size. Logs are left out."""
        if cell.stage == "corpus":
            text = self.estimate_text_bytes(cell)
            if text is None:
                return None
            width = _get_token_bytes(cell.settings.tokenizer.vocab_size)
            return {"corpora": round(text / BYTES_PER_TOKEN * width)}
        work, runtime = self.compute_work(cell), cell.settings.runtime
        steps = work.steps if work else math.inf  # unknown: as many checkpoints as may be kept
        kept = int(min(runtime.keep_checkpoints, steps // runtime.save_every))
        kept += sum(step <= steps for step in runtime.keep_steps)
        vocab_size = self.get_vocab_size(cell)
        encoder = count_encoder_parameters(cell.settings.model, vocab_size)
        if cell.stage == "pretrain":
            trained = count_pretrain_parameters(cell.settings.model, cell.settings.objective, vocab_size)
            return {"checkpoints": kept * KEPT_BYTES * trained, "encoders": 4 * encoder}
        data = self.plan.data[cell.task]
        outputs = get_kind(data.task.label_kind).count_outputs(data.task)
        trained = encoder + count_head_parameters(cell.settings.model, cell.settings.finetune.head, outputs)
        rows = sum(len(data.splits[split].ids) for split in ("validation", "test"))
        names = sum(len(name) for split in ("validation", "test") for name in data.splits[split].ids)
        best = 0 if work is None else self._count_best(cell, work.steps)
        return {
            "checkpoints": (kept * KEPT_BYTES + best * 4) * trained,
            "encoders": 4 * trained,
            "predictions": rows * (8 + 4 * outputs) + names,
        }

    def _count_best(self, cell: Cell, steps: int) -> int:
        """Best weights that may be left: one, and every one since the last checkpoint, which removes the older."""
        since = steps // cell.settings.runtime.save_every * cell.settings.runtime.save_every
        evaluations = self._choose_evaluations(cell, steps)
        return min(len(evaluations), 1 + sum(step > since for step in evaluations))


def _get_token_bytes(vocab_size: int) -> int:
    import numpy as np

    return np.dtype(choose_dtype(vocab_size)).itemsize


def measure_bytes(cell: Cell) -> dict[str, int]:
    """What a run's folder holds now, by kind; empty before it was begun."""
    if cell.stage == "corpus":
        found = _sum_files(get_corpus_folder(cell.id, cell.settings.runtime))
        return {"corpora": found} if found else {}
    kinds = {"checkpoints": "checkpoints", "encoder": "encoders", "model": "encoders", "predictions": "predictions"}
    sizes: dict[str, int] = {}
    for name, kind in kinds.items():
        if found := _sum_files(cell.run.path / name):
            sizes[kind] = found
    return sizes


def _sum_files(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def list_once(waves: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Every wave without the cells of an earlier one: the rates' first runs are part of the fine-tuning, too."""
    seen: set[str] = set()
    listed: dict[str, list[Cell]] = {}
    for name, cells in waves.items():
        listed[name] = [cell for cell in cells if cell.key not in seen]
        seen |= {cell.key for cell in cells}
    return listed


def compare_pretraining(plan: StudyPlan) -> str:
    """The FLOPs of one pretraining by model and text, for a report: whether the costs were equal."""
    costs = Costs(plan)
    by_model: dict[str, dict[str, set[float]]] = {}
    for cell in plan.pretrainings.values():
        work = None if budget.is_unresolved(cell.settings.pretrain) else costs.compute_work(cell)
        flops = math.nan if work is None else work.steps * work.step_flops
        by_model.setdefault(cell.model, {}).setdefault(cell.condition, set()).add(flops)
    return "; ".join(f"{model}: {_format_texts(texts)}" for model, texts in by_model.items())


def _format_texts(texts: dict[str, set[float]]) -> str:
    shown = {text: _format_range(flops) for text, flops in texts.items()}
    if len(set(shown.values())) == 1:
        return f"{next(iter(shown.values()))} on every text"
    return ", ".join(f"{flops} on {text}" for text, flops in shown.items())


def _format_range(values: Iterable[float]) -> str:
    known = sorted(
        {f"{value:.3g}": value for value in values if not math.isnan(value)}.items(), key=lambda pair: pair[1]
    )
    if not known:
        return "unknown"
    return known[0][0] if len(known) == 1 else f"{known[0][0]} to {known[-1][0]}"
