"""The one training loop: pretraining and fine-tuning both run it, for one run or for several that differ in their seeds.

It knows neither ELECTRA nor any task. It gets modules whose ``forward(batch)`` returns a loss and named measures, and
batch sources; what has to be kept of each run is its keeper's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from selfpretrain.config import OptimConfig, RuntimeConfig
from selfpretrain.data.examples import Arrays
from selfpretrain.devices import choose_autocast, choose_device
from selfpretrain.numbers import format_duration
from selfpretrain.progress import show_progress
from selfpretrain.runs.folder import RunFolder
from selfpretrain.seeds import derive_seed
from selfpretrain.tracking import NullTracker
from selfpretrain.train import distributed
from selfpretrain.train.keeper import NEVER, Begun, Diverged, Keeper
from selfpretrain.train.learners import BatchSource, Member, SingleLearner, StackedLearner, WeightedBatches
from selfpretrain.train.optim import compute_lr


class Interrupted(SystemExit):
    """A signal asked the run to stop; it was saved first. Exit code 75 (SIGTERM) or 130 (Ctrl-C).

    A SystemExit, because no launcher may take it for one cell's failure and go on with the next.
    """

    def __init__(self, exit_code: int, run_id: str, step: int):
        super().__init__(exit_code)
        self.message = f"stopped at step {step} of run {run_id}, checkpoint written; the same command continues it"


class Trainer:
    """Trains its members from their last checkpoints (or the start) to ``total_steps``.

    Several must differ in their seeds alone and stand at the same step; one that diverges leaves, the others go on.
    """

    def __init__(self, members: Sequence[Member]):
        first = members[0]
        self.config, self.total_steps, self.hook = first.config, first.total_steps, first.hook
        self.runtime = first.keeper.runtime
        self.device = choose_device(self.runtime)
        self.rank, self.world = distributed.start(self.device)
        assert len(members) == 1 or self.world == 1, "seeds are stacked in one process"
        self.autocast_dtype = choose_autocast(self.config.precision)
        torch.backends.cuda.matmul.allow_tf32 = self.config.precision != "fp32"  # what autocast leaves in fp32
        for member in members:
            member.keeper.module.to(self.device)
        self._form(members, SingleLearner if len(members) == 1 else StackedLearner)
        self.bad_steps = torch.full((len(members),), NEVER, dtype=torch.int64, device=self.device)
        self._clear()

    # the loop

    def train(self) -> None:
        """Run to the end. Raises Interrupted, Diverged."""
        first = self.resume()
        with catch_signals() as caught, self._show_progress(first) as advance:
            for done in self.run_steps(first):
                if done % self.runtime.log_every == 0 or done == self.total_steps:
                    self.log(done)
                if done in self.members[0].keeper.evaluation.steps:
                    self.evaluate(done)
                stop = -distributed.find_lowest(-caught[-1])  # a signal may reach one rank only
                if done % self.runtime.save_every == 0 or done in self.runtime.keep_steps or stop:
                    self.save(done)
                advance(done)
                if stop:
                    raise Interrupted(130 if stop == signal.SIGINT else 75, self.name, done)
        self._ask(lambda keeper, _: None)

    def run_steps(self, first: int) -> Iterator[int]:
        """Take the steps from ``first`` on; yields after each how many are done. Batches are made one step ahead."""
        self.upcoming: Future[WeightedBatches] | None = None
        with ThreadPoolExecutor(1) as pool:
            for step in range(first, self.total_steps):
                micro_batches = (self.upcoming or pool.submit(self._fetch, step)).result()
                self.upcoming = pool.submit(self._fetch, step + 1) if step + 1 < self.total_steps else None
                self.step(step, micro_batches)
                yield step + 1

    def _fetch(self, step: int) -> WeightedBatches:
        return self.learner.join([member.batches[step] for member in self.members])

    def step(self, step: int, micro_batches: WeightedBatches) -> None:
        """One optimizer step over its micro-batches; with several ranks each takes every world-th of them."""
        names = {"grad_norm"}
        for index in range(self.rank, len(micro_batches), self.world):
            weight, arrays = micro_batches[index]
            loss, measures = self.compute_loss(step, index, arrays)
            if index + self.world >= len(micro_batches):
                self.gradients.expect()
            (loss * weight).sum().backward()  # one number, or one for each of several seeds
            self._watch(loss, step)
            self._sum(measures, weight)
            names |= measures.keys()
            self.tokens += int(np.sum(arrays["num_tokens"])) if "num_tokens" in arrays else arrays["input_ids"].size
        self.gradients.finish()
        optimizer = self.learner.optimizer
        if self.hook:
            with torch.no_grad():
                self.hook(step, optimizer.named)
        parameters = optimizer.parameters
        if self.sharing:
            parameters, measures = self.sharing.average(step, optimizer.named)
            self._sum(measures, 1 / self.world)  # every rank has the same
            names |= measures.keys()
        norm = self.learner.clip(parameters, self.config.clip_norm)
        self._watch(norm, step)
        optimizer.step(compute_lr(self.config, step, self.total_steps), step)
        if self.sharing:
            self.sharing.copy_weights(optimizer.named)
        for parameter in optimizer.parameters:
            parameter.grad = None
        self._sum({"grad_norm": norm}, 1 / self.world)
        self.num_summed.update(names)

    def compute_loss(self, step: int, index: int, arrays: Arrays) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the measures of micro-batch ``index``."""
        # dropout depends on the place of the micro-batch, not on the process that computes it
        seeds = [derive_seed(member.seed, "dropout", step, index) for member in self.members]
        # torch's own function writes down a stack trace for each kind of device that is not there: 0.3 ms in all
        reseed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        reseed(seeds[0])  # on a GPU seeds that are stacked share one stream
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            return self.learner.compute_loss(arrays, seeds)

    @torch.no_grad()
    def _watch(self, value: Tensor, step: int) -> None:
        """Note the first step at which a loss or a gradient is not finite; on the device: nothing waits for it."""
        self.bad_steps = torch.minimum(self.bad_steps, torch.where(torch.isfinite(value), NEVER, step + 1))

    @torch.no_grad()
    def _sum(self, measures: dict[str, Tensor], weight: float) -> None:
        for name, value in measures.items():
            self.sums[name] = self.sums.get(name, torch.zeros(len(self.members), device=self.device)) + value * weight

    # what happens now and then, to every member by its keeper

    def log(self, done: int) -> None:
        """A line each: means since the line before."""
        seconds = time.perf_counter() - self.logged_at
        lr = compute_lr(self.config, done - 1, self.total_steps)

        def log_one(keeper: Keeper, index: int) -> None:
            sums = {name: float(total[index]) for name, total in self.sums.items()}
            sums = distributed.sum_measures({**sums, "tokens": self.tokens / len(self.members)})
            rate = sums.pop("tokens") / seconds
            steps = self.num_summed["grad_norm"]  # of a measure that a rank without a micro-batch has from others
            means = {name: total / (self.num_summed[name] or steps) for name, total in sums.items()}
            keeper.log(done, {**means, "lr": lr, "tokens_per_second": rate})

        self._ask(log_one)
        self._clear()

    def evaluate(self, done: int) -> None:
        self._ask(lambda keeper, _: keeper.evaluate(done))

    def save(self, done: int) -> None:
        states = self.learner.get_states()
        self._ask(lambda keeper, index: keeper.save(done, states[index], self._get_begun(index)))

    def resume(self) -> int:
        """Restore the last checkpoints; return the number of steps already done."""
        found = [member.keeper.resume() for member in self.members]
        steps = {step for step, _, _ in found}
        assert len(steps) == 1, f"the runs stand at different steps: {sorted(steps)}"
        if step := steps.pop():
            self.learner.set_states([state for _, state, _ in found])
            self._set_begun([begun for _, _, begun in found])
        return step

    def _get_begun(self, index: int) -> Begun:
        """Of the member's line that is not written yet, so that a run which is stopped anywhere has the lines of one which is not."""
        if not self.num_summed:
            return []
        sums = {name: float(total[index]) for name, total in self.sums.items()}
        return distributed.gather({"sums": sums, "num_summed": dict(self.num_summed)})

    def _set_begun(self, members: list[Begun]) -> None:
        for index, begun in enumerate(members):
            for part in begun[self.rank :: self.world]:  # one each, or those of ranks that there are no more
                for name, value in part["sums"].items():
                    total = self.sums.setdefault(name, torch.zeros(len(members), device=self.device))
                    total[index] += value
                self.num_summed |= Counter(part["num_summed"])

    def _clear(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.num_summed: Counter[str] = Counter()  # steps that had a measure, by its name
        self.tokens, self.logged_at = 0, time.perf_counter()

    def _ask(self, ask: Callable[[Keeper, int], None]) -> None:
        """Call ``ask`` for every keeper and go on with those that have not diverged; Diverged when none is left."""
        kept: list[int] = []
        for index, (member, bad_step) in enumerate(zip(self.members, self.bad_steps.tolist(), strict=True)):
            try:
                member.keeper.check_finite(bad_step)
                ask(member.keeper, index)
                kept.append(index)
            except Diverged as error:  # its run says so
                last = error
        if not kept:
            raise last
        if len(kept) < len(self.members):
            self._keep(kept)

    def _keep(self, kept: list[int]) -> None:
        """Go on with the members at these places alone."""
        states = self.learner.get_states()
        self._form([self.members[i] for i in kept], type(self.learner))
        self.learner.set_states([states[i] for i in kept])
        self.sums = {name: total[kept] for name, total in self.sums.items()}
        self.bad_steps = self.bad_steps[kept]

    def _form(self, members: Sequence[Member], kind: type[SingleLearner | StackedLearner]) -> None:
        self.members, self.learner = members, kind(members, self.device)
        self.sharing = members[0].keeper.sharing
        if self.sharing and not self.sharing.is_fixed:
            assert len(members) == 1, "seeds whose layers part by their gradients are trained alone"
        self.name = "+".join(member.keeper.run.id for member in members)
        self.gradients = distributed.GradientSum(self.learner.optimizer.parameters)
        self.upcoming = None  # what was made ahead is for other members

    # surroundings

    @contextlib.contextmanager
    def _show_progress(self, first: int) -> Iterator[Callable[[int], None]]:
        label, began = f"{self.members[0].keeper.run.path.parent.name} {self.name}", time.perf_counter()
        with show_progress(label, self.total_steps, first, self.runtime.progress) as show:

            def advance(done: int) -> None:
                now = time.perf_counter()
                rate = self.tokens / (now - self.logged_at) / 1000  # 0 right after a line was logged
                left = format_duration((now - began) / (done - first) * (self.total_steps - done))
                show(done, f"{rate:.1f}k tokens/s, {left} left" if rate else "")

            yield advance


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """The numbers of the signals to stop that have come; 0 stands in front.

    A scheduler's early signal (SIGUSR2, where somebody listens: submitit asks for the job to be queued again) is one, too, and is
    passed on after the run is saved.
    """
    caught = [0]
    numbers = [signal.SIGTERM, signal.SIGINT]
    numbers += [signal.SIGUSR2] if callable(signal.getsignal(signal.SIGUSR2)) else []
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ValueError):  # not the main thread: whoever started it decides
                for number in numbers:
                    before = signal.signal(number, lambda number, _: caught.append(number))
                    stack.callback(signal.signal, number, before)
            yield caught
    finally:
        if signal.SIGUSR2 in caught:
            signal.raise_signal(signal.SIGUSR2)


def time_steps(
    module: nn.Module, batches: BatchSource, config: OptimConfig, runtime: RuntimeConfig, limit_seconds: float,
    max_steps: int = 20,
) -> float:  # fmt: skip
    """Median seconds of a step after one that warms up: as many as fit into the limit, at least one.

    Writes nothing, and hardly changes the weights. With several ranks the slowest decides how many steps.
    """
    gentle = dataclasses.replace(config, peak_lr=1e-9)  # a diverging model may compute at another speed
    keeper = Keeper(module, RunFolder(Path("timing")), runtime, NullTracker())
    trainer = Trainer([Member(keeper, batches, gentle, 1 + max_steps, seed=0)])
    seconds: list[float] = []
    count = 2
    start = time.perf_counter()
    for done in trainer.run_steps(0):
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        if done == 2:
            count = distributed.find_lowest(int(limit_seconds / max(seconds[1], 1e-9)))
        if done >= count:
            break
        start = time.perf_counter()
    return statistics.median(seconds[1:])
