"""Several processes, one run: started by torchrun, gradients summed, files written by rank 0."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from selfpretrain.config import RuntimeConfig
from selfpretrain.devices import check_processes
from selfpretrain.endings import RANK_GONE
from selfpretrain.runs.folder import Busy, RunFolder
from selfpretrain.train.checkpoint import list_steps
from selfpretrain.train.liveness import Heartbeat

Value = TypeVar("Value")

BUCKET_BYTES = 4 << 20  # of gradients that are summed at once
PATIENCE = timedelta(
    days=1
)  # of a collective: rank 0 may save, or score a large test set; who is gone, a heartbeat tells
LOCK_POLL_SECONDS = 0.5

_heartbeat: list[Heartbeat] = []  # of this process, while it is in the group
_held: list[RunFolder] = []  # the run that the ranks work on


class NotJoined(SystemExit):
    """Another rank was gone before all were there."""

    def __init__(self, why: str):
        super().__init__(RANK_GONE)
        self.message = f"the ranks did not find each other ({why}); the same command tries again"


def start(device: torch.device, rank_timeout: float = RuntimeConfig.rank_timeout) -> tuple[int, int]:
    """(rank, world size); joins the process group when torchrun started us, until :func:`leave`.

    From then on a rank that is silent for ``rank_timeout`` seconds, or lost, ends this process (exit code 69).
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        # its functions keep the group there is when they are first imported (an optimizer does so) as their default,
        # and with it the threads that leave() has to end
        importlib.import_module("torch.distributed.nn.functional")
        if device.type == "cuda":
            check_processes(int(os.environ.get("LOCAL_WORLD_SIZE", world)))
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # numbers on the CPU go by gloo, so that agreeing on them waits for no kernel
        _join("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        _heartbeat.append(Heartbeat(dist.get_rank(), dist.get_world_size(), rank_timeout, _describe_next))
    return get_rank(), get_world()


def _join(backend: str) -> None:
    """Join the group under the number of torchrun's attempt: its store still has the addresses of those it restarted."""
    store, rank, world = next(dist.rendezvous("env://", timeout=PATIENCE))
    attempt = dist.PrefixStore(f"attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    try:
        dist.init_process_group(backend, timeout=PATIENCE, store=attempt, rank=rank, world_size=world)
    except RuntimeError as error:  # gloo's and NCCL's
        raise NotJoined(str(error).splitlines()[0]) from None


def leave() -> None:
    """End this process's part in the group, if it has one, and its threads.

    One that lets go of its last tensor while the interpreter ends would abort the process.
    """
    if dist.is_initialized():
        _heartbeat.pop().stop()
        dist.destroy_process_group()


def _describe_next() -> str:
    """Where the run goes on once a rank is gone."""
    if not _held:
        return "the same command starts it again"
    steps = list_steps(_held[-1].checkpoints)
    return f"the same command continues run {_held[-1].id} from step {steps[-1] if steps else 0}"


@contextmanager
def _waiting() -> Iterator[None]:
    """Around what waits for other ranks: where it fails because one is gone, this one ends, too."""
    try:
        yield
    except RuntimeError:
        _heartbeat[-1].end_if_lost()
        raise


def get_rank() -> int:
    """This process's place among those of its group; 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world() -> int:
    """The number of processes in the group; 1 alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


class GradientSum:
    """Every gradient replaced by its sum over ranks (each rank's loss is already weighted by its share), in flat buckets.

    A bucket is on its way as soon as the backward pass after :meth:`expect` has filled it, in one order on all ranks, one
    without a micro-batch included. The first step tells the order, and which parameters are in no rank's loss: these
    keep no gradient, so that nothing decays them.
    """

    def __init__(self, parameters: Sequence[Tensor]):
        self.arrived: dict[int, None] = {}  # indices, in the order of the first step's gradients
        self.buckets: list[list[Tensor]] = []
        self.places: dict[Tensor, int] = {}  # parameter -> its bucket
        self.missing: list[int] = []  # gradients of each bucket that the pass has still to give
        self.started: list[tuple[Tensor, dist.Work]] = []
        self.parameters = parameters
        if get_world() > 1:
            for index, parameter in enumerate(parameters):
                parameter.register_post_accumulate_grad_hook(partial(self._note, index))

    def expect(self) -> None:
        """The next backward pass is the step's last on this rank."""
        self.missing = [len(bucket) for bucket in self.buckets]

    def finish(self) -> None:
        """Wait until every gradient is the sum."""
        if get_world() == 1:
            return
        if not self.buckets:
            self._lay_out()
        while len(self.started) < len(self.buckets):
            self._start()
        for bucket, (flat, work) in zip(self.buckets, self.started, strict=True):
            with _waiting():
                work.wait()
            for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)
        self.started, self.missing = [], []

    def _note(self, index: int, parameter: Tensor) -> None:
        if not self.buckets:
            self.arrived[index] = None
            return
        assert parameter in self.places, "a parameter of no loss in the first step is in one now"
        if self.missing:
            self.missing[self.places[parameter]] -= 1
            while len(self.started) < len(self.buckets) and not self.missing[len(self.started)]:
                self._start()

    def _lay_out(self) -> None:
        """Make buckets of the parameters that have a gradient on any rank, in the order of rank 0 as far as it knows."""
        for index in dict.fromkeys(chain.from_iterable(gather(list(self.arrived)))):
            parameter = self.parameters[index]
            if not self.buckets or sum(p.nbytes for p in [*self.buckets[-1], parameter]) > BUCKET_BYTES:
                self.buckets.append([])
            self.buckets[-1].append(parameter)
            self.places[parameter] = len(self.buckets) - 1

    def _start(self) -> None:
        bucket = self.buckets[len(self.started)]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([grad.flatten() for grad in grads])
        with _waiting():
            self.started.append((flat, dist.all_reduce(flat, async_op=True)))


def gather(value: Value) -> list[Value]:
    """What every rank gives, by rank; anything that can be pickled."""
    if get_world() == 1:
        return [value]
    parts: list[Any] = [None] * get_world()
    with _waiting():
        dist.all_gather_object(parts, value)
    return parts


def sum_measures(measures: dict[str, float]) -> dict[str, float]:
    """Every measure summed over ranks; one without a micro-batch has none to add."""
    parts = gather(measures)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in chain.from_iterable(parts)}


