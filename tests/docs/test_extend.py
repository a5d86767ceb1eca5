"""The page's files, written from it, and its commands."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys

import pytest

from hydra_plugins.selfpretrain_study import search_path
from selfpretrain import cards, door, places
from selfpretrain.kinds import KINDS
from selfpretrain.pretext.objectives import OBJECTIVES
from selfpretrain.stats.metrics import METRICS
from selfpretrain.study import procedures
from selfpretrain.study.conditions import CONDITIONS
from selfpretrain.tasks.heads import HEADS
from tests.conftest import make_rows, write_csv
from tests.docs.conftest import ROOT, list_blocks, list_lines, read_page

PAGE = read_page("docs/extend.md")
FILES = dict(re.findall(r"^`(\S+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
TABLES = (KINDS, HEADS, METRICS, CONDITIONS, OBJECTIVES)


def test_what_is_in_the_project_is_quoted_as_it_is():
    code = "".join(" ".join(path.read_text(encoding="utf-8").split()) for path in (ROOT / "selfpretrain").rglob("*.py"))
    quoted = [" ".join(block.text.split()) for block in list_blocks(PAGE, "text")]
    assert len(quoted) == 3 and all(each in code for each in quoted)
    card = (ROOT / "corpora" / "task" / "rte.yaml").read_text(encoding="utf-8")
    assert card in [block.text for block in list_blocks(PAGE, "yaml")]


@pytest.fixture
def extended(workplace, monkeypatch):
    """The page's files where it says, those of ``conf`` and ``corpora`` in a copy of them; what modules add is taken out again."""
    for name in ("conf", "corpora"):
        shutil.copytree(ROOT / name, workplace / name, dirs_exist_ok=True)
    for name, text in FILES.items():
        (workplace / name).parent.mkdir(exist_ok=True)
        (workplace / name).write_text(text, encoding="utf-8")
    write_csv(
        workplace / "stars.csv", [{**row, "stars": str(1 + number % 3)} for number, row in enumerate(make_rows())]
    )
    for module in (places, door, cards, procedures, search_path):
        monkeypatch.setattr(module, "find_folder", lambda name: workplace / name)
    monkeypatch.syspath_prepend(str(workplace))
    kept = [dict(table) for table in TABLES]
    caches = (cards.load_task_card, procedures.list_procedures, procedures.load_procedure)
    for cache in caches:
        cache.cache_clear()
    yield workplace
    for table, before in zip(TABLES, kept, strict=True):
        table.clear()
        table.update(before)
    for cache in caches:
        cache.cache_clear()
    sys.modules.pop("mine", None)


@pytest.fixture
def outcomes(extended, type_in, monkeypatch):
    """What every command of the page ended with, by the line."""

    def run_module(path):  # in the place of ``python <path>``: with its entries, then as the command
        runpy.run_path(str(extended / path))

    found = {}
    for line in (line for block in list_blocks(PAGE, "sh") for line in list_lines(block.text)):
        if line.startswith("python "):
            _, path, rest = line.split(maxsplit=2)
            run_module(path)
            found[line] = type_in(f"selfpretrain {rest}")
        else:
            found[line] = type_in(line)
    return found


def test_the_page_is_followed(outcomes, extended):
    assert set(FILES) == {
        "corpora/task/tickets.yaml", "conf/procedure/mask60.yaml", "mine.py", "mine/stars.py", "mine/part.py", "mine/random_tokens.py",
    }  # fmt: skip
    assert {line: outcome for line, outcome in outcomes.items() if outcome.code} == {}

    def find(word):
        (outcome,) = (outcome for line, outcome in outcomes.items() if word in line)
        return outcome.out

    assert '"metric": "macro_f1"' in find("task=tickets") and "test: 20 rows" in find("task=tickets")
    assert "mask60:own" in find("mask60:own")
    assert '"metric": "mine:within_one"' in find("within_one")
    assert '"metric": "closeness"' in find("label_kind=ordinal")
    assert "a part of the own text" in find("own_part")
    assert '"accuracy"' in find(
        "pretrain task=local task.path=reviews.csv task.text=body task.label=topic objective.name="
    )
    summary = next((extended / "runs" / "reports").glob("*/summary.json"))
    assert [entry["condition"] for entry in json.loads(summary.read_text())["panels"][0]["entries"]] == [
        "none",
        "own",
        "own_part",
    ]
