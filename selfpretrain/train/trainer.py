"""The one training loop: pretraining and fine-tuning both run it.

It knows neither ELECTRA nor any task. It gets a module whose ``forward(batch)`` returns a loss and named measures, a
batch source whose ``batches[step]`` is a pure function of the step, and an optional evaluator.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.devices import choose_autocast, choose_device
from selfpretrain.files import remove_folder
from selfpretrain.numbers import format_duration
from selfpretrain.progress import show_progress
from selfpretrain.runs.folder import RunFolder
from selfpretrain.seeds import derive_seed
from selfpretrain.tracking import Tracker
from selfpretrain.train import checkpoint, distributed
from selfpretrain.train.optim import AdamW, compute_lr

Arrays = dict[str, npt.NDArray[np.generic]]
NEVER = 1 << 62


class BatchSource(Protocol):
    def __getitem__(self, step: int) -> list[tuple[float, Arrays]]:
        """The micro-batches of an optimizer step, each with its weight in the step's loss (they sum to 1)."""


class Interrupted(SystemExit):
    """A signal asked the run to stop; it was saved first. Exit code 75 (SIGTERM) or 130 (Ctrl-C).

    A SystemExit, because no launcher may take it for one cell's failure and go on with the next.
    """

    def __init__(self, exit_code: int, run_id: str, step: int):
        super().__init__(exit_code)
        self.message = f"stopped at step {step} of run {run_id}, checkpoint written; the same command continues it"


class Diverged(RuntimeError):
    """The loss stopped being a finite number."""


@dataclass
class Evaluation:
    """When to evaluate and what is best. ``function()`` returns named measures."""

    function: Callable[[], dict[str, float]]
    steps: set[int]  # numbers of completed steps after which to evaluate
    best_of: str | None = None  # keep the weights with the highest value of this measure
    best_score: float = -math.inf
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def move(arrays: Arrays, device: torch.device) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    if device.type == "cpu":
        return tensors
    return {name: value.pin_memory().to(device, non_blocking=True) for name, value in tensors.items()}


