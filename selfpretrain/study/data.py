"""The tasks of a study, read once per process."""

from __future__ import annotations

import json

from corpora.tasks import TaskData, load_task
from selfpretrain.config import TaskConfig
from selfpretrain.door import to_plain

_cache: dict[str, TaskData] = {}


def read_task(task: TaskConfig, runs_dir: str) -> TaskData:
    """``corpora.tasks.load_task``, remembered: a study reads a task for every cell."""
    key = json.dumps([to_plain(task), runs_dir])
    if key not in _cache:
        _cache[key] = load_task(task, runs_dir)
    return _cache[key]
