"""Procedures: named changes of how an encoder is pretrained, a file each under ``conf/procedure``.

``procedure=<name>`` on a command line goes over preset, effort and budget, and settings named there go over it. In a study
the condition ``<procedure>:<text>`` is the pretraining on that text with the procedure's settings over everything, the
command line included: with another value it would not be that procedure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from selfpretrain.config import Settings, UserError
from selfpretrain.door import check, find_folder, list_choices, load_yaml, to_dataclass

PLAIN = "plain"  # the file that changes nothing


@dataclass
class Procedure:
    """What a file holds: settings by section."""

    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        return {name: value for name, value in vars(self).items() if value}

    @property
    def changes(self) -> dict[str, Any]:
        """Values by their keys on the command line."""
        return {f"{name}.{key}": value for name, section in self.sections.items() for key, value in section.items()}


@cache
def list_procedures() -> tuple[str, ...]:
    """Their names, but that of the one that changes nothing."""
    return tuple(name for name in list_choices("procedure") if name != PLAIN)


@cache
def load_procedure(name: str) -> Procedure:
    """One of :func:`list_procedures`; UserError for a file that has other sections."""
    return load_yaml(find_folder("conf") / "procedure" / f"{name}.yaml", Procedure)


def list_changes(names: tuple[str, ...]) -> dict[str, Any]:
    """What several procedures set together, by key; UserError where two set the same."""
    found: dict[str, Any] = {}
    for name in names:
        for key, value in load_procedure(name).changes.items():
            if key in found:
                raise UserError(f"{'+'.join(names)} sets {key} twice; name procedures that change different settings")
            found[key] = value
    return found


def follow_procedures(settings: Settings, names: tuple[str, ...]) -> Settings:
    """The settings with those of the procedures in their place, checked.

    UserError for unknown settings, for values that do not go together, and for a procedure that changes nothing: it would
    be compared with itself.
    """
    for name in names:
        procedure, before = load_procedure(name), settings
        try:
            for section, changes in procedure.sections.items():
                current = getattr(settings, section)
                changed = to_dataclass({**dataclasses.asdict(current), **changes}, type(current))
                settings = dataclasses.replace(settings, **{section: changed})
            check(settings)
        except UserError as error:
            raise UserError(f"procedure {name} with model={settings.model.preset}: {error}") from None
        if settings == before:
            given = ", ".join(f"{key}={value}" for key, value in procedure.changes.items())
            raise UserError(
                f"procedure {name} changes nothing for model={settings.model.preset}, which has {given} already; leave it "
                "out of study.conditions, or set another value for all of them"
            )
    return settings
