"""Pretrainings of several seeds that others released, ``study.released``: behind a condition ``released:<name>`` each.

The number of a start is its pretraining seed, so that its fine-tunings tell of the procedure that made it, and so that the
seeds of two of them are compared one by one where their numbers are equal [MultiBERTs].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import MissingData, StudyConfig, UserError
from selfpretrain.files import read_json
from selfpretrain.runs import identity
from selfpretrain.sources import hub
from selfpretrain.starts import Start
from selfpretrain.study.conditions import find_condition

SEED = "{seed}"
FORM = "{<name>: {start: 'hf:<folder>/seed_{seed}', seeds: <how many, from 0, or their list>}}"


@dataclass(frozen=True)
class Released:
    """The starts of one condition."""

    given: str  # the setting, with {seed}
    starts: dict[int, str]  # by pretraining seed; of the hub at the commit that a branch or tag stands for now


def read_released(study: StudyConfig, conditions: list[str]) -> tuple[dict[str, Released], dict[str, MissingData]]:
    """By condition, the starts of those that the study compares; and why those of the others cannot be got.

    UserError for settings that are none, and for a start that leads nowhere.
    """
    found, missing = {}, {}
    for key in conditions:
        if name := find_condition(key).released:
            start, seeds = _read_entry(study, name)
            try:
                found[key] = Released(start, {seed: _resolve(start, seed, name) for seed in seeds})
            except MissingData as error:
                missing[key] = error
    return found, missing


def list_seeds(study: StudyConfig, condition: str) -> list[int]:
    """The pretraining seeds of a condition: the study's, or those that were released."""
    name = find_condition(condition).released
    return _read_entry(study, name)[1] if name else list(range(study.pretrain_seeds))


def _read_entry(study: StudyConfig, name: str) -> tuple[str, list[int]]:
    """The start and the seeds of an entry."""
    entries = study.released if isinstance(study.released, dict) else {}
    entry = entries.get(name)
    if entry is None:
        known = ", ".join(map(str, entries)) or "nothing"
        raise UserError(
            f"study.conditions has released:{name}, and study.released has {known}; set study.released={FORM}"
        )
    if not isinstance(entry, dict) or entry.keys() != {"start", "seeds"}:
        raise UserError(f"study.released.{name}={entry} is not two settings; allowed: {FORM}")
    start, given = str(entry["start"]), entry["seeds"]
    seeds = list(range(given)) if type(given) is int else given
    are_numbers = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not are_numbers or not seeds or len({*seeds}) < len(seeds):
        raise UserError(
            f"study.released.{name}.seeds={given} is no number above 0 and no list of seeds, each once; as in {FORM}"
        )
    if SEED not in start or not Start.parse(start).is_released:
        raise UserError(
            f"study.released.{name}.start={start} names no released checkpoint for each {SEED}; allowed: {FORM}"
        )
    return start, seeds


def _resolve(start: str, seed: int, name: str) -> str:
    """The start of a seed, which is there; a branch or tag of the hub by its commit, which is what the run's id holds."""
    found = Start.parse(start.replace(SEED, str(seed)))
    if found.kind == "hf" and not Path(found.name).is_dir() and "@" in found.name:
        repo, _, revision = found.name.partition("@")
        return f"hf:{repo}@{hub.resolve_checkpoint(repo, revision)}"
    try:
        identity.identify_start(found)
    except UserError as error:
        raise UserError(f"study.released.{name}, seed {seed}: {error}") from None
    return str(found)


def check_family(condition: str, released: Released, family: str) -> None:
    """Refuse a model of another family, whose settings of fine-tuning these are; a start of the hub is not looked into."""
    for start in map(Start.parse, released.starts.values()):
        config = Path(start.name) / "config.json"
        if start.kind == "hf" and config.is_file():
            found = _read_family(config)
            if found != family:
                raise UserError(
                    f"{condition}: init={start} is of the family {found}, the study's model of {family}; set study.models to "
                    "a preset of its family"
                )


def _read_family(config: Path) -> Any:
    """model_type of a checkpoint's config.json; UserError where that is damaged."""
    try:
        return dict(read_json(config)).get("model_type")
    except (OSError, ValueError, TypeError):
        raise UserError(f"{config} is damaged; fetch the checkpoint again") from None


def describe_released(released: Released) -> str:
    """For the console and the report."""
    seeds = [*released.starts]
    listed = (
        f"{seeds[0]} to {seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else ", ".join(map(str, seeds))
    )
    at = (
        ", each at the commit that its revision stood for, which is the init of its runs"
        if "@" in released.given
        else ""
    )
    return f"{released.given}, seeds {listed}, released by others and fine-tuned as they are{at}"
