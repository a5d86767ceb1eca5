"""Work on a Ray cluster, its results in the order of the work. The one file that knows ``ray``.

Plain tasks, not Ray Data: its sources are read in parts by the workers, where a text is one stream that is read here
(a slice, a mix and the cuts between documents depend on all that came before); it keeps an order only on request, by
holding back blocks; and it knows nothing of a build that was killed. What is left for a cluster is a map over chunks,
which is the loop of :mod:`selfpretrain.children` with tasks in place of children.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from selfpretrain.config import UserError

PREFETCH = 2  # items per CPU of the cluster, waiting or in work; bounds the memory, and feeds machines that join
CONNECT_SECONDS = 60  # a busy machine takes a while to import Ray
TAKEN_ALONG = ("SELFPRETRAIN_", "HF_", "WANDB_", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")  # how names begin
LEFT_HERE = ("_TOKEN", "_KEY")  # and end: Ray shows to everybody what a job was given
TRIAL = "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False)"


def load_ray() -> Any:
    """The library; UserError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send them
    try:
        import ray
    except ImportError as error:
        raise UserError(f'Ray cannot be imported ({error}); pip install "selfpretrain[ray]"') from None
    return ray


def connect(address: str | None = None) -> None:
    """Attach to the cluster at ``address`` or RAY_ADDRESS (host:port, or auto), else start one on this machine.

    Nothing happens where this process is connected already, as inside of a Ray task. Tasks see this process's variables
    of the environment that steer a run, as they would on Slurm, but no secrets. Raises UserError for an address that does
    not answer within CONNECT_SECONDS. Every machine of the cluster needs this package, in the same versions.
    """
    ray = load_ray()
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if address != "local":
        _try_address(address)
    options["runtime_env"] = {"env_vars": _list_variables()}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # Ray raises bare Exception where a machine cannot start one
        raise _explain_address(address, str(error)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """:func:`connect` for as long as the block lasts; a connection that was there before stays."""
    ray = load_ray()
    was_there = ray.is_initialized()
    connect(address)
    try:
        yield
    finally:
        if not was_there:
            ray.shutdown()


def _list_variables() -> dict[str, str]:
    return {
        key: value for key, value in os.environ.items() if key.startswith(TAKEN_ALONG) and not key.endswith(LEFT_HERE)
    }


def _try_address(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _explain_address(address, str(error)) from None
    # in a process of its own: where something else answers Ray waits for minutes, outside of Python
    try:
        command = [sys.executable, "-W", "ignore", "-c", TRIAL, address]
        trial = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_SECONDS)
    except subprocess.TimeoutExpired:
        raise _explain_address(address, f"no answer within {CONNECT_SECONDS} s") from None
    if trial.returncode != 0:
        raise _explain_address(address, trial.stderr)


def _explain_address(address: str, said: str) -> UserError:
    reason = said.strip().rpartition("\n")[2][:200]
    if address == "local":
        return UserError(
            f"Ray cannot be started on this machine ({reason}); try again, or name a cluster that runs: runtime.ray_address"
        )
    return UserError(
        f"no Ray cluster at {address} ({reason}); start one with `ray start --head`, or correct the address (RAY_ADDRESS, "
        "runtime.ray_address, or hydra.launcher.address)"
    )


def map_on_cluster(work: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
    """``work(item)`` for each item, in their order, by as many tasks as the cluster has CPUs.

    ``work`` is sent once to every process; a UserError that it raises is raised here. The task of a process that dies
    is given to another (Ray tries four times). Raises UserError where that does not help.
    """
    ray = load_ray()
    task = ray.remote(_answer)
    sent = [ray.put(work)]  # in a list Ray leaves it alone, so that a process fetches it once and not for every item
    limit = PREFETCH * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(task.remote(sent, item))
        if len(waiting) >= limit:
            yield _take(ray, waiting.popleft())
    while waiting:
        yield _take(ray, waiting.popleft())


def _take(ray: Any, waiting: Any) -> Any:
    try:
        answer = ray.get(waiting)
    except ray.exceptions.RayTaskError:  # a fault of ours, with its traceback
        raise
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"the Ray cluster lost a task ({type(error).__name__}: {reason}); the same command goes on where it was"
        ) from None
    if isinstance(answer, UserError):
        raise answer
    return answer


def _answer(sent: list[Any], item: Any) -> Any:
    """What a task runs."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a task has one core
    try:
        return _fetch(sent[0])(item)
    except UserError as error:
        return error


@functools.lru_cache(maxsize=1)
def _fetch(reference: Any) -> Any:
    return load_ray().get(reference)
