"""Columns of strings in buffers: equal to lists of them, cut and ordered without a copy, and mapped from the disk."""

import errno
import gc
import mmap

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.sources import arrays, strings
from selfpretrain.sources.strings import Gatherer, Numbers, Strings, TextRows, gather, hold, take, write_strings

WORDS = ["a", "", "caf\u00e9", "\u97f3\u697d", "\U0001f600 x", "line\nbreak", "\0", "a"]


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_a_column_is_the_strings_it_was_made_of(block, monkeypatch):
    monkeypatch.setattr(strings, "BLOCK_ROWS", block)
    column = hold(iter(WORDS))
    assert list(column) == WORDS and column == WORDS and column == tuple(WORDS) and len(column) == len(WORDS)
    assert [column[row] for row in range(-8, 8)] == [WORDS[row] for row in range(-8, 8)]
    assert list(column[1:7:2]) == WORDS[1:7:2]
    assert column != [*WORDS[:-1], "b"] and column != WORDS[:-1] and column != "a"
    with pytest.raises(IndexError):
        column[8]


def test_chosen_rows_are_those_of_a_list():
    rows = np.array([4, 0, 4, 2])
    for items in (hold(WORDS), WORDS):
        chosen = take(items, rows)
        assert list(chosen) == [WORDS[row] for row in (4, 0, 4, 2)]
        assert list(take(chosen, np.array([3, 1]))) == ["caf\u00e9", "a"]
        assert list(take(items, np.array([], np.int64))) == []


def test_what_is_written_is_mapped(tmp_path):
    for name, words in (("some", WORDS), ("blank", ["", ""]), ("none", [])):
        write_strings(tmp_path / name, iter(words))
        found = Strings.load(tmp_path / name)
        assert found == words and found[:1] == words[:1]


def test_cells_that_are_no_text_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(strings, "BLOCK_ROWS", 2)
    assert isinstance(gather(WORDS), Strings)
    for cell in (None, 3, 0.5, ["a"], "half of a pair \ud800"):
        cells = [*WORDS[:5], cell, *WORDS[5:]]
        found = gather(cells)
        assert found == cells and isinstance(found, list)
    late = strings.Gatherer(2)
    late.extend(["a"])
    assert late.finish() == [None, None, "a"]


@pytest.mark.parametrize("held", [20, 1 << 20])
def test_numbers_of_one_type_are_packed_and_come_back_as_they_were(held, monkeypatch):
    monkeypatch.setattr(strings, "BLOCK_ROWS", 2)
    monkeypatch.setattr(arrays, "HELD_BYTES", held)
    for cells in ([3, -1, 2**62, 0, 7], [0.5, -0.0, 1e300, 2.0, 3.0]):
        found = gather(cells)
        assert isinstance(found, Numbers) and found == cells and [*map(repr, found)] == [*map(repr, cells)]
        assert repr(found[1]) == repr(cells[1]) and list(take(found, np.array([4, 0]))) == [cells[4], cells[0]]
    for cell in (True, None, "a", 2**63, 1.5):
        for place in (0, 4):
            cells = [3, 4, 5, 6]
            cells.insert(place, cell)
            assert isinstance(gather(cells), list) and [*map(repr, gather(cells))] == [*map(repr, cells)]


def test_columns_of_one_table_share_the_numbers_of_their_rows():
    columns = [hold(WORDS), hold(WORDS[::-1])]
    rows = TextRows(columns).take(np.arange(6)).take(np.array([2, 5, 1]))
    assert rows.columns[0]._rows is rows.columns[1]._rows
    assert list(rows) == [(WORDS[row], WORDS[-1 - row]) for row in (2, 5, 1)]
    apart = TextRows([columns[0].take(np.array([1, 2])), columns[1]])
    assert list(apart.take(np.array([1]))) == [(WORDS[2], WORDS[-2])]


def test_rows_across_columns_and_joined():
    first, second = hold(["a", " ", "c"]), hold(["x", "y", ""])
    rows = TextRows([first, second])
    assert rows == [("a", "x"), (" ", "y"), ("c", "")] and rows[1] == (" ", "y")
    joined = TextRows([first, second], num_joined=2)
    assert joined == [("a\nx",), ("y",), ("c",)] and joined[-1] == ("c",)
    third = TextRows([first, second, hold(WORDS[:3])], num_joined=2)
    assert list(third[::-1]) == [("c", "caf\u00e9"), ("y", ""), ("a\nx", "a")]


def test_a_large_column_is_mapped_and_a_full_disk_is_one_line(monkeypatch):
    monkeypatch.setattr(arrays, "HELD_BYTES", 50)
    texts = [f"text {number} äöü" for number in range(30)]
    gatherer = Gatherer()
    for first in range(0, 30, 7):
        gatherer.extend(texts[first : first + 7])
    column = gatherer.finish()
    del gatherer
    gc.collect()
    assert isinstance(column, Strings) and isinstance(column._data, mmap.mmap) and list(column) == texts
    mixed = Gatherer()
    mixed.extend(texts)
    mixed.extend([None, 3])
    assert mixed.finish() == [*texts, None, 3]

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays.tempfile, "TemporaryFile", fail)
    with pytest.raises(
        UserError, match=r"cannot be written \(No space left on device\); free some space there, or set TMPDIR"
    ):
        Gatherer().extend(texts)
