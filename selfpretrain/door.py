"""The one door from YAML and the command line to checked dataclasses, and what each setting may be.

Only this file, ``__main__`` and the sweeper know Hydra and OmegaConf; everything else gets dataclasses.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from selfpretrain.config import (
    FAMILIES,
    SEED_FACTORS,
    CorpusConfig,
    FinetuneConfig,
    Limit,
    Settings,
    Start,
    TaskConfig,
    UserError,
    iter_settings,
)
from selfpretrain.contradictions import list_contradictions
from selfpretrain.engines import ENGINES, FINETUNE_ENGINES
from selfpretrain.hashing import to_plain
from selfpretrain.hints import explain_composition, explain_setting, hint_at
from selfpretrain.overrides import escape_interpolation
from selfpretrain.places import find_folder as find_folder
from selfpretrain.places import list_choices as list_choices
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.pretext.schedules import RULE, choose_checkpoint_shares, choose_steps, list_shares

T = TypeVar("T")

WARMUP = ("warmup_steps", "warmup_fraction")  # one of the two is set
# settings that name an entry of a table: what it holds is allowed
NAMED: dict[str, Any] = {
    "objective.name": OBJECTIVES,
    "pretrain.packing": BLOCK_BUILDERS,
    "pretrain.engine": ENGINES,
    "finetune.engine": FINETUNE_ENGINES,
}


def to_dataclass(raw: dict[str, Any], schema: type[T]) -> T:
    """A plain container as an instance of ``schema``; unknown keys and wrong types are refused (UserError)."""
    try:
        # merged onto the schema as a plain container: to_object alone would drop keys added with "+"
        merged = OmegaConf.merge(OmegaConf.structured(schema), _escape(raw))
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(explain_setting(error, schema)) from None
    assert isinstance(result, schema)
    return result


def _to_schema(config: Any, schema: type[T]) -> T:
    raw = OmegaConf.to_container(config, resolve=True)
    assert isinstance(raw, dict)
    return to_dataclass({str(name): value for name, value in raw.items() if name != "hydra"}, schema)


def load_yaml(path: Path, schema: type[T]) -> T:
    """A YAML file as an instance of ``schema``; unknown keys and wrong types are refused (UserError)."""
    return _to_schema(OmegaConf.load(path), schema)


def load_study_file(path: Path) -> DictConfig:
    """A study in a file of the user's own, as Hydra composes it; UserError for what is no YAML, or no mapping."""
    try:
        config = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(
            f"study={path}{where}: {reason}; correct it, as in the files that selfpretrain init writes"
        ) from None
    if not isinstance(config, DictConfig):
        raise UserError(
            f"study={path} holds no settings; write study: and what it compares, or have selfpretrain init do it"
        )
    if "defaults" in config and not isinstance(config._get_node("defaults"), ListConfig):
        raise UserError(f"study={path}: defaults is no list; write it as in the files that selfpretrain init writes")
    return config