class Trainer:
    """Trains ``module`` from the run's last checkpoint (or the start) to ``total_steps``."""

    def __init__(
        self, module: nn.Module, batches: BatchSource, config: OptimConfig, total_steps: int, *,
        run: RunFolder, runtime: RuntimeConfig, tracker: Tracker, seed: int,
        evaluation: Evaluation | None = None, multiplier: Callable[[str], float] = lambda _: 1.0,
    ):  # fmt: skip
        self.device = choose_device(runtime)
        self.rank, self.world = distributed.start(self.device)
        self.module = module.to(self.device)
        self.forward = torch.compile(module, mode=runtime.compile_mode) if runtime.compile else module
        self.batches, self.config, self.total_steps = batches, config, total_steps
        self.run, self.runtime, self.tracker, self.seed, self.evaluation = run, runtime, tracker, seed, evaluation
        self.name, self.multiplier = run.id, multiplier
        self.optimizer = AdamW(module, config, multiplier)
        self.autocast_dtype = choose_autocast(config.precision, self.device)
        torch.backends.cuda.matmul.allow_tf32 = config.precision != "fp32"  # what autocast leaves in fp32
        self.signal = 0
        self.bad_step = torch.full((), NEVER, dtype=torch.int64, device=self.device)
        self.sums: dict[str, Tensor] = {}
        self.num_summed = 0
        self.tokens = 0
        self.logged_at = time.perf_counter()

    # the loop

    def train(self) -> None:
        """Run to the end. Raises Interrupted, Diverged."""
        first = self.resume()
        self.module.train()
        with self._catch_signals(), self._show_progress(first) as advance, ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.batches.__getitem__, first) if first < self.total_steps else None
            for step in range(first, self.total_steps):
                assert upcoming is not None
                micro_batches = upcoming.result()
                if step + 1 < self.total_steps:  # prepared while this step computes
                    upcoming = pool.submit(self.batches.__getitem__, step + 1)
                self.step(step, micro_batches)
                done = step + 1
                if done % self.runtime.log_every == 0 or done == self.total_steps:
                    self.log(done)
                if self.evaluation and done in self.evaluation.steps:
                    self.evaluate(done)
                stop = -distributed.find_lowest(-self.signal, self.world)  # a signal may reach one rank only
                if done % self.runtime.save_every == 0 or done in self.runtime.keep_steps or stop:
                    self.save(done)
                advance(done)
                if stop:
                    raise Interrupted(130 if stop == signal.SIGINT else 75, self.name, done)
        self.check_finite(self.total_steps)

    def step(self, step: int, micro_batches: list[tuple[float, Arrays]]) -> None:
        """One optimizer step over its micro-batches; with several ranks each takes every world-th of them."""
        for index in range(self.rank, len(micro_batches), self.world):
            weight, arrays = micro_batches[index]
            loss, measures = self.compute_loss(step, index, arrays)
            (loss * weight).sum().backward()  # one number, or one for each of several seeds
            self._watch(loss, step)
            self._sum(measures, weight)
            self.tokens += int(np.sum(arrays["num_tokens"])) if "num_tokens" in arrays else arrays["input_ids"].size
        distributed.sum_gradients(self.optimizer.parameters, self.world)
        norm = self.optimizer.clip()
        self._watch(norm, step)
        self.optimizer.step(compute_lr(self.config, step, self.total_steps), step)
        self.optimizer.zero_grad()
        self._sum({"grad_norm": norm}, 1 / self.world)  # every rank has the same
        self.num_summed += 1

    def compute_loss(self, step: int, index: int, arrays: Arrays) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the measures of micro-batch ``index``."""
        # dropout depends on the place of the micro-batch, not on the process that computes it
        torch.manual_seed(derive_seed(self.seed, "dropout", step, index))
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            loss, measures = self.forward(move(arrays, self.device))
        return loss, measures

    @torch.no_grad()
    def _watch(self, value: Tensor, step: int) -> None:
        """Note the first step at which the loss or a gradient is not finite; on the device: nothing waits for it."""
        self.bad_step = torch.minimum(self.bad_step, torch.where(torch.isfinite(value), NEVER, step + 1))

    @torch.no_grad()
    def _sum(self, measures: dict[str, Tensor], weight: float) -> None:
        for name, value in measures.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + value * weight

    # what happens now and then

    def log(self, done: int) -> None:
        """One line of metrics.jsonl and the tracker: means since the line before."""
        now = time.perf_counter()
        sums = {name: float(total) for name, total in self.sums.items()} | {"tokens": float(self.tokens)}
        sums = distributed.sum_measures(sums, self.world)
        self.check_finite(done)
        tokens = sums.pop("tokens")
        row = {name: total / self.num_summed for name, total in sums.items()}
        row["lr"] = compute_lr(self.config, done - 1, self.total_steps)
        row["tokens_per_second"] = tokens / (now - self.logged_at)
        if self.rank == 0:
            self.run.append_metrics({"step": done, **row})
            self.tracker.log(row, step=done)
        self.sums, self.num_summed, self.tokens, self.logged_at = {}, 0, 0, now

    def evaluate(self, done: int) -> None:
        """Run the evaluator and remember the best weights."""
        evaluation = self.evaluation
        assert evaluation is not None
        self.check_finite(done)
        measures = evaluation.function()
        self.module.train()
        if not all(map(math.isfinite, measures.values())):
            self.bad_step.clamp_(max=done)
            self.check_finite(done)
        evaluation.history.append({"step": done, **measures})
        if self.rank == 0:
            self.run.append_metrics({"step": done, **{f"eval_{k}": v for k, v in measures.items()}})
            self.tracker.log({f"eval_{k}": v for k, v in measures.items()}, step=done)
        # a measure that has no value now is left out; the first weights are kept all the same, until others have one
        score = measures.get(evaluation.best_of, -math.inf) if evaluation.best_of else -math.inf
        if evaluation.best_of and (score > evaluation.best_score or not evaluation.best_step):
            evaluation.best_score, evaluation.best_step = score, done
            if self.rank == 0:
                checkpoint.save_checkpoint(self.run.checkpoints / f"best_{done:09d}", self.module, {}, {"step": done})
        distributed.wait(self.world)  # any rank may load the best

    def check_finite(self, done: int) -> None:
        """Mark the run and raise Diverged, with step and last good checkpoint, once loss or gradient was not finite."""
        bad = distributed.find_lowest(int(self.bad_step), self.world)
        if bad >= NEVER:
            return
        good = checkpoint.find_latest(self.run.checkpoints)
        where = f"the last good checkpoint is {good}" if good else "there is no checkpoint before it"
        note = f"the loss or its gradient was not finite at step {bad}; {where}; lower the peak_lr"
        if self.rank == 0:
            self.run.set_status("diverged", note)
        raise Diverged(note)

    # saving and resuming

    def save(self, done: int) -> None:
        self.check_finite(done)
        if self.rank == 0:
            state: dict[str, Any] = {"step": done}
            if self.evaluation:
                best = self.evaluation.best_score
                state |= {
                    "best_score": None if math.isinf(best) else best,
                    "best_step": self.evaluation.best_step,
                    "history": self.evaluation.history,
                }
            folder = self.run.checkpoints / checkpoint.name_checkpoint(done)
            checkpoint.save_checkpoint(folder, self.module, self.optimizer.get_state(), state)
            checkpoint.remove_old(self.run.checkpoints, self.runtime.keep_checkpoints, self.runtime.keep_steps)
            self._remove_old_best()
        distributed.wait(self.world)

    def _remove_old_best(self) -> None:
        # only after a checkpoint: resuming from the one before must still find the best of its own time
        best = self.evaluation.best_step if self.evaluation else 0
        for folder in self.run.checkpoints.glob("best_*"):
            if folder.name < f"best_{best:09d}":
                remove_folder(folder)

    def resume(self) -> int:
        """Restore the last checkpoint; return the number of steps already done."""
        latest = checkpoint.find_latest(self.run.checkpoints)
        if latest is None:
            self.run.cut_metrics(0)
            return 0
        optimizer_state, state = checkpoint.load_checkpoint(latest, self.module)
        self.optimizer.set_state(optimizer_state)
        if self.evaluation:
            best = state["best_score"]
            self.evaluation.best_score = -math.inf if best is None else best
            self.evaluation.best_step, self.evaluation.history = state["best_step"], state["history"]
        self.run.cut_metrics(state["step"])
        done = state["step"]
        assert isinstance(done, int)
        return done

    def load_best(self) -> None:
        """Put the best weights seen by the evaluator into the module."""
        assert self.evaluation is not None
        folder = self.run.checkpoints / f"best_{self.evaluation.best_step:09d}"
        checkpoint.load_checkpoint(folder, self.module)

    # surroundings

    @contextlib.contextmanager
    def _catch_signals(self) -> Iterator[None]:
        def note(number: int, _frame: Any) -> None:
            self.signal = number

        try:
            before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread: whoever started it decides
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _show_progress(self, first: int) -> Iterator[Callable[[int], None]]:
        label, began = f"{self.run.path.parent.name} {self.name}", time.perf_counter()
        with show_progress(label, self.total_steps, first, self.runtime.progress) as show:

            def advance(done: int) -> None:
                now = time.perf_counter()
                rate = self.tokens / (now - self.logged_at) / 1000  # 0 right after a line was logged
                left = format_duration((now - began) / (done - first) * (self.total_steps - done))
                show(done, f"{rate:.1f}k tokens/s, {left} left" if rate else "")

            yield advance
