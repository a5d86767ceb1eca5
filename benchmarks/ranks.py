"""A step of two ranks that sum their gradients, against half of the work and the sum alone, one after the other.

    python -m benchmarks ranks [model=roberta_base|electra_small] [batch_size=16] [micro_batch_size=4] [device=cpu] [threads=1]

Both sides are two ranks of one trainer that take their halves at the same time, so that they share the machine's memory
and its cores alike. The peer leaves its gradients unsummed, and then sums as many numbers in one piece. Its rate is what an
engine without any other cost of several ranks would have; where sums hide behind the backward pass, ours may be higher.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.harness import Rate, Row, interleave, open_contestants
from benchmarks.work import Options as TrainingOptions
from benchmarks.work import Work, prepare_work
from selfpretrain.config import UserError

WORLD = 2
ENDLESS = 1 << 40  # what the other rank says where rank 0 decides
TOY_BATCH = 8


@dataclass
class Options(TrainingOptions):
    model: str = "electra_small"
    batch_size: int = 16  # sequences of a step, over both ranks
    micro_batch_size: int = 4
    threads: int | None = 1  # of each rank


def run(options: Options) -> Iterator[Row]:
    """One row; each side is two processes, whatever ``options.processes`` says."""
    batch, micro = (TOY_BATCH, 1) if options.toy else (options.batch_size, options.micro_batch_size)
    if batch % (WORLD * micro) != 0:
        raise UserError(f"batch_size={batch} is not a multiple of {WORLD} x micro_batch_size={micro}")
    work = prepare_work("pretrain", options.model, batch, options)
    training = dataclasses.replace(work.settings.pretrain, micro_batch_size=micro)
    work = dataclasses.replace(work, settings=dataclasses.replace(work.settings, pretrain=training))
    parts = [f"{options.model} pretraining", f"batch {batch} of {micro}", f"{WORLD} ranks", *work.marks]
    builds = {"ours": (build_summing, work), "theirs": (build_parts, work)}
    with open_contestants(builds, dataclasses.replace(options, processes=True)) as sides:
        values, note = interleave(sides, options.repeats), sides["ours"].get_note()
    peer = "half of the work, then the sum alone"
    yield Row(", ".join(parts), peer, "steps/s", values["ours"], values["theirs"], note=note)


def build_summing(work: Work) -> Rate:
    return build_pair(work, is_summed=True)


def build_parts(work: Work) -> Rate:
    return build_pair(work, is_summed=False)


def build_pair(work: Work, is_summed: bool) -> Rate:
    """Rank 0 in this process, and rank 1 in one that follows it and ends with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    context.Process(target=follow, args=(work, is_summed, port), daemon=True).start()
    join(0, port)
    from selfpretrain.train import distributed

    take_steps = build_steps(work, is_summed)

    def run_steps(steps: int) -> tuple[float, float]:
        distributed.find_lowest(steps)
        return steps, take_steps(steps)

    return Rate(run_steps, work.seconds, lambda: f"Ours ran in {work.settings.pretrain.precision}.")


def follow(work: Work, is_summed: bool, port: int) -> None:
    """Rank 1: as many steps as rank 0 takes, until that ends."""
    join(1, port)
    from selfpretrain.train import distributed

    take_steps = build_steps(work, is_summed)
    while True:
        take_steps(distributed.find_lowest(ENDLESS))


def join(rank: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip


def build_steps(work: Work, is_summed: bool) -> Callable[[int], float]:
    """A function that takes so many steps and returns the seconds; rank 0 and 1 each build theirs."""
    import torch.distributed as dist

    from benchmarks import engine
    from benchmarks.matmul import synchronize
    from selfpretrain.train import distributed
    from selfpretrain.train.trainer import Trainer

    member, _ = engine.make_pretraining(work)
    trainer = Trainer([member])
    assert trainer.world == WORLD
    if not is_summed:
        trainer.gradients.finish = lambda: None
    parameters = trainer.learner.optimizer.parameters
    numbers = parameters[0].new_zeros(sum(p.numel() for p in parameters))

    def take_steps(steps: int) -> float:
        trainer.total_steps = steps
        distributed.wait()
        start = time.perf_counter()
        for _ in trainer.run_steps(0):
            pass
        for _ in range(0 if is_summed else steps):
            dist.all_reduce(numbers)
        synchronize(trainer.device.type)
        return time.perf_counter() - start

    return take_steps
