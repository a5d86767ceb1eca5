"""Who carries a study's jobs out: a launcher, in this thread or in threads that wait for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfpretrain.study.cells import Job

Launch = Callable[[str, list[str]], list[str]]  # stage, files of jobs -> the statuses of each one's cells, joined by +


@dataclass(frozen=True)
class Return:
    """What came of jobs launched together: the statuses of their cells, or why there are none."""

    jobs: Sequence[Job]
    statuses: list[str]
    error: BaseException | None = None


class Crew:
    """``slots``: launches at a time, of a job each; None: whatever is ready goes out at once, in one launch a stage, and the
    launcher's own queue holds it. ``in_thread``: launching comes back at once, and a thread waits for the jobs.

    The threads are daemons: a study that is stopped does not wait for jobs elsewhere.
    """

    def __init__(self, launch: Launch, slots: int | None = 1, in_thread: bool = False):
        self.launch, self.slots, self.in_thread = launch, slots, in_thread
        self.at_work = 0
        self._returns: queue.SimpleQueue[Return] = queue.SimpleQueue()

    @property
    def is_free(self) -> bool:
        return self.slots is None or self.at_work < self.slots

    def start(self, jobs: Sequence[Job]) -> None:
        """Hand out jobs of one stage."""
        self.at_work += 1
        if self.in_thread:
            threading.Thread(target=self._work, args=(jobs,), daemon=True).start()
        else:
            self._returns.put(self._carry_out(jobs))

    def collect(self, seconds: float) -> list[Return]:
        """What has come back, after waiting for the first at most so long."""
        found = []
        try:
            found.append(self._returns.get(timeout=seconds) if seconds else self._returns.get_nowait())
            while True:
                found.append(self._returns.get_nowait())
        except queue.Empty:
            self.at_work -= len(found)
            return found

    def _work(self, jobs: Sequence[Job]) -> None:
        try:
            self._returns.put(self._carry_out(jobs))
        except BaseException as error:  # noqa: BLE001 - the thread that asked for it decides
            self._returns.put(Return(jobs, [], error))

    def _carry_out(self, jobs: Sequence[Job]) -> Return:
        joined = self.launch(jobs[0].stage, [str(job.write()) for job in jobs])
        return Return(jobs, [status for each in joined for status in each.split("+")])