def find_lowest(number: int) -> int:
    """The lowest of the ranks' numbers, so that all of them decide alike."""
    if get_world() == 1:
        return number
    lowest = torch.tensor(number)
    with _waiting():
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
    return int(lowest)


def wait() -> None:
    """Until all ranks are here; of numbers on the CPU, so that no kernel is waited for."""
    find_lowest(0)


@contextmanager
def hold(
    run: RunFolder, device: torch.device, wait_for_lock: bool, rank_timeout: float = RuntimeConfig.rank_timeout
) -> Iterator[bool]:
    """Lock a run: rank 0 for all ranks. Yields whether it is still to be done; ends when every rank has ended.

    ``Busy``, on all ranks, if another process holds it and that is not to be waited for.
    """
    rank, world = start(device, rank_timeout)
    _held.append(run)
    with ExitStack() as stack:
        stack.callback(_held.pop)
        if world == 1:
            stack.enter_context(run.lock(wait_for_lock))
        while world > 1 and not find_lowest(int(rank != 0 or _try_lock(stack, run))):
            if not wait_for_lock:
                raise Busy(run.id)
            time.sleep(LOCK_POLL_SECONDS)
        yield bool(find_lowest(int(rank != 0 or run.status != "done")))
        wait()


def _try_lock(stack: ExitStack, run: RunFolder) -> bool:
    with suppress(Busy):
        stack.enter_context(run.lock(wait=False))
        return True
    return False
