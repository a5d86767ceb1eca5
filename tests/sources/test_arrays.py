"""Arrays that lie in files, and work in blocks: the same values as NumPy's in one piece."""

import errno
import gc
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.sources import arrays
from selfpretrain.sources.arrays import Spool, choose, collect, collect_items, find, make_zeros, save_array


@pytest.fixture(params=[(3, 10), (7, 40), (1 << 16, 1 << 20)])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_VALUES", request.param[0])
    monkeypatch.setattr(arrays, "HELD_BYTES", request.param[1])


@pytest.mark.usefixtures("_blocks")
def test_work_in_blocks_gives_what_numpy_gives():
    chance = np.random.default_rng(0)
    values, rows, marks = chance.integers(-9, 9, 100), chance.integers(0, 100, 31), chance.random(100) < 0.3
    wide = chance.random((100, 3)).astype(np.float32)
    for given in (values, wide, np.array([*map(str, values)], object), marks):
        for chosen in (rows, rows[:0]):
            found = choose(given, chosen)
            assert found.dtype == given.dtype and np.array_equal(found, given[chosen])
    assert find(marks).tolist() == np.flatnonzero(marks).tolist() and find(marks[:0]).tolist() == []
    assert np.array_equal(collect([values[:10], values[10:]], np.int32), values.astype(np.int32))
    for dtype in (np.int64, np.float32, object):
        found = collect_items(iter(values.tolist()), dtype)
        assert found.dtype == dtype and found.tolist() == values.tolist()
    zeros = make_zeros(20, np.float32, (2,))
    zeros[rows[rows < 20], 1] = 1  # it can be written to
    assert zeros.shape == (20, 2) and zeros.sum() == len(np.unique(rows[rows < 20]))


def test_what_is_long_is_in_a_file_without_a_name_and_gone_with_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "HELD_BYTES", 1000)
    monkeypatch.setattr(arrays.tempfile, "tempdir", str(tmp_path))

    def list_open() -> list[str]:
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        return [os.readlink(link) for link in links if os.path.islink(link) and str(tmp_path) in os.readlink(link)]

    held = make_zeros(1000, np.int64)
    assert list_open() and not list(Path(tmp_path).iterdir())
    del held
    gc.collect()
    assert not list_open()


def test_only_so_many_spools_have_files(monkeypatch):
    monkeypatch.setattr(arrays, "HELD_BYTES", 10)
    monkeypatch.setattr(arrays, "MAX_FILES", 3)
    spools = [Spool() for _ in range(5)]
    for number, spool in enumerate(spools):
        for _ in range(3):
            spool.add(bytes([number]) * 8)
    buffers = [spool.finish() for spool in spools]
    assert [isinstance(buffer, mmap.mmap) for buffer in buffers] == [True] * 3 + [False] * 2
    assert [bytes(buffer) for buffer in buffers] == [bytes([number]) * 24 for number in range(5)]


@pytest.mark.parametrize("values", [np.arange(5), np.zeros(0, np.int64), np.ones((2, 3), np.float32)[:, ::2]])
def test_an_array_is_saved_as_numpy_does(tmp_path, values):
    save_array(tmp_path / "a.npy", values)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_full_disk_has_its_number():
    with pytest.raises(OSError) as raised:
        save_array(Path("/dev/full"), np.arange(5))
    assert raised.value.errno == errno.ENOSPC
