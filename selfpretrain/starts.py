"""What an encoder begins as: the setting ``init``, read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selfpretrain.fields import UserError


@dataclass(frozen=True)
class Start:
    """What an encoder begins as."""

    # none: fresh weights | run: ours, pretrained (for evaluate: fine-tuned) | hf: released | fairseq: of its RoBERTa
    kind: str
    name: str = ""  # a run's id, with @<step> where it is a snapshot; <repo>@<revision> or a folder; a file

    @classmethod
    def parse(cls, init: str) -> Start:
        """From the setting ``init``; UserError where it names no start."""
        kind, _, name = init.partition(":")
        if re.fullmatch(r"none|run:[^@]+(@[0-9]+)?|hf:.+|fairseq:.+", init):
            return cls(kind, name)
        allowed = "none, run:<id>, run:<id>@<step>, hf:<repo>@<revision>, hf:<folder>, fairseq:<folder or file>"
        raise UserError(f"init={init} is not a start; allowed: {allowed}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def is_fresh(self) -> bool:
        return self.kind == "none"

    @property
    def is_released(self) -> bool:
        """Others' checkpoint, in their format."""
        return self.kind in ("hf", "fairseq")

    @property
    def run_id(self) -> str | None:
        return self.name.partition("@")[0] if self.kind == "run" else None

    @property
    def step(self) -> int | None:
        """Of a pretraining's snapshot; None: its end."""
        step = self.name.partition("@")[2] if self.kind == "run" else ""
        return int(step) if step else None
