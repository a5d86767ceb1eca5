"""A study as cells: which runs it needs, in which order, and which are done.

A cell is one run. Waves: corpora, pretraining (and the pretrainings that go on from one of those), then fine-tuning in
two steps: every recipe (a learning rate of the grid;
for ``none`` with each of the starts it may have) on the first seeds, and, with the one that scored best on validation,
all other seeds. It is chosen for each model, condition and task by itself, as a part of the procedure [MultiBERTs].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from selfpretrain.cards import follow_card, load_task_card
from selfpretrain.config import CorpusConfig, Settings, StudyConfig, TaskConfig, UserError
from selfpretrain.data.vocabulary import is_own
from selfpretrain.door import choose_general, list_choices
from selfpretrain.runs import budget, identity
from selfpretrain.study.cells import Cell
from selfpretrain.study.chance import check_engines, list_levels, set_levels
from selfpretrain.study.conditions import Condition, find_condition
from selfpretrain.study.pairs import list_comparisons
from selfpretrain.study.pretraining import name_stage, name_text, prepare_pretraining
from selfpretrain.study.procedures import follow_procedures
from selfpretrain.study.released import check_family, list_seeds, read_released
from selfpretrain.study.snapshots import check_snapshots, list_checkpoint_steps, list_curve_steps, start_from
from selfpretrain.study.tasks import choose_tasks, find_missing, read_tasks, refuse_missing
from selfpretrain.study.transfer import read_transfers

CORPORA, PRETRAINING, SECOND_STAGES, SELECTION = "corpora", "pretraining", "second stages", "choosing rates and starts"
FINETUNING, CURVE, CHECKPOINTS, TRANSFER = "fine-tuning", "curve", "checkpoints", "transfer"
WAVES = (CORPORA, PRETRAINING, SECOND_STAGES, SELECTION, FINETUNING, CURVE, CHECKPOINTS, TRANSFER)  # in order


class Recipe(NamedTuple):
    """What is chosen on validation."""

    rate: float
    init_scheme: str  # of the encoder's first weights; one for all but ``none``


@dataclass(frozen=True)
class Group:
    """All fine-tunings of one model, condition and task: cells[recipe][(pretraining seed, fine-tuning seed)]."""

    model: str
    condition: str
    task: str
    cells: dict[Recipe, dict[tuple[int, int], Cell]]

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return tuple(self.cells)

    def get_selectors(self) -> list[Cell]:
        """The cells that choose the recipe, one for each: the first seeds whose pretraining did not fail."""
        first = self.cells[self.recipes[0]]
        seeds = next((seeds for seeds in sorted(first) if not first[seeds].is_blocked), min(first))
        return [cells[seeds] for cells in self.cells.values()]

    def choose_recipe(self) -> Recipe | None:
        """The one with the best validation score on those seeds; None while one of them is not decided."""
        if len(self.recipes) == 1:
            return self.recipes[0]
        scores: dict[Recipe, float] = {}
        for recipe, cell in zip(self.recipes, self.get_selectors(), strict=True):
            if cell.status == "done":
                score = cell.run.read_result()["scores"]["validation"]
                scores[recipe] = -math.inf if score is None else float(score)  # a run that has no score
            elif cell.status not in ("diverged", "failed"):
                return None
        return max(scores, key=lambda recipe: scores[recipe]) if scores else self.recipes[0]

    def choose_cells(self) -> list[Cell]:
        """The cells of the chosen recipe (of the first while none is chosen)."""
        return list(self.cells[self.choose_recipe() or self.recipes[0]].values())


@dataclass(frozen=True)
class Gap:
    """Fine-tunings of one model, condition and task that cannot be, since data of theirs cannot be got."""

    model: str
    condition: str
    task: str
    why: str  # in a few words


class StudyPlan:
    """Every cell a study can need. ``settings_of(model)`` gives the settings composed with that model's preset."""

    def __init__(self, settings: Settings, settings_of: Callable[[str], Settings]):
        self.settings, self.study = settings, settings.study
        self.general = choose_general(settings.study.general)
        self.cards = {task.name: task for task in choose_tasks(settings)}
        self.conditions = list_conditions(settings, list(self.cards))
        list_comparisons(self.study.pairs, self.conditions, self.study.seed_factors)  # refuses what cannot be compared
        check_models_of(self.study, list(self.cards))
        check_engines(settings, [find_condition(key) for key in self.conditions])
        check_snapshots(settings)
        self.corpora: dict[str, Cell] = {}
        self.pretrainings: dict[str, Cell] = {}
        self.groups: list[Group] = []
        self.gaps: list[Gap] = []
        self.init_schemes: dict[str, str] = {}
        self.tasks, self.data, self.missing = read_tasks(settings, list(self.cards.values()))
        self.released, absent = read_released(self.study, self.conditions)
        self.missing |= absent
        others = {name for key in self.conditions for name in find_condition(key).other_tasks} - {*self.cards}
        self.missing |= find_missing([load_task_card(name) for name in sorted(others)], settings.runtime.runs_dir)
        resolved = {data.task.name: data.task for data in self.data.values()}
        self.transfers = read_transfers(self.study.transfer, resolved, self.missing, settings.runtime.runs_dir)
        for model in self.study.models:
            base = settings_of(model)
            self.init_schemes[model] = base.model.init_scheme
            for condition, released in self.released.items():
                check_family(condition, released, base.model.family)
            gaps = {name: self.cards[name] for name in self.missing if name in self.cards}
            for key, task in (self.tasks | gaps).items():
                followed = follow_card(base, task)
                for condition in self.conditions:
                    if self._is_wanted(model, condition, task.name):
                        if why := self._explain_gap(condition, task.name):
                            self.gaps.append(Gap(model, condition, key, why))
                        else:
                            self.groups.append(self._plan_group(followed, model, condition, key))
        if self.gaps and not self.groups:
            refuse_missing(self.missing)
        if not self.groups:
            raise UserError(
                f"study={self.study.name} has no cells: study.models={self.study.models}, tasks={list(self.cards)}, "
                f"study.conditions={self.study.conditions}; none of the three may be empty"
            )

    def _is_wanted(self, model: str, condition: str, own: str) -> bool:
        """Whether ``models_of`` gives the model this task (and the tasks whose texts the condition names)."""
        others = find_condition(condition).other_tasks
        names = (own, *others)
        return own not in others and all(model in self.study.models_of.get(name, self.study.models) for name in names)

    # building

    def _plan_group(self, base: Settings, model: str, condition: str, key: str) -> Group:
        task = self.tasks[key]
        base = follow_procedures(base, find_condition(condition).procedures)
        rates = base.finetune.lr_grid or [base.finetune.peak_lr]
        schemes = find_condition(condition).list_schemes(base.model.init_scheme)
        recipes = [Recipe(rate, scheme) for scheme in schemes for rate in rates]
        cells: dict[Recipe, dict[tuple[int, int], Cell]] = {recipe: {} for recipe in recipes}
        for seed in list_seeds(self.study, condition):
            started = self._plan_start(base, model, condition, task, seed)
            before = self._list_before(started)
            for recipe in recipes:
                for finetune_seed in range(self.study.finetune_seeds):
                    settings = dataclasses.replace(
                        started,
                        model=dataclasses.replace(base.model, init_scheme=recipe.init_scheme),
                        finetune=dataclasses.replace(base.finetune, peak_lr=recipe.rate, lr_grid=[]),
                        seeds=dataclasses.replace(
                            started.seeds, finetune_seed=finetune_seed + self.study.seed_offset * seed
                        ),
                    )
                    vocabulary_id = identity.identify_vocabulary(settings) if settings.start.is_fresh else None
                    run_id = identity.identify_finetune(settings, self.data[key], vocabulary_id)
                    cells[recipe][seed, finetune_seed] = Cell(
                        "finetune", run_id, settings, model, condition, key, seed, finetune_seed, before
                    )
        return Group(model, condition, key, cells)

    def _explain_gap(self, condition: str, own: str) -> str:
        """Why there can be no run for want of data; empty where these are here."""
        for name in (own, condition):
            if name in self.missing:
                return self.missing[name].why
        lacking = [name for name in find_condition(condition).other_tasks if name in self.missing]
        return "; ".join(f"the text of {name} ({self.missing[name].why})" for name in lacking)

    def _plan_start(self, base: Settings, model: str, key: str, task: TaskConfig, seed: int) -> Settings:
        """The settings of a fine-tuning up to its start; registers the corpora and the pretrainings it needs."""
        condition = find_condition(key)
        levels = {} if condition.released else list_levels(self.study)[seed]
        seeds = set_levels(base.seeds, seed, levels)
        settings = dataclasses.replace(base, task=task, corpus=CorpusConfig(), init="none", seeds=seeds)
        if condition.is_fresh:
            if is_own(settings.tokenizer):  # the vocabulary of a fresh encoder is its corpus's
                self._register_corpus(settings, model, f"own of {task.name}")
            return settings
        if condition.released:
            return dataclasses.replace(settings, init=self.released[key].starts[seed])
        if condition.from_released:
            assert self.study.offshelf is not None
            settings = dataclasses.replace(settings, init=self.study.offshelf)
        if not condition.is_released:
            for part in range(max(1, len(condition.staged))):
                run_id = self._plan_pretraining(settings, model, condition, part)
                settings = dataclasses.replace(settings, init=f"run:{run_id}")
        return settings

    def _plan_pretraining(self, settings: Settings, model: str, condition: Condition, part: int) -> str:
        """Registers a condition's pretraining from ``settings.init``, of a staged one that of a part; returns its id."""
        if condition.staged and is_own(settings.tokenizer):
            raise UserError(
                f"{condition.key} needs one vocabulary for its two texts, and with tokenizer.source=own each has its own; "
                "set tokenizer.source=general or released, or tokenizer.path=<folder>"
            )
        read, seed = (condition.staged or (condition,))[part], settings.seeds.seed
        pretraining = prepare_pretraining(settings, condition, read, self.study, self.general, self._find_task)
        text = name_text(read, pretraining.task.name)
        corpus_id = self._register_corpus(pretraining, model, text)
        pretraining = budget.resolve_planned(pretraining, corpus_id)
        if condition.staged:
            pretraining = budget.halve(pretraining, is_second=part > 0)
            text = name_stage(condition, settings.task.name, part)
        run_id = identity.identify_pretrain(pretraining, corpus_id)
        if run_id not in self.pretrainings:
            before = self._list_before(pretraining)
            self.pretrainings[run_id] = Cell("pretrain", run_id, pretraining, model, text, "", seed, before=before)
        return run_id

    def _list_before(self, settings: Settings) -> tuple[str, ...]:
        """The pretrainings before the one that is started from."""
        cell = self.pretrainings.get(settings.start.run_id or "")
        return cell.stands_on if cell else ()

    def _find_task(self, name: str) -> TaskConfig:
        """Another task, as the study has it, or by its card."""
        return self.cards.get(name) or load_task_card(name)

    def _register_corpus(self, settings: Settings, model: str, text: str) -> str:
        corpus_id = identity.identify_corpus(settings)
        if settings.start.run_id is not None:  # in the vocabulary that all share, it waits for no run
            settings = dataclasses.replace(settings, init="none")
        self.corpora.setdefault(corpus_id, Cell("corpus", corpus_id, settings, model, text))
        return corpus_id

    # asking

    def list_curve(self, group: Group) -> dict[int, Cell]:
        """The first seed's fine-tunings from the snapshots of its pretraining, by the steps before them.

        None for other tasks' texts, where pretraining went on from something, for a budget that is not in steps yet, and
        where a finished run kept no snapshot.
        """
        end = group.choose_cells()[0]
        if (pretraining := self._find_followed(group, end)) is None:
            return {}
        steps = list_curve_steps(pretraining, self.study.curve)
        cells = {step: start_from(end, step, self.data[group.task]) for step in steps}
        return {step: cell for step, cell in cells.items() if self.has_start(cell)}

    def list_checkpoints(self, group: Group) -> dict[int, list[Cell]]:
        """All seeds' fine-tunings from the snapshots of ``study.checkpoints``, by the steps before them, with the recipe that
        was chosen at the end; none for other tasks' texts, and where pretraining went on from something.

        Those whose finished run kept no snapshot are among them (:meth:`has_start`).
        """
        cells: dict[int, list[Cell]] = {}
        for end in group.choose_cells() if self.study.checkpoints else []:
            if pretraining := self._find_followed(group, end):
                for step in list_checkpoint_steps(pretraining):
                    cells.setdefault(step, []).append(start_from(end, step, self.data[group.task]))
        return cells

    def _find_followed(self, group: Group, end: Cell) -> Cell | None:
        """The pretraining whose encoders on the way are fine-tuned, too."""
        return (
            None if find_condition(group.condition).text_of else self.pretrainings.get(end.settings.start.run_id or "")
        )

    def has_start(self, cell: Cell) -> bool:
        """Whether the snapshot that a fine-tuning starts from is there, or will be."""
        run = self.pretrainings[cell.settings.start.run_id or ""].run
        return run.status != "done" or run.encoder(cell.settings.start.step).is_dir()

    def list_transfers(self, group: Group) -> list[Cell]:
        """The evaluations of a group's runs on the other test sets of its task."""
        transfers = self.transfers.get(self.tasks[group.task].name, [])
        return [cell for transfer in transfers for cell in transfer.list_cells(group.choose_cells())]

    @property
    def is_provisional(self) -> bool:
        """Whether a budget waits for its corpus: pretrainings (and what starts from them) then have no final names."""
        return any(budget.is_unresolved(cell.settings.pretrain) for cell in self.pretrainings.values())

    def iter_waves(self) -> Iterator[tuple[str, list[Cell]]]:
        """All cells, wave by wave, as far as is known: a fine-tuning has the first recipe until one is chosen."""
        yield CORPORA, list(self.corpora.values())
        later = [cell for cell in self.pretrainings.values() if cell.stands_on]
        yield PRETRAINING, [cell for cell in self.pretrainings.values() if not cell.stands_on]
        if later:
            yield SECOND_STAGES, later
        selection = [cell for group in self.groups if len(group.recipes) > 1 for cell in group.get_selectors()]
        yield SELECTION, unique(selection)
        yield FINETUNING, unique([cell for group in self.groups for cell in group.choose_cells()])
        if self.study.curve:
            yield CURVE, unique([cell for group in self.groups for cell in self.list_curve(group).values()])
        if self.study.checkpoints:
            found = [cell for group in self.groups for cells in self.list_checkpoints(group).values() for cell in cells]
            yield CHECKPOINTS, unique([cell for cell in found if self.has_start(cell)])
        if self.transfers:
            yield TRANSFER, unique([cell for group in self.groups for cell in self.list_transfers(group)])


