"""What pretraining can predict, as values: all that plans, costs and batches ask of an objective, without torch.

Its module, the half with torch, is imported when it is built. ``objective.name`` names one of :data:`OBJECTIVES`;
another is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from selfpretrain.config import ModelConfig, ObjectiveConfig
from selfpretrain.model.flops import BACKWARD, count_mlm_flops, count_mlm_nsp_flops, count_rtd_flops
from selfpretrain.model.sizes import (
    build_generator_config,
    count_encoder_parameters,
    count_mlm_nsp_parameters,
    count_mlm_parameters,
    count_pooler_parameters,
    count_rtd_parameters,
    count_token_head_parameters,
)

if TYPE_CHECKING:
    from selfpretrain.model.pretraining import PretrainModule


def count_share(objective: ObjectiveConfig, seq_len: int) -> int:
    """M = round(p L), at least one."""
    return max(1, round(objective.mask_prob * seq_len))


@dataclass(frozen=True)
class Objective:
    """One objective; letters as in :mod:`selfpretrain.model.flops`."""

    families: tuple[str, ...]  # of models that can be trained with it
    # (model, objective, vocab_size, pad_id, seed) -> the module; its weights are a function of the seed alone
    build: Callable[[ModelConfig, ObjectiveConfig, int, int, int], PretrainModule]
    count_flops: Callable[[ModelConfig, int, int, int, int], int]  # (model, V, M, B, L) -> FLOPs of a forward pass
    count_parameters: Callable[[ModelConfig, int, int], int]  # (model, V, pad_id) -> of everything trained
    count_slots: Callable[[ObjectiveConfig, int], int] = count_share  # chosen positions M of a sequence of L tokens
    with_replacement: bool = False  # a position may be chosen twice
    samples: bool = False  # the batch holds a uniform number for every chosen position, once there is a generator
    has_next: bool = False  # whether the second text follows is a task: rows must say so, and a pooler is handed over
    find_fault: Callable[[ModelConfig], str] = lambda model: ""  # what is wrong with a model's sizes; empty: nothing


def _import(name: str) -> Callable[..., PretrainModule]:
    """The module of that name, imported when it is built."""
    return lambda *arguments: resolve_name(f"selfpretrain.model.pretraining:{name}")(*arguments)


def count_electra_slots(objective: ObjectiveConfig, seq_len: int) -> int:
    """:func:`count_share`, and at most int((p + .005) L) [ELECTRA]."""
    return max(1, min(count_share(objective, seq_len), int((objective.mask_prob + 0.005) * seq_len)))


def _find_generator_fault(model: ModelConfig) -> str:
    small = build_generator_config(model)
    multiple, of_what = (2, "twice its heads") if model.positions == "rotary" else (1, "its heads")
    fits, given = (
        small.hidden_size % (multiple * small.num_heads) == 0,
        f"model.generator_fraction={model.generator_fraction}",
    )
    return "" if fits else f"{given} gives a generator whose width is not a multiple of {of_what}; choose another"


OBJECTIVES: dict[str, Objective] = {
    "rtd": Objective(
        families=("electra",), build=_import("ReplacedTokenDetection"), count_flops=count_rtd_flops, count_parameters=count_rtd_parameters,
        count_slots=count_electra_slots, with_replacement=True, samples=True, find_fault=_find_generator_fault,
    ),
    "mlm": Objective(
        families=("roberta", "bert"), build=_import("MaskedLanguageModel"), count_flops=count_mlm_flops, count_parameters=count_mlm_parameters,
    ),
    "mlm_nsp": Objective(
        families=("bert",), build=_import("BertPretraining"), count_flops=count_mlm_nsp_flops, count_parameters=count_mlm_nsp_parameters,
        has_next=True,
    ),
}  # fmt: skip


def count_slots(objective: ObjectiveConfig, seq_len: int) -> int:
    """Chosen positions per sequence, M."""
    return OBJECTIVES[objective.name].count_slots(objective, seq_len)


def count_pretrain_flops(model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, batch_size: int, seq_len: int) -> int:  # fmt: skip
    """One pretraining batch forward; the mean over a pretraining whose first steps are of masked tokens alone."""
    slots, entry = count_slots(objective, seq_len), OBJECTIVES[objective.name]
    whole = entry.count_flops(model, vocab_size, slots, batch_size, seq_len)
    if not starts_with_mlm(objective):
        return whole
    first = count_mlm_flops(model, vocab_size, slots, batch_size, seq_len)
    return round(objective.mlm_fraction * first + (1 - objective.mlm_fraction) * whole)


def count_pretrain_parameters(model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int) -> int:
    """Of everything trained; the first steps' head included."""
    whole = OBJECTIVES[objective.name].count_parameters(model, vocab_size, pad_id)
    return whole + count_token_head_parameters(model, vocab_size) * starts_with_mlm(objective)


def count_handed_parameters(model: ModelConfig, objective: ObjectiveConfig, vocab_size: int) -> int:
    """What fine-tuning starts from."""
    pooler = count_pooler_parameters(model) * OBJECTIVES[objective.name].has_next
    return count_encoder_parameters(model, vocab_size) + pooler


def starts_with_mlm(objective: ObjectiveConfig) -> bool:
    """Whether an encoder that is to detect replaced tokens learns masked ones first."""
    return OBJECTIVES[objective.name].samples and objective.mlm_fraction > 0


def count_mlm_steps(objective: ObjectiveConfig, total_steps: int) -> int:
    """The first steps, in which there is no generator and nothing to detect."""
    return round(objective.mlm_fraction * total_steps) if starts_with_mlm(objective) else 0


def count_step_flops(model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, batch_size: int, seq_len: int) -> int:  # fmt: skip
    """One optimizer step of pretraining over B sequences of L tokens: 3 forward passes."""
    return (1 + BACKWARD) * count_pretrain_flops(model, objective, vocab_size, batch_size, seq_len)


def build_objective(model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int, seed: int) -> PretrainModule:  # fmt: skip
    """The pretraining module, its weights a function of ``seed`` alone."""
    return OBJECTIVES[objective.name].build(model, objective, vocab_size, pad_id, seed)
