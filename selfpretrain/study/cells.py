"""A cell of a study: one run, and the file by which a job carries it out alone.

    <runs_dir>/cells/<stage>-<id>.json    the settings, resolved, of a cell or of several to be trained together

The study writes it; a job reads it and the data that its own run needs, and plans nothing. How a run is carried out
(``runtime``, ``tracking``) is not in it but the job's own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import Settings, StudyConfig, UserError
from selfpretrain.door import to_dataclass
from selfpretrain.files import make_folder, read_json, write_json
from selfpretrain.runs.folder import RunFolder, get_corpus_folder, is_corpus_built, open_run
from selfpretrain.stages.mirror import Caption

OF_THE_JOB = ("runtime", "tracking")  # sections of the settings
FINISHED = ("done", "diverged")  # a diverged run would diverge again; a failed one is tried once more
OF_A_TASK = ("finetune", "evaluate")
UNUSABLE = ("failed", "diverged")  # nothing can start from it


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    stage: str  # corpus | pretrain | finetune | evaluate
    id: str
    settings: Settings
    model: str
    condition: str
    task: str = ""
    pretrain_seed: int = 0
    finetune_seed: int = 0
    before: tuple[str, ...] = ()  # pretrainings that came before what it starts from: a pretraining, or a fine-tuning

    @property
    def key(self) -> str:
        return f"{self.stage}:{self.id}"

    @property
    def name(self) -> str:
        test_set = f"-on-{self.settings.task.name}" if self.stage == "evaluate" else ""
        seeds = f"-p{self.pretrain_seed}" + (f"-f{self.finetune_seed}" if self.stage in OF_A_TASK else "")
        step = f"-s{self.settings.start.step}" if self.settings.start.step else ""
        return "-".join(part for part in (self.model, self.condition, self.task) if part) + test_set + seeds + step

    def describe(self, study: str) -> Caption:
        """What trackers are told of its place in the study."""
        columns = {"model": self.model, "condition": self.condition, "pretrain_seed": self.pretrain_seed}
        if self.stage in OF_A_TASK:
            columns |= {"task": self.task.partition("@")[0], "finetune_seed": self.finetune_seed}
        return Caption(study, self.name, columns)

    @property
    def run(self) -> RunFolder:
        return open_run(self.settings.runtime.runs_dir, self.stage, self.id)

    @property
    def folder(self) -> Path:
        return get_corpus_folder(self.id, self.settings.runtime) if self.stage == "corpus" else self.run.path

    @property
    def stands_on(self) -> tuple[str, ...]:
        """The ids of the pretrainings it needs, the first of them first; a corpus needs none."""
        run_id = self.settings.start.run_id
        return self.before if run_id is None or self.stage in ("corpus", "evaluate") else (*self.before, run_id)

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the cells that it stands on: pretrainings, and of an evaluation the fine-tuning."""
        keys = [f"pretrain:{run_id}" for run_id in self.stands_on]
        return (*keys, f"finetune:{self.settings.start.run_id}") if self.stage == "evaluate" else tuple(keys)

    @property
    def blocker(self) -> str | None:
        """The id of the first of those that failed or diverged; the report shows what it blocks as failed, too."""
        folder = self.settings.runtime.runs_dir
        needed = (key.split(":", 1) for key in self.needs)
        return next((run_id for stage, run_id in needed if open_run(folder, stage, run_id).status in UNUSABLE), None)

    @property
    def is_blocked(self) -> bool:
        return self.blocker is not None

    @property
    def status(self) -> str:
        if self.stage == "corpus":
            return "done" if is_corpus_built(self.id, self.settings.runtime) else "missing"
        return self.run.status


@dataclass(frozen=True)
class Job:
    """What one process is asked to do: cells one after the other, or groups of them that differ in their seeds alone."""

    study: str  # its name, by which trackers group runs
    groups: tuple[tuple[Cell, ...], ...]  # each trained together

    @property
    def cells(self) -> list[Cell]:
        return [cell for group in self.groups for cell in group]

    @property
    def stage(self) -> str:
        return self.groups[0][0].stage

    def write(self) -> Path:
        """The job's file, written anew."""
        first = self.groups[0][0]
        folder = make_folder(Path(first.settings.runtime.runs_dir) / "cells")
        path = folder / f"{first.stage}-{first.id}.json"
        content = dataclasses.asdict(self)
        for cell in (cell for group in content["groups"] for cell in group):
            for section in OF_THE_JOB:
                del cell["settings"][section]
        write_json(path, content)
        return path

    @classmethod
    def read(cls, path: str, settings: Settings) -> Job:
        """A job from its file; how it is carried out is taken from ``settings``.

        Raises UserError for a file that is not there or none of ours.
        """
        try:
            raw = read_json(Path(path))
            groups = tuple(tuple(_read_cell(cell, settings) for cell in group) for group in raw["groups"])
            return cls(raw["study"], groups)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"study.cell={path} cannot be read ({error}); it is written and set by the study itself"
            ) from None


def _read_cell(raw: dict[str, Any], settings: Settings) -> Cell:
    own = to_dataclass(raw["settings"], Settings)
    own = dataclasses.replace(own, **{section: getattr(settings, section) for section in OF_THE_JOB})
    return Cell(**{**raw, "settings": own, "before": tuple(raw.get("before", ()))})


def group_seeds(cells: list[Cell], size: int) -> list[list[Cell]]:
    """Cells that differ in their seeds alone, up to ``size`` together.

    A corpus and an evaluation are alone, and so is a pretraining whose budget is seconds (it would share them), or whose
    layers part by its gradients, at a step of its own.
    """
    alike: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        recipe = (cell.settings.finetune.peak_lr, cell.settings.model.init_scheme)
        kind = (cell.stage, cell.model, cell.condition, cell.task, *recipe)
        config = cell.settings.pretrain
        has_own_steps = config.budget == "seconds" or config.weight_sharing in ("adaptive", "multistep")
        alone = (cell.stage == "pretrain" and has_own_steps) or cell.stage in ("corpus", "evaluate")
        alike.setdefault((*kind, cell.id) if alone else kind, []).append(cell)
    return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]


def make_jobs(study: StudyConfig, cells: list[Cell]) -> list[Job]:
    """Cells of one stage as jobs: ``seeds_per_process`` trained together, and ``cells_per_job`` of a task in a job."""
    if not cells:
        return []
    groups = [tuple(group) for group in group_seeds(cells, study.seeds_per_process)]
    size = max(1, study.cells_per_job // study.seeds_per_process) if cells[0].stage in OF_A_TASK else 1
    return [Job(study.name, tuple(groups[i : i + size])) for i in range(0, len(groups), size)]
