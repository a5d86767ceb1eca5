"""Numbers of the pages on what was published and measured are those of the studies' heads and of results/."""

from __future__ import annotations

import re

import pytest

from tests.docs.conftest import ROOT, read_page

STUDIES = {path.stem: " ".join(path.read_text(encoding="utf-8").replace("\n#", "\n").split()) for path in (ROOT / "conf" / "study").glob("*.yaml")}  # fmt: skip
MEASURED = [
    path.read_text(encoding="utf-8")
    for path in (*(ROOT / "results").glob("*.md"), *(ROOT / "benchmarks").rglob("*.md"))
]
PAGE = read_page("docs/reproduce.md")
ROWS = re.findall(r"^\| `(\w+)` \| [^|]+ \| ?([\d,]*) \| ?([\d.e]*) \| `(\w+)`: ([^|]+) \|$", PAGE, re.MULTILINE)


def test_sizes_of_studies_are_those_of_their_heads():
    large = {name for name in STUDIES if name.startswith("paper_") and not name.endswith("_mini")}
    assert {name for name, *_ in ROWS} == large
    for name, cells, flops, twin, said in ROWS:
        assert not cells or f"{cells} cells" in STUDIES[name], name
        assert not flops or f"{flops} FLOPs" in STUDIES[name], name
        for number in re.findall(r"[\d,]+ (?:cells|minutes)", said):
            assert number in STUDIES[twin], (twin, number)


@pytest.mark.parametrize("name", ["reproduce.md", "limits.md"])
def test_what_was_measured_is_in_the_results(name):
    known = "\n".join([*STUDIES.values(), *MEASURED, read_page("README.md")])
    numbers = re.findall(r"(?<![\w.])[-+]?\.\d+|\b\d+ h \d+ min", read_page(f"docs/{name}"))
    assert numbers
    for number in numbers:
        assert number in known, number
