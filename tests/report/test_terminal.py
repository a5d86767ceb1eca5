from __future__ import annotations

import io

import pytest
from rich.console import Console

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.terminal import print_report


def show(blocks, width):
    buffer = io.StringIO()
    print_report(blocks, Console(file=buffer, width=width))
    return buffer.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_table_fits_and_loses_nothing(summary, width):
    for table in build_tables(summary):
        printed = show([table], width)
        assert max(map(len, printed.splitlines())) <= width
        squeezed = "".join(c for c in printed if c.isalnum())
        if table.name == "scores":
            assert all("".join(c for c in row[2].split(" ")[0] if c.isalnum()) in squeezed for row in table.rows)
            assert "failed (1 of 3)" in printed or ("failed" in printed and "(1 of 3)" in printed)
            assert ".720" in printed


def test_markup_in_names_is_printed_as_it_is(fake_study):
    fake_study.add("none", [0.6], "[bold]topics[/x]")
    assert "[bold]topics[/x]" in show(build_blocks(summarize(fake_study.finish())), 100)