def _escape(value: Any) -> Any:
    """A resolved container for OmegaConf: a name that holds ``${`` is no interpolation."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return escape_interpolation(value) if isinstance(value, str) else value


def _listed(value: Any) -> list[str] | None:
    if value is None:
        return None
    names = value if isinstance(value, list) else [value]
    # columns may be called 0 or true: YAML has made a number of one and a truth of the other
    return [str(name).lower() if isinstance(name, bool) else str(name) for name in names]


def complete_task(task: TaskConfig) -> TaskConfig:
    """A task as it was written, checked, with its columns as lists and its paths as the shell would have them."""
    _check_card(task)
    paths = {name: _expand_home(getattr(task, name)) for name in ("path", "validation_path", "test_path")}
    text, label, options = map(_listed, (task.text, task.label, task.options))
    return dataclasses.replace(task, text=text, label=label, options=options, **paths)


def _expand_home(path: T) -> T:
    """A path (of a start ``hf:<path>`` or ``fairseq:<path>``, too) with ``~`` or ``~user`` as the shell would have it, unless there is such a file."""
    if not isinstance(path, str):
        return path
    kind = next((kind for kind in ("hf:", "fairseq:") if path.startswith(kind)), "")
    name = path.removeprefix(kind)
    return path if Path(name).exists() else kind + os.path.expanduser(name)  # type: ignore[return-value]


def choose_general(general: str) -> str:
    """The text collection behind ``bookwiki``: the one set, or (auto) BookWiki where the mirror has it, else docs."""
    if general != "auto":
        return general
    mirror = os.environ.get("SELFPRETRAIN_DATA")
    return "bookwiki" if mirror and (Path(mirror) / "bookwiki").is_dir() else "docs"


def _check_card(task: TaskConfig) -> None:
    """Refuse families and settings of ``task.finetune`` that there are not."""
    allowed = [f.name for f in dataclasses.fields(FinetuneConfig) if f.name not in ("recipe", "given", "lr_grid")]
    for family, changes in task.finetune.items():
        if family not in FAMILIES or not isinstance(changes, dict):
            raise UserError(
                f"task.finetune has {family}: {changes}; allowed: {{<family>: {{<setting>: <value>}}}} with a family of "
                f"{', '.join(FAMILIES)}"
            )
        for name in changes:
            if name not in allowed:
                hint = hint_at(name, allowed)
                raise UserError(f"task.finetune.{family} has {name!r}; {hint}allowed: {', '.join(allowed)}")


def _note_given(config: FinetuneConfig, overrides: Sequence[str]) -> FinetuneConfig:
    """With the settings that a command line names, by themselves or as ``finetune={...}``.

    A rate there is the only one, unless a grid stands beside it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given: set[str] = set()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        section, _, name = override.key_or_group.partition(".")
        if section == "finetune":
            value = override.value()
            given |= {name} if name else set(value) if isinstance(value, dict) else set()
    grid = [] if "peak_lr" in given and "lr_grid" not in given else config.lr_grid
    return dataclasses.replace(config, given=sorted(given), lr_grid=grid)


def open_config(config: DictConfig, overrides: Sequence[str] = ()) -> Settings:
    """The composed configuration as checked :class:`Settings`; ``overrides`` are those of the command line.

    Raises :class:`UserError` for unknown keys, wrong types and contradictory values.
    """
    settings = _to_schema(config, Settings)
    tokenizer = settings.tokenizer
    if tokenizer.source == "general" and tokenizer.card is None:  # the same for a single command as within a study
        tokenizer = dataclasses.replace(tokenizer, card=choose_general(settings.study.general))
    settings = dataclasses.replace(
        settings,
        init=_expand_home(settings.init),
        runtime=dataclasses.replace(settings.runtime, runs_dir=_expand_home(settings.runtime.runs_dir)),
        corpus=dataclasses.replace(settings.corpus, path=_expand_home(settings.corpus.path)),
        task=complete_task(settings.task),
        finetune=_note_given(settings.finetune, overrides),
        tokenizer=dataclasses.replace(tokenizer, path=_expand_home(tokenizer.path)),
    )
    check(settings)
    return settle_seeds(settings, overrides)


def settle_seeds(settings: Settings, overrides: Sequence[str]) -> Settings:
    """With ``study.seed_factors`` the number of pretraining seeds is that of their combinations; UserError for factors that
    cannot be.
    """
    study, factors = settings.study, settings.study.seed_factors
    if not factors:
        return settings
    allowed = f"allowed: {{<factor>: <number of seeds, at least 2>, ...}} with {', '.join(SEED_FACTORS)}"
    if not isinstance(factors, dict):
        raise UserError(f"study.seed_factors={factors} is no mapping; {allowed}")
    for name, number in factors.items():
        if name not in SEED_FACTORS or type(number) is not int or number < 2:
            raise UserError(f"study.seed_factors={factors} has {name}: {number}; {allowed}")
        if getattr(settings.seeds, f"{name}_seed") is not None:
            raise UserError(
                f"seeds.{name}_seed is one value, and study.seed_factors varies {name}; leave one of them out"
            )
    number = math.prod(factors.values())
    given = [override for override in overrides if override.startswith("study.pretrain_seeds=")]
    if given and study.pretrain_seeds != number:  # a preset's number gives way, one that was typed does not
        raise UserError(
            f"{given[-1]} and study.seed_factors={factors} ({number} together) differ; leave one of them out"
        )
    return dataclasses.replace(settings, study=dataclasses.replace(study, pretrain_seeds=number))


