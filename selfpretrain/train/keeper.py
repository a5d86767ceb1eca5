"""What is kept of one run in training: its starts, its lines, its best weights, its checkpoints, and that it diverged."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.files import remove_folder
from selfpretrain.runs.folder import RunFolder
from selfpretrain.tracking import Tracker
from selfpretrain.train import checkpoint, distributed
from selfpretrain.train.sharing import Sharing

NEVER = 1 << 62  # the step of what did not happen


class Diverged(RuntimeError):
    """The loss stopped being a finite number."""


# of a line of metrics that is not written yet, what each rank has summed so far
Begun = list[dict[str, dict[str, float]]]


@dataclass
class Evaluation:
    """When to evaluate and what is best. ``function(done)`` returns named measures after so many steps."""

    function: Callable[[int], dict[str, float]] = lambda done: {}
    steps: Set[int] = frozenset()  # numbers of completed steps after which to evaluate
    best_of: str | None = None  # keep the weights with the highest value of this measure
    best_score: float = -math.inf
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Keeper:
    """The module of a run and the folder in which it is kept. With several ranks rank 0 writes, and all wait."""

    module: nn.Module
    run: RunFolder
    runtime: RuntimeConfig
    tracker: Tracker
    evaluation: Evaluation = field(default_factory=Evaluation)
    sharing: Sharing | None = None
    logged: int = field(default=0, init=False)  # the step of the last line

    def log(self, done: int, row: dict[str, float]) -> None:
        """One line of the tracker, which sees first what metrics.jsonl has from before, and one there."""
        self.logged = done
        if distributed.get_rank() == 0:
            self.tracker.log(row, step=done)
            self.run.append_metrics({"step": done, **row})

    def evaluate(self, done: int) -> None:
        """Run the evaluator and remember the best weights."""
        evaluation = self.evaluation
        measures = evaluation.function(done)
        self.module.train()
        if not all(map(math.isfinite, measures.values())):
            self.check_finite(done)
        evaluation.history.append({"step": done, **measures})
        self.log(done, {f"eval_{name}": value for name, value in measures.items()})
        # a measure that has no value now is left out; the first weights are kept all the same, until others have one
        score = measures.get(evaluation.best_of, -math.inf) if evaluation.best_of else -math.inf
        if evaluation.best_of and (score > evaluation.best_score or not evaluation.best_step):
            evaluation.best_score, evaluation.best_step = score, done
            if distributed.get_rank() == 0:
                checkpoint.save_checkpoint(self._name_best(), self.module, {}, {"step": done})
        distributed.wait()  # any rank may load the best

    def check_finite(self, bad_step: int) -> None:
        """Mark the run and raise Diverged, with step and last good checkpoint, unless ``bad_step`` is NEVER.

        It is the first step, on any rank, at which a loss or a gradient was not finite.
        """
        bad_step = distributed.find_lowest(bad_step)
        if bad_step == NEVER:
            return
        good = checkpoint.find_latest(self.run.checkpoints)
        where = f"the last good checkpoint is {good}" if good else "there is no checkpoint before it"
        note = f"the loss or its gradient was not finite at step {bad_step}; {where}; lower the peak_lr"
        if distributed.get_rank() == 0:
            self.run.set_status("diverged", note)
        raise Diverged(note)

    def save(self, done: int, optimizer_state: dict[str, Tensor], begun: Begun | None = None) -> None:
        if distributed.get_rank() == 0:
            best = self.evaluation.best_score
            state: dict[str, Any] = {
                "step": done,
                "logged": self.logged,
                "best_score": None if math.isinf(best) else best,
                "best_step": self.evaluation.best_step,
                "history": self.evaluation.history,
            }
            if begun:
                state["begun"] = begun
            if self.sharing:
                state["sharing"] = self.sharing.get_state()
            folder = self.run.checkpoints / checkpoint.name_checkpoint(done)
            checkpoint.save_checkpoint(folder, self.module, optimizer_state, state)
            checkpoint.remove_old(self.run.checkpoints, self.runtime.keep_checkpoints, self.runtime.keep_steps)
            # only after a checkpoint: resuming from the one before must still find the best of its own time
            for old in self.run.checkpoints.glob("best_*"):
                if old.name < self._name_best().name:
                    remove_folder(old)
        distributed.wait()

    def resume(self) -> tuple[int, dict[str, Tensor], Begun]:
        """Restore the last checkpoint: the number of steps already done, the optimizer's state, and the line begun."""
        latest = checkpoint.find_latest(self.run.checkpoints)
        if latest is None:
            self.run.cut_metrics(0)
            return 0, {}, []
        optimizer_state, state = checkpoint.load_checkpoint(latest, self.module)
        best = state["best_score"]
        self.evaluation.best_score = -math.inf if best is None else best
        self.evaluation.best_step, self.evaluation.history = state["best_step"], state["history"]
        if self.sharing:
            self.sharing.set_state(state["sharing"])
        self.logged = state.get("logged", 0)  # absent in those of older versions
        self._cut_metrics(state["step"])
        return state["step"], optimizer_state, state.get("begun", [])

    def _cut_metrics(self, step: int) -> None:
        """Drop lines past ``step``, and say so if others are lost: no checkpoint holds them, and no result needs them."""
        last = self.run.cut_metrics(step)
        if last < self.logged and distributed.get_rank() == 0:
            file = self.run.metrics
            print(
                f"selfpretrain: {file} was cut short: its lines after step {last} up to {self.logged} are lost",
                file=sys.stderr,
            )

    def load_best(self) -> None:
        """Put the best weights seen by the evaluator into the module; UserError where they are damaged or gone."""
        best = self._name_best()
        try:
            checkpoint.load_checkpoint(best, self.module)
        except UserError:  # no checkpoint after them makes them anew
            cure = self.run.checkpoints
            raise UserError(f"{best} is damaged or missing; delete {cure} and run the command again") from None

    def _name_best(self) -> Path:
        return self.run.checkpoints / f"best_{self.evaluation.best_step:09d}"


def note_start(
    run: RunFolder, config_yaml: str, command: str, num_seeds: int, module: nn.Module, precision: str,
    device: torch.device, more: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Mark a run as running and add this start to its provenance: rank 0 for all ranks.

    ``module`` holds the weights before any training, also where the run will go on from a checkpoint.
    """
    rank, world = distributed.start(device)
    if rank == 0:
        facts = {
            "device": device.type,
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
            "precision": precision,
            "world_size": world,
            "initial_weights": hash_weights(module),
            **(more or {}),
        }
        run.start(config_yaml, command, num_seeds, facts)
    distributed.wait()


def hash_weights(module: nn.Module) -> str:
    """SHA-256 (hex) of every parameter's name and bytes."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