def check_models_of(study: StudyConfig, tasks: list[str]) -> None:
    """Refuse names that are neither the study's nor known; those of presets and cards left out of it may stand."""
    models, names = {*study.models, *list_choices("model")}, {*tasks, *list_choices("task")}
    for task, chosen in study.models_of.items():
        if task not in names:
            raise UserError(f"study.models_of names the task {task!r}; allowed: {', '.join(sorted(names))}")
        for model in chosen:
            if model not in models:
                raise UserError(
                    f"study.models_of has the model {model!r} for {task}; allowed: {', '.join(sorted(models))}"
                )


def unique(cells: list[Cell]) -> list[Cell]:
    return list({cell.key: cell for cell in cells}.values())


def list_conditions(settings: Settings, tasks: list[str]) -> list[str]:
    """The study's conditions, checked; with ``study.cross`` every task's own text for every other task."""
    study = settings.study
    conditions = list(study.conditions)
    for key, names in (("conditions", conditions), ("baseline", [study.baseline]), ("reference", [study.reference])):
        for name in names:
            try:
                find_condition(name)
            except UserError as error:
                raise UserError(f"study.{key}: {error}") from None
    for key, names in (("conditions", conditions), ("models", study.models)):
        if len(set(names)) < len(names):
            raise UserError(f"study.{key}={names} names one twice; give each once")
    if study.baseline == study.reference:
        raise UserError(
            f"study.baseline and study.reference are both {study.baseline}; set study.reference to another condition"
        )
    released = [name for name in conditions if find_condition(name).from_released]
    if released and not study.offshelf:
        raise UserError(
            f"study.conditions has {released[0]}, but no checkpoint: set study.offshelf=hf:<repo>@<revision> or hf:<folder>"
        )
    if study.cross:
        conditions += [f"own_of:{name}" for name in tasks if f"own_of:{name}" not in conditions]
    return conditions