def check(settings: Settings) -> None:
    """Refuse values that are not allowed or contradict one another."""
    for key, field, value in iter_settings(settings):
        allowed = _get_allowed(key, field)
        if isinstance(allowed, Limit):
            numbers, form = (value, "[<number>,...], each") if isinstance(value, list) else ([value], "<number>")
            if not all(allowed.holds(number) for number in numbers if number is not None):
                raise UserError(f"{key}={value} is out of range; set {key}={form} {allowed.words}")
        elif allowed:
            for name in value if isinstance(value, list) else [value]:
                if name not in allowed:
                    names = ", ".join(each or "null" for each in allowed)
                    raise UserError(f"{key}={value} is not known; allowed: {names}")
    Start.parse(settings.init)
    _check_schedules(settings)
    for broken, message in list_contradictions(settings):
        if broken:
            raise UserError(message)
    for part, _ in read_parts(settings.corpus, None):
        check(dataclasses.replace(settings, corpus=part))


def _check_schedules(settings: Settings) -> None:
    """Refuse checkpoints that cannot be; where steps are the budget, those that they are too few for, too."""
    config, checkpoints = settings.pretrain, settings.study.checkpoints
    rule = config.checkpoint_schedule
    given = {f"{RULE}={rule}": list_shares(rule)}
    given[f"study.checkpoints={list(checkpoints)}"] = choose_checkpoint_shares(checkpoints, rule)
    for key, shares in given.items():
        if config.budget == "steps":
            choose_steps(shares, config.total_steps, key)


def read_parts(corpus: CorpusConfig, task: TaskConfig | None) -> list[tuple[CorpusConfig, TaskConfig | None]]:
    """The texts that a mix is made of, each with the task whose own text it is or goes by; none of what is no mix.

    The task of source=own_of may be all its settings in place of its name, where its card alone does not say them.
    """
    parts = []
    for given in corpus.parts:
        if not isinstance(given, dict) or given.get("source") == "mix":
            raise UserError(
                f"corpus.parts has {given!r}; allowed: {{source: own}}, {{source: card, card: <name>}}, ..."
            )
        fields, owner = given, task
        if isinstance(given.get("task"), dict):
            fields, owner = {**given, "source": "own", "task": None}, to_dataclass(given["task"], TaskConfig)
        parts.append((to_dataclass(fields, CorpusConfig), owner))
    return parts


def _get_allowed(key: str, field: dataclasses.Field[Any]) -> Limit | Collection[str | None] | None:
    """What a setting may be: as its field says, or one of the names of its table; None: anything of its type."""
    return NAMED.get(key) or field.metadata.get("allowed")


def print_settings(sections: Sequence[str]) -> None:
    """The settings of these sections (of all, if none is named): what is set, its type, what is allowed and its meaning."""
    known = {section.name: section.default_factory for section in dataclasses.fields(Settings)}
    for name in sections:
        if name not in known:
            raise UserError(
                f"{name!r} is no section of the settings; {hint_at(name, list(known))}allowed: {', '.join(known)}"
            )
    for name in sections or known:
        rows = [describe_setting(*each) for each in iter_settings(Settings()) if each[0].partition(".")[0] == name]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"{name}: {known[name].__doc__}" if len(rows) > 1 else name)
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def describe_setting(key: str, field: dataclasses.Field[Any], value: Any) -> tuple[str, str, str]:
    """``<key>=<default>``, its type, and what is allowed and meant."""
    allowed = _get_allowed(key, field)
    words = allowed.words if isinstance(allowed, Limit) else " | ".join(name or "null" for name in allowed or ())
    written = value if isinstance(value, str) else json.dumps(value)
    meaning = "; ".join(part for part in (words, field.metadata.get("help")) if part)
    return f"{key}={written}", str(field.type).replace("None", "null"), meaning


def register_schema() -> None:
    """Make :class:`Settings` known to Hydra under the name ``settings``, and ``${choices:...}`` to the help texts."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="settings", node=Settings)
    # a line per group; Hydra's own list has those of the other commands, too
    OmegaConf.register_new_resolver(
        "choices", lambda *names: "\n".join(f"{name}: {', '.join(list_choices(name))}" for name in names), replace=True
    )


def compose_settings(command: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings a command line would give; for studies, tests and notebooks.

    Works inside and outside a running Hydra application. Raises UserError for what no command line may say.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    register_schema()
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(find_folder("conf")), version_base="1.3"):
        try:
            composed = compose(command, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain_composition(error, command.replace("_", " "))) from error
        return open_config(composed, overrides)


def to_yaml(settings: Any) -> str:
    """A dataclass as YAML, for the run folder's config.yaml."""
    return OmegaConf.to_yaml(OmegaConf.create(to_plain(settings)))
