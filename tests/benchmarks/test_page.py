"""The benchmark of pages: what it makes up is a study that a report can be written of."""

from __future__ import annotations

from benchmarks import page
from selfpretrain.report.page import cut_differing


def test_a_page_of_cells_that_never_ran(tmp_path):
    options = page.Options(sizes="30", keep=str(tmp_path), repeats=1)
    seconds, size = page.run(options)
    assert seconds.work == "report of 55 cells" and size.work == "page of 55 cells"
    (file,) = tmp_path.glob("30/runs/reports/*/report.html")
    assert 1e6 * size.ours[0] == file.stat().st_size < 3e6
    assert "CUDA out of memory" in cut_differing(file.read_text(encoding="utf-8"))
