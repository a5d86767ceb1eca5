"""What may be chosen of objectives and packings, and whether they go together with a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from selfpretrain.config import ModelConfig
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.pretext.packing import BLOCK_BUILDERS

T = TypeVar("T")

# settings that name an entry of a table; one that is added is a choice from then on
TABLES: dict[str, Mapping[str, object]] = {"objective.name": OBJECTIVES, "pretrain.packing": BLOCK_BUILDERS}


def list_misfits(model: ModelConfig, objective_name: str, packing: str) -> list[tuple[bool, str]]:
    """Whether each rule is broken, and what to say then; the names are of the tables."""
    objective, num_segments = OBJECTIVES[objective_name], BLOCK_BUILDERS[packing].num_segments
    fault = objective.find_fault(model)
    families = " or ".join(objective.families)
    fitting = _join(OBJECTIVES, lambda other: model.family in other.families)
    narrow = _join(BLOCK_BUILDERS, lambda other: other.num_segments <= model.type_vocab_size)
    return [
        (model.family not in objective.families,
         f"objective.name={objective_name} needs model.family={families}, not {model.family}; set objective.name={fitting}"),
        (model.type_vocab_size < num_segments,
         f"pretrain.packing={packing} needs model.type_vocab_size={num_segments}; set pretrain.packing={narrow}"),
        (bool(fault), fault),
    ]  # fmt: skip


def _join(table: Mapping[str, T], fits: Callable[[T], bool]) -> str:
    return " or ".join(name for name, entry in table.items() if fits(entry))
