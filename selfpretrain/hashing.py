"""What of the settings enters an id, and ids: a stage hashes every setting of every section it reads, but those named here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

_SEEN = "where the examples are found; their ids, texts and labels are hashed"
_WORDS = "words for readers"
# settings of the sections a stage reads that do not enter its id, and why; a new setting enters unless it is named here
LEFT_OUT: dict[str, str] = {
    "model.preset": "a name for tables",
    "pretrain.snapshots": "what is kept on the way changes nothing",
    "pretrain.checkpoint_schedule": "what is kept on the way changes nothing",
    "finetune.lr_grid": "one run uses one rate",
    "finetune.recipe": "what it brought in stands in the section by then",
    "finetune.given": "what was given stands in the section",
    "task.name": "a name; the examples are hashed",
    "task.finetune": "what it brought in stands in the section finetune",
    "task.server_files": "what submit writes; no run hangs on it",
    "task.server_names": "what submit writes; no run hangs on it",
    "task.benchmark": "a table of the report; no run hangs on it",
    "task.label_map": "of an evaluation alone",
    **dict.fromkeys(("task.licence", "task.source", "task.note"), _WORDS),
    **{
        f"task.{name}": _SEEN
        for name in (
            "loader", "hub_id", "hub_config", "revision", "mirror", "path", "validation_path", "test_path", "splits",
            "num_rows", "allow_partial", "id", "group", "text", "join_text", "label", "options", "label_values", "corpus_columns", "delimiter",
            "encoding", "validation_fraction", "test_fraction",
        )
    },
}  # fmt: skip
# settings that were constants once, with the value they had: at it they stay out, so that the runs of before keep their ids
ADDED: dict[str, Any] = {
    "model.positions": "learned",
    "objective.mlm_fraction": 0.0,
    "pretrain.single_segment_prob": 0.1,
    "pretrain.short_seq_prob": 0.05,
    "pretrain.held_out_fraction": 0.02,
    "pretrain.max_held_out": 256,
    "pretrain.length_share": 1.0,  # at which every run is named: its length is worked out before
    "pretrain.engine": "native",
    "pretrain.weight_sharing": "none",
    "pretrain.share_until": 0.1,
    "pretrain.share_unit": 1,
    "pretrain.share_threshold": 0.5,
    "pretrain.share_check_every": 1000,
    "pretrain.eps_uncorrected": False,
    "pretrain.optimizer": "adamw",
    "pretrain.momentum": 0.95,
    "finetune.engine": "native",
    "finetune.eps_uncorrected": False,
    "finetune.optimizer": "adamw",
    "finetune.momentum": 0.95,
    "finetune.max_evals": 10,
    "finetune.doc_stride": 128,
    "tokenizer.min_frequency": 2,
    "tokenizer.limit_alphabet": 1000,
}


def to_plain(value: Any) -> Any:
    """A dataclass (or container) as plain dicts with every None left out and sorted keys."""
    if isinstance(value, (str, int, float)):  # most are, and a plan asks for a great many
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): to_plain(value[k]) for k in sorted(value) if value[k] is not None}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def hash_section(name: str, section: Any) -> dict[str, Any]:
    """A section as it enters an id."""
    return {
        key: value
        for key, value in to_plain(section).items()
        if f"{name}.{key}" not in LEFT_OUT and ADDED.get(f"{name}.{key}") != value
    }


def compute_id(parts: dict[str, Any]) -> str:
    """12 hex digits of the SHA-256 of ``parts``: settings, and the ids of what they start from.

    None is left out, so a new optional setting does not rename old runs; floats are written by repr, so 5e-4 and 0.0005
    are one id.
    """
    text = json.dumps(to_plain(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
