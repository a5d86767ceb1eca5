"""What the runs of a study cost, before they are run: their work, from what is known of the study's texts and corpora.

Nothing is built or trained for it. What only a corpus can tell (its vocabulary, its tokens) is read from the corpus
where it is built. Before that the vocabulary is taken to be as large as asked for and the tokens are guessed from the
bytes of the text; where those are not known either (a collection without a limit), nor is what follows from them.
"""

from __future__ import annotations

import functools
from typing import Any

from selfpretrain.data.store import read_manifest
from selfpretrain.kinds import arrange, get_kind
from selfpretrain.runs import budget, identity
from selfpretrain.runs.folder import get_corpus_folder, is_corpus_built
from selfpretrain.sources import documents
from selfpretrain.sources.labelled import TaskData
from selfpretrain.stages import work
from selfpretrain.stages.work import BYTES_PER_TOKEN, Work
from selfpretrain.study.cells import OF_A_TASK, Cell
from selfpretrain.study.plan import StudyPlan

SAMPLED_TEXTS = 1000


class Costs:
    """The work of a plan's cells; what is read for it is remembered."""

    def __init__(self, plan: StudyPlan):
        self.plan = plan
        self._read_manifest = functools.cache(read_manifest)
        self._text_bytes: dict[str, int | None] = {}
        self._sizes: dict[tuple[str, float], list[float]] = {}

    def compute_work(self, cell: Cell) -> Work:
        """What the run takes, as far as it is known."""
        if cell.stage == "corpus":
            return work.describe_corpus(cell.settings.tokenizer.vocab_size, self.estimate_text_bytes(cell))
        vocab_size = self.get_vocab_size(cell)
        if cell.stage == "pretrain":
            return work.describe_pretraining(cell.settings, vocab_size, self._count_steps(cell, vocab_size))
        length = self.measure_length(cell)
        if cell.stage == "evaluate":
            return work.describe_evaluation(cell.settings, self._find_test_set(cell), vocab_size, length)
        data = self.plan.data[cell.task]
        return work.describe_finetuning(cell.settings, data, vocab_size, length, self.measure_windows(cell))

    def _find_test_set(self, cell: Cell) -> TaskData:
        """Of an evaluation."""
        transfers = self.plan.transfers[self.plan.tasks[cell.task].name]
        return next(each.data for each in transfers if each.data and each.card == cell.settings.task)

    def _count_steps(self, cell: Cell, vocab_size: int) -> int | None:
        """Of a pretraining."""
        config, sequences = cell.settings.pretrain, 0.0
        if config.budget == "seconds":
            return budget.read_steps(cell.run)
        if config.budget == "epochs":  # the corpus is not built, or the plan would have resolved it
            text = self.estimate_text_bytes(cell)
            if text is None:
                return None
            sequences = max(1.0, text / BYTES_PER_TOKEN / config.seq_len)  # at least: each document's end is padded
        return budget.compute_total_steps(cell.settings, sequences, vocab_size)

    def find_manifest(self, cell: Cell) -> dict[str, Any] | None:
        """Of the corpus that gives a run its tokenizer; None until it is built, and for a released checkpoint."""
        source: Cell | None = cell
        if cell.stage in OF_A_TASK and not cell.settings.start.is_fresh:
            source = self.plan.pretrainings.get(cell.stands_on[-1]) if cell.stands_on else None
        if source is None:
            return None
        corpus_id, runtime = identity.identify_corpus(source.settings), cell.settings.runtime
        is_built = is_corpus_built(corpus_id, runtime)
        return self._read_manifest(get_corpus_folder(corpus_id, runtime)) if is_built else None

    def get_vocab_size(self, cell: Cell) -> int:
        manifest = self.find_manifest(cell)
        return int(manifest["tokenizer"]["vocab_size"]) if manifest else cell.settings.tokenizer.vocab_size

    def measure_length(self, cell: Cell) -> int:
        """Mean tokens of the sequences of a task's examples, each cut to the sequence length, estimated from their bytes."""
        seq_len, sizes = cell.settings.finetune.seq_len, self._measure_sizes(cell)
        return max(1, round(sum(min(seq_len, size) for size in sizes) / len(sizes)))

    def measure_windows(self, cell: Cell) -> float:
        """In how many windows an example is read, in the mean; 1 where its sequences are cut."""
        config, sizes = cell.settings.finetune, self._measure_sizes(cell)
        kind = get_kind(self.plan.data[cell.task].task.label_kind)
        return sum(kind.count_windows(config, size) for size in sizes) / len(sizes)

    def _measure_sizes(self, cell: Cell) -> list[float]:
        """Tokens of the sequences of some of a task's examples, none of them cut, estimated from their bytes."""
        manifest, rate = self.find_manifest(cell), BYTES_PER_TOKEN
        if manifest:  # a separator follows every document
            rate = manifest["text_bytes"] / max(1, manifest["tokens"] - manifest["documents"])
        if (key := (cell.task, rate)) not in self._sizes:
            data = self.plan.data[cell.task]
            texts = data.splits["train"].texts
            sample = arrange(data.task, texts[:: max(1, len(texts) // SAMPLED_TEXTS)])
            self._sizes[key] = [1 + len(row) + sum(len(text.encode()) for text in row) / rate for row in sample]
        return self._sizes[key]

    def estimate_text_bytes(self, cell: Cell) -> int | None:
        """The text of a cell's corpus, at most; None where nothing limits it."""
        settings = cell.settings
        corpus_id = identity.identify_corpus(settings)
        if corpus_id not in self._text_bytes:
            runs_dir = settings.runtime.runs_dir
            self._text_bytes[corpus_id] = documents.estimate_bytes(settings.corpus, settings.task, runs_dir)
        return self._text_bytes[corpus_id]


def measure_bytes(cell: Cell) -> dict[str, int]:
    """What a run's folder holds now, by kind; empty before it was begun."""
    found = {kind: cell.folder.glob(files) for kind, files in work.FILES[cell.stage].items()}
    sizes = {kind: sum(file.stat().st_size for file in files if file.is_file()) for kind, files in found.items()}
    return {kind: size for kind, size in sizes.items() if size}


def list_once(waves: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Every wave without the cells of an earlier one: the rates' first runs are part of the fine-tuning, too."""
    first = {cell.key: name for name, cells in reversed(waves.items()) for cell in cells}
    return {name: [cell for cell in cells if first[cell.key] == name] for name, cells in waves.items()}


def compare_pretraining(plan: StudyPlan) -> str:
    """The FLOPs of one pretraining by model and text, for a report: whether the costs were equal."""
    costs = Costs(plan)
    by_model: dict[str, dict[str, list[int]]] = {}
    for cell in plan.pretrainings.values():
        known = by_model.setdefault(cell.model, {}).setdefault(cell.condition, [])
        flops = costs.compute_work(cell).training_flops
        if flops is not None and not budget.is_unresolved(cell.settings.pretrain):
            known.append(flops)
    return "; ".join(f"{model}: {_format_texts(texts)}" for model, texts in by_model.items())


def count_pretrain_flops(plan: StudyPlan) -> dict[tuple[str, str, str], float]:
    """(model, task, condition) -> training FLOPs of all that is pretrained for one run of it, mean over its runs; without
    what nothing tells yet.
    """
    costs, found = Costs(plan), {}
    for group in plan.groups:
        cells = group.choose_cells()
        flops = [_add_flops([plan.pretrainings[run_id] for run_id in cell.stands_on], costs) for cell in cells]
        known = [each for each in flops if each is not None]
        if len(known) == len(cells):
            found[group.model, group.task, group.condition] = sum(known) / len(known)
    return found


def _add_flops(pretrainings: list[Cell], costs: Costs) -> int | None:
    flops = [costs.compute_work(cell).training_flops for cell in pretrainings]
    is_known = not any(budget.is_unresolved(cell.settings.pretrain) for cell in pretrainings)
    return sum(each for each in flops if each is not None) if is_known and None not in flops else None


def _format_texts(texts: dict[str, list[int]]) -> str:
    shown = {text: _format_range(flops) for text, flops in texts.items()}
    if len(set(shown.values())) == 1:
        return f"{next(iter(shown.values()))} on every text"
    return ", ".join(f"{flops} on {text}" for text, flops in shown.items())


def _format_range(values: list[int]) -> str:
    ends = (min(values), max(values)) if values else ()
    return " to ".join(dict.fromkeys(f"{end:.3g}" for end in ends)) or "unknown"
