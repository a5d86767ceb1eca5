"""Hydra's sweeper over comma-separated values, with an end that lists what failed."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class JobsSweeper(BasicSweeper):
    """Every job is carried out; afterwards the failures are listed and the process exits with 1, or 2 for wrong input."""

    def sweep(self, arguments: list[str]) -> Any:
        from selfpretrain.endings import end_sweep

        returns = super().sweep(arguments)
        end_sweep([job.return_value for batch in returns for job in batch])
        return returns
