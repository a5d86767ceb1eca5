"""Studies of the sizes that were asked for, and nothing of them is left to do when they are gone on with."""

from __future__ import annotations

import pytest

from benchmarks import cells


def test_three_rows_a_size():
    rows = list(cells.run(cells.Options(repeats=1, sizes="8,40")))
    assert [row.work for row in rows] == [
        f"{cells} cells{what}" for cells in (10, 35)
        for what in (" planned", ", all done, gone on with", ", all done: the report alone")
    ]  # fmt: skip
    assert all(row.lower_is_better and row.unit == "s" for row in rows)


def test_what_is_not_done_is_seen(tmp_path):
    overrides = cells.list_overrides(tmp_path, 8)
    with pytest.raises(AssertionError, match="is not done"):
        cells.go_on(overrides)
