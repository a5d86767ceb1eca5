"""Whether the other ranks are alive: each counts up in the group's store, and one that no longer does is gone.

A time-out of the group itself could not tell a rank that hangs from one that saves, evaluates or waits for a lock, and
what it ends it ends with pages of traces. Here a thread counts, whatever the rank does; where another's count stands
still, or the store is gone and with it torchrun, the process says so in one line and ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

import torch.distributed as dist

from selfpretrain.endings import RANK_GONE

BEATS = 30  # in the time after which a rank that is silent is gone
SILENT_BEATS = 3  # after which it is, where a connection to it was lost


class Heartbeat:
    """This rank's count, and what it sees of the others'. ``timeout`` in seconds; ``describe`` says where one goes on."""

    def __init__(self, rank: int, world: int, timeout: float, describe: Callable[[], str]):
        self.rank, self.timeout, self.interval, self.describe = rank, timeout, timeout / BEATS, describe
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # a connection of its own: one that waits for a key would hold up the thread
        store = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=timeout))
        self.store = dist.PrefixStore(f"heartbeat/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self.seen = [(-1, time.monotonic())] * world  # of every rank: its count, and when it was seen to change
        self.stopped, self.ending = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Count no more: this rank's work is done."""
        self.stopped.set()
        self.thread.join()

    def end_if_lost(self) -> None:
        """Called when a collective failed: end this process if another is silent; else the fault is ours, and it returns."""
        deadline = time.monotonic() + 2 * SILENT_BEATS * self.interval
        while time.monotonic() < deadline:
            time.sleep(self.interval)
            self._check(SILENT_BEATS * self.interval)

    def _run(self) -> None:
        while not self.stopped.wait(self.interval):
            try:
                self._beat()
            except RuntimeError:  # torch's: the connection to the store is lost
                if not self.stopped.is_set():
                    self._end("torchrun (or rank 0, where it was not used) is gone")
            self._check(self.timeout)

    def _beat(self) -> None:
        self.store.add(str(self.rank), 1)
        counts = [self.store.add(str(rank), 0) for rank in range(len(self.seen))]
        now = time.monotonic()
        self.seen = [old if old[0] == count else (count, now) for old, count in zip(self.seen, counts, strict=True)]

    def _check(self, limit: float) -> None:
        when, rank = min((when, rank) for rank, (_, when) in enumerate(self.seen) if rank != self.rank)
        if (silent := time.monotonic() - when) > limit:
            with suppress(RuntimeError):
                if self.store.add("told", 1) > 1:  # by another that is left
                    os._exit(RANK_GONE)
            self._end(f"rank {rank} is gone, silent for {silent:.0f} s")

    def _end(self, what: str) -> NoReturn:
        """The other thread may wait in a kernel or a socket for ever, so nothing is taken down."""
        with self.ending:
            print(f"selfpretrain: {what}; {self.describe()}", file=sys.stderr, flush=True)
            os._exit(RANK_GONE)
