"""Work in several processes, its results in the order of the work.

The processes are plain children at the other end of a socket: no fork of a process that has threads, no re-import of
the caller's script, and a child ends by itself when its parent is gone, even by kill -9, because its socket closes.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from selfpretrain.config import UserError

PREFETCH = 2  # items per child, waiting or in work; bounds the memory
COMMAND = "from selfpretrain.children import serve; serve()"


class ChildEnded(RuntimeError):
    """A child that ended before its work was done; its one argument is the exit code."""


def map_in_children(function: str, arguments: Sequence[str], number: int, items: Iterable[Any]) -> Generator[Any]:
    """``function(item, *arguments)`` for each item, in their order, in ``number`` processes.

    ``function`` is named as <module>:<name>; a UserError that it raises is raised here. Close the iterator
    (``contextlib.closing``) to end the processes at once. Raises ChildEnded for one that dies.
    """
    processes: list[subprocess.Popen[bytes]] = []
    free: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Connection]] = queue.SimpleQueue()

    def ask(item: Any) -> Any:
        process, link = free.get()
        try:
            link.send(item)
            answer = link.recv()
        except (EOFError, ConnectionError):
            raise ChildEnded(process.wait()) from None
        finally:
            free.put((process, link))
        if isinstance(answer, UserError):
            raise answer
        return answer

    with contextlib.ExitStack() as stack:
        for _ in range(number):
            process, link = _start(function, arguments)
            stack.enter_context(process)
            free.put((process, stack.enter_context(link)))
            processes.append(process)
        threads = stack.enter_context(ThreadPoolExecutor(number))
        for process in processes:
            stack.callback(process.kill)  # it holds nothing: an answer comes whole or not at all
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(threads.submit(ask, item))
            if len(waiting) >= PREFETCH * number:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start(function: str, arguments: Sequence[str]) -> tuple[subprocess.Popen[bytes], Connection]:
    root = str(Path(__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # one process per core; a library's own threads would only compete (and gave nothing on two cores)
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    ours, theirs = Pipe()
    command = [sys.executable, "-W", "ignore", "-c", COMMAND, str(theirs.fileno()), function, *arguments]
    # in its own session, so that Ctrl-C reaches the parent alone, which then ends the children
    with theirs:
        return subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], start_new_session=True), ours


def serve() -> None:
    """What a child runs: answer until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function, arguments = pkgutil.resolve_name(sys.argv[2]), sys.argv[3:]
    with contextlib.suppress(EOFError, ConnectionError), Connection(int(sys.argv[1])) as link:  # the parent is gone
        while True:
            item = link.recv()
            try:
                answer = function(item, *arguments)
            except UserError as error:
                answer = error
            link.send(answer)
