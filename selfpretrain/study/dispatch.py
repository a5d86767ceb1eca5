"""Carrying out what is ready, until nothing is: handing out jobs, and seeing on disk what became of their cells.

What a cell came to stands in its folder, whoever worked on it: a job of this study, that of another process or machine, or one that
was started by an earlier command. So what stands on a cell goes on when its status is there, not when its job's launcher returns.
"""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from collections import Counter
from collections.abc import Container

from selfpretrain.endings import explain
from selfpretrain.runs.folder import Busy
from selfpretrain.study.cells import FINISHED, Cell, Job, make_jobs
from selfpretrain.study.crew import Crew, Return
from selfpretrain.study.flow import Flow
from selfpretrain.study.plan import WAVES
from selfpretrain.study.watch import Watch

POLL_SECONDS = 2.0
MOST_TRIES = 2  # of a cell whose job ends without a word


def carry_out(flow: Flow, crew: Crew, watch: Watch) -> None:
    """All cells of the flow that can be carried out; returns when they are decided, or have been lost more than once."""
    with watch.follow():
        Dispatch(flow, crew, watch).run()


class Dispatch:
    """The state of it: what waits for a free place, what is at work, and what other processes hold."""

    def __init__(self, flow: Flow, crew: Crew, watch: Watch):
        self.flow, self.crew, self.watch = flow, crew, watch
        self.study = watch.plan.study
        self.jobs: list[tuple[int, int, str, Job]] = []  # a heap: the earliest wave first
        self.numbers = itertools.count()
        self.at_work: dict[str, tuple[str, Cell]] = {}  # by key
        self.elsewhere: dict[str, tuple[str, Cell]] = {}
        self.failed_before: set[str] = set()
        self.tries: Counter[str] = Counter()
        self.looked = time.monotonic()

    def run(self) -> None:
        while True:
            self._queue_ready()
            self._hand_out()
            if not (self.at_work or self.elsewhere or self.jobs or self.flow.ready):
                return
            for back in self.crew.collect(POLL_SECONDS if self.crew.in_thread or not self.crew.at_work else 0):
                self._take_back(back)
            if time.monotonic() - self.looked > POLL_SECONDS:
                self._look()
                self.looked = time.monotonic()

    def _queue_ready(self) -> None:
        self.watch.drop(self.flow.blocked)
        ready, self.flow.ready, self.flow.blocked = self.flow.ready, [], []
        for wave in dict.fromkeys(wave for wave, _ in ready):
            for job in make_jobs(self.study, [cell for name, cell in ready if name == wave]):
                heapq.heappush(self.jobs, (WAVES.index(wave), next(self.numbers), wave, job))

    def _hand_out(self) -> None:
        """As many jobs as there are free places, without what another process has done by now, or holds."""
        while self.jobs and self.crew.is_free:
            wave, job = heapq.heappop(self.jobs)[2:]
            jobs = [job]
            while self.crew.slots is None and self.jobs and self.jobs[0][2] == wave:
                jobs.append(heapq.heappop(self.jobs)[3])
            cells = {cell.key: cell for job in jobs for cell in job.cells}
            self.watch.expect(wave, list(cells.values()))
            for key, cell in [*cells.items()]:
                status = cell.status
                if status in FINISHED:
                    self._decide(cells.pop(key))
                elif is_held(cell):
                    self.elsewhere[key] = (wave, cells.pop(key))
                elif status == "failed":
                    self.failed_before.add(key)
            if jobs := [job for job in (_keep(job, cells) for job in jobs) if job.groups]:
                self.at_work |= {key: (wave, cell) for key, cell in cells.items()}
                self.crew.start(jobs)

    def _take_back(self, back: Return) -> None:
        """Decide the cells of jobs that have ended; those without a result are tried once more."""
        cells = [cell for job in back.jobs for cell in job.cells if cell.key in self.at_work]
        if back.error is not None:
            if not isinstance(back.error, Exception) or explain(back.error):
                raise back.error
            self._mourn(cells, back.error)
            return
        statuses = dict(zip((cell.key for job in back.jobs for cell in job.cells), back.statuses, strict=True))
        for cell in cells:
            if statuses[cell.key] == "busy":
                self.elsewhere[cell.key] = self.at_work.pop(cell.key)
            else:
                self._decide(cell)

    def _mourn(self, cells: list[Cell], error: Exception) -> None:
        left = [cell for cell in cells if not self._is_decided(cell)]
        keys = {cell.key for cell in left}
        for cell in cells:
            if cell.key not in keys:
                self._decide(cell)
        if not left:
            return
        again = [cell.key for cell in left if self.tries[cell.key] + 1 < MOST_TRIES]
        names = ", ".join(cell.name for cell in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        why = (str(error).strip().splitlines() or [""])[0]
        then = "tried once more" if again else "left; the same command tries them again"
        print(f"{names}: the job ended without a result ({type(error).__name__}: {why}), {then}", file=sys.stderr)
        self.tries.update(keys)
        self.flow.ready += [self.at_work[key] for key in again]
        for key in keys:
            del self.at_work[key]

    def _look(self) -> None:
        """What has been decided by now, and what no other process holds any more."""
        for _, cell in [*self.at_work.values()]:
            if self._is_decided(cell):
                self._decide(cell)
        for wave, cell in [*self.elsewhere.values()]:
            if cell.status in FINISHED:
                self._decide(cell)
            elif not is_held(cell):
                del self.elsewhere[cell.key]
                self.flow.ready.append((wave, cell))

    def _is_decided(self, cell: Cell) -> bool:
        status = cell.status
        return status in FINISHED or (status == "failed" and cell.key not in self.failed_before)

    def _decide(self, cell: Cell) -> None:
        for place in (self.at_work, self.elsewhere):
            place.pop(cell.key, None)
        self.watch.settle(cell)
        self.flow.decide(cell)


def is_held(cell: Cell) -> bool:
    """Whether another process is at work on it. A corpus waits for its own lock."""
    if cell.stage == "corpus":
        return False
    try:
        with cell.run.lock(wait=False):
            return False
    except Busy:
        return True


def _keep(job: Job, cells: Container[str]) -> Job:
    """The job without the cells whose keys are not among these."""
    groups = (tuple(cell for cell in group if cell.key in cells) for group in job.groups)
    return Job(job.study, tuple(group for group in groups if group))
