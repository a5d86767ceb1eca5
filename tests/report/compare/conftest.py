"""Two studies of the same cells, with reports on disk."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from selfpretrain.files import make_folder, write_json
from selfpretrain.report.collect import choose_folder, collect_results
from selfpretrain.report.summary import summarize
from tests.report.conftest import FakeStudy
from tests.report.test_write import make_plan


class Pair:
    """Studies A and B, each in a folder of its own; runs have other names in each unless they are shared."""

    def __init__(self, folder):
        self.studies = {name: FakeStudy(folder / name) for name in "AB"}
        self.reports = {}

    def __getitem__(self, name):
        return self.studies[name]

    def report(self, name, shared=(), **study):
        """Write a study's report; conditions in ``shared`` keep the names of their runs."""
        fake = self.studies[name]
        fake.cells = [cell if cell.condition in shared else self._rename(name, cell) for cell in fake.cells]
        plan = make_plan(fake, **study)
        folder = self.reports[name] = choose_folder(plan)
        summary = summarize(collect_results(plan, [f"study.name={name}"]))
        write_json(make_folder(folder) / "summary.json", summary.to_json())  # the file that is read
        return folder

    def _rename(self, name, cell):
        folder = cell.folder.with_name(f"{name}-{cell.run_id}")
        if cell.folder.exists():
            shutil.move(cell.folder, folder)
        return dataclasses.replace(cell, run_id=folder.name, folder=folder)

    @property
    def given(self):
        return ",".join(str(self.reports[name]) for name in "AB")


@pytest.fixture
def pair(tmp_path):
    return Pair(tmp_path)
