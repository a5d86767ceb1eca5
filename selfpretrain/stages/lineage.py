"""What a pretrained encoder is and comes from, as its run's folder says it: what a model card and a manifest tell of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfpretrain.cards import load_text_card
from selfpretrain.config import CorpusConfig, Settings, TaskConfig, UserError
from selfpretrain.door import load_yaml, read_parts
from selfpretrain.runs import budget, identity
from selfpretrain.runs.folder import RunFolder, read_starts
from selfpretrain.sources import documents

EVALUATED = "eval_"  # begins the held-out measures of a line of metrics.jsonl


@dataclass(frozen=True)
class Checkpoint:
    """The encoder of a finished pretraining after ``step`` of its steps: the end, or a snapshot."""

    run: RunFolder
    step: int
    total_steps: int
    settings: Settings  # as the run's folder has them, but for total_steps, which are those of the run (budget=seconds)
    starts: list[dict[str, Any]]  # provenance of every start of the run, the oldest first

    @property
    def is_last(self) -> bool:
        return self.step == self.total_steps

    @property
    def folder(self) -> Path:
        """With the encoder and its tokenizer."""
        return self.run.encoder(None if self.is_last else self.step)

    @property
    def seeds(self) -> dict[str, int]:
        """By kind of chance: init, data, mask."""
        return identity.get_pretrain_seeds(self.settings.seeds)

    @property
    def initial_weights(self) -> str:
        """SHA-256 (hex) of the weights before the first step, heads included; empty for runs that did not note it."""
        return str(self.starts[0].get("initial_weights", ""))

    def read_held_out(self) -> dict[str, float]:
        """The measures of held-out text at this step; empty where none were taken."""
        if self.is_last:
            return dict(self.run.read_result()["held_out"])
        lines = self.run.metrics.read_text(encoding="utf-8").splitlines()
        row: dict[str, Any] = next(
            (row for row in map(json.loads, lines) if row["step"] == self.step and f"{EVALUATED}loss" in row), {}
        )
        return {name.removeprefix(EVALUATED): value for name, value in row.items() if name.startswith(EVALUATED)}

    def list_versions(self, name: str) -> list[str]:
        """The different values of an entry of the provenance (commit, selfpretrain), the oldest first."""
        return list(dict.fromkeys(str(start[name]) for start in self.starts if start.get(name)))

    def list_texts(self) -> list[tuple[CorpusConfig, TaskConfig | None]]:
        """What was read: each text with the task whose own text it is, or that gives it its size."""
        settings = self.settings
        return read_parts(settings.corpus, settings.task) or [(settings.corpus, settings.task)]


def list_checkpoints(run: RunFolder) -> list[Checkpoint]:
    """Of a finished pretraining, the snapshots that were kept and the end, in order; UserError for a damaged folder."""
    try:
        settings, starts = load_yaml(run.path / "config.yaml", Settings), read_starts(run.path)
    except (OSError, ValueError):
        raise UserError(f"{run.path}: config.yaml or provenance.json is missing or damaged; restore it") from None
    if not starts:
        raise UserError(f"{run.path} has no provenance.json, so nothing says what it comes from; restore it")
    total = budget.read_steps(run) or settings.pretrain.total_steps
    settings = replace(settings, pretrain=replace(settings.pretrain, total_steps=total))
    return [Checkpoint(run, step, total, settings, starts) for step in (*run.list_snapshots(), total)]


def find_checkpoint(run: RunFolder, step: int | None) -> Checkpoint:
    """The end, or the snapshot after ``step`` steps, which is there."""
    found = list_checkpoints(run)
    return found[-1] if step is None else next(each for each in found if each.step == step)


def describe_text(corpus: CorpusConfig, owner: TaskConfig | None) -> dict[str, str]:
    """A text by its name, its limits, its licence and its source, as its card has them; what is not known is left out, as
    where its card is no longer there.
    """
    if corpus.source == "fairseq":
        return {"text": "token files of fairseq-preprocess"}
    try:
        task = documents.find_owner(corpus, owner)
        card = task or load_text_card(str(corpus.card))
    except UserError:
        return {"text": str(corpus.card or corpus.task)}
    sized = f"cut to the size of the own text of {owner.name}" if corpus.size_as and owner else ""
    limit = f"at most {corpus.max_mb:g} MiB of it" if corpus.max_mb is not None else ""
    facts = {
        "text": f"the texts of the training split of {card.name}, without labels" if task else card.name,
        "part": sized or limit,
        "licence": card.licence,
        "source": card.source,
        "note": card.note,
    }
    return {name: fact for name, fact in facts.items() if fact}
