"""The page: whole in itself, everything from data as text, equal for equal studies; what a browser does with it is looked at
by launch/check_page.py.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selfpretrain.report import page
from selfpretrain.report.blocks import Facts, Notes, Sentence, Table, Title, build_blocks
from selfpretrain.report.page import colours, cut_differing, format_page, parts, sections, vendor
from selfpretrain.report.records import Course, Held, Records, RunRecord
from selfpretrain.report.summary import summarize

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & <!-- ${7*7} {{7*7}}"
VOID = {"meta", "link", "input", "br", "img"}


class Reader(HTMLParser):
    """Every element with its attributes, the text of scripts and the shown text; an element that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.open, self.shown = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append((self.elements[-1][1].get("type"), data))
        elif self.open[-1:] == ["style"]:
            self.style = data
        else:
            self.shown.append(data)

    def find(self, tag, **wanted):
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


RUN = RunRecord(
    "finetune", "topics", "tiny", ("topics",), ("own",), 0, 1, "a1b2", "done", "", 2e9, 12.0, "2026-01-01T00:00:00Z",
    (("commit", "abc"), ("machine", "Linux")),
)  # fmt: skip
RECORDS = Records(
    [
        RUN,
        replace(RUN, pretrain_seed=1, status="failed", note=f"{HOSTILE}\nat line 3", flops=None, seconds=None),
        replace(RUN, stage="pretrain", name="own of topics", finetune_seed=None, flops=3e9, seconds=3600.0),
    ],
    [Course("finetune", "topics", "tiny", ("topics",), ("own",), "loss", 2, [5, 10], [[1.0, 0.5], [1.1, None]], False)],
    [Held("own of topics", "topics", "test", {"examples": 400, "exact": 3})],
    {"pretrain.total_steps": "60"},
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from tests.report.conftest import FakeStudy

    fake = FakeStudy(tmp_path_factory.mktemp("study"))
    for task in ("topics", "signs"):
        fake.add("none", [0.6, 0.62], task=task).add("own", [0.7, 0.72], task=task).add(
            "bookwiki", [0.8, 0.78], task=task
        )
        fake.add(f"own_of:{'signs' if task == 'topics' else 'topics'}", [0.65, 0.66], task=task)
    facts = {"command": "selfpretrain study task=topics", "time": "1 min", "commit": "abc", "budget": "tokens"}
    return summarize(fake.finish(facts=facts))


@pytest.fixture(scope="module")
def shown(study):
    return format_page(build_blocks(study, RECORDS))


def test_nothing_is_loaded_and_only_its_own_scripts_run(shown):
    reader = Reader(shown)
    loading = {"src", "srcset", "action", "data", "poster", "formaction", "background", "style"}
    for tag, attributes in reader.elements:
        assert not loading & attributes.keys() and not any(name.startswith("on") for name in attributes), (
            tag,
            attributes,
        )
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    assert "url(" not in reader.style and "@import" not in reader.style
    (policy,) = reader.find("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy["content"]
    hashes = [hash_text(text) for kind, text in reader.scripts if kind is None]
    assert rules["script-src"].split() == hashes and len(hashes) == 4
    assert rules["style-src"] == hash_text(reader.style)


def hash_text(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_charts_have_their_data_and_scores_stand_in_a_table_too(shown, study):
    reader = Reader(shown)
    (data,) = [json.loads(text) for kind, text in reader.scripts if kind == "application/json"]
    assert data["names"] == {
        "model": ["tiny"],
        "task": ["topics", "signs"],
        "condition": ["none", "own", "bookwiki", "own_of:signs", "own_of:topics"],
    }
    assert {name: chart["kind"] for name, chart in data["charts"].items()} == {
        "scores": "forest", "seeds": "seeds", "variance": "variance", "courses": "courses",
    }  # fmt: skip
    assert {each["data-chart"] for each in reader.find("figure", **{"class": "chart"})} == data["charts"].keys()
    own = next(row for row in data["charts"]["scores"]["panels"][0]["rows"] if row["condition"] == "own")
    text = " ".join(reader.shown)
    assert study.panels[0].find("own").score.format("score") in text
    assert len(own["singles"]) == 2 and all(f"{score:.3f}"[1:] in text for score in own["singles"])
    assert [len(reader.find("table", role="grid")), len(reader.find("figure", **{"class": "matrix"}))] == [3, 3]
    gains = [
        found for found in reader.find("td") if found.get("data-words", "").startswith("signs, fine-tuned on topics: +")
    ]
    assert len(gains) == 1 and re.fullmatch(r"d\d", gains[0]["class"])
    for tag in ("caption", "th"):
        assert reader.find(tag)
    assert all(found["scope"] in ("row", "col") for found in reader.find("th"))


def test_settings_are_copied_as_a_shell_takes_them(study):
    settings = {"study.tasks": '["rte", "mrpc"]', "task.path": '"my file.csv"', "study.pretrain_seeds": "5"}
    reader = Reader(format_page(build_blocks(study, replace(RECORDS, settings=settings))))
    (text,) = (text for text in reader.shown if "study.tasks=" in text)
    assert shlex.split(text) == [f"{key}={value}" for key, value in settings.items()]


def test_verdicts_come_first_and_headings_make_steps(shown):
    levels = [int(level) for level in re.findall(r"<h(\d)", shown)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    listed = re.findall(r'<section id="(\w+)"', shown)
    assert listed == [name for name in sections.SECTIONS if name in listed] and listed[0] == "answers"
    assert {"scores", "cross", "seeds", "training", "gaps", "leakage", "cost", "made", "origins", "notes"} <= {*listed}
    assert [found["href"][1:] for found in Reader(shown).find("a")[1:]] == listed
    names = re.findall(r' id="([^"]+)"', shown)
    assert len(names) == len({*names})


def test_what_differs_between_equal_studies_can_be_cut_out(study, shown):
    later = replace(study, facts={**study.facts, "time": "2 min", "commit": "def"})
    runs = [
        replace(run, seconds=5.0, started="2027-02-02T00:00:00Z", origin=(("machine", "other"),))
        for run in RECORDS.runs
    ]
    other = format_page(build_blocks(later, replace(RECORDS, runs=runs)))
    assert "2 min" in other and "2027" in other and "2027" not in cut_differing(other)
    assert shown != other and cut_differing(shown) == cut_differing(other)
    assert "pretrain.total_steps" in cut_differing(shown)
    assert format_page(build_blocks(study, RECORDS)) == shown


def test_text_of_data_is_text(study):
    hostile = Table(
        "x", HOSTILE, (HOSTILE, "n"), ((HOSTILE, "1"),), 1, 0, ("condition", "n"), ((HOSTILE, "1"),), is_detail=True
    )
    panels = [replace(panel, task=HOSTILE, model=HOSTILE, metric=HOSTILE) for panel in study.panels]
    blocks = [
        Title(HOSTILE), Sentence(HOSTILE, (HOSTILE,), HOSTILE, HOSTILE, HOSTILE), hostile,
        *build_blocks(replace(study, panels=panels, crosses=[replace(c, model=HOSTILE, texts=[HOSTILE] * len(c.texts)) for c in study.crosses]), RECORDS),
        Notes((HOSTILE,), (HOSTILE,)), Facts({HOSTILE: HOSTILE, "command": HOSTILE}, {HOSTILE: HOSTILE, "command": HOSTILE}),
    ]  # fmt: skip
    text = format_page(blocks)
    reader = Reader(text)
    assert len(reader.scripts) == 5 and not reader.find("img")
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert "".join(reader.shown).count(HOSTILE) >= 14
    (data,) = [json.loads(found) for kind, found in reader.scripts if kind == "application/json"]
    assert HOSTILE in data["names"]["task"] and data["charts"]["scores"]["panels"][0]["x"] == HOSTILE
    assert "<" not in next(found for kind, found in reader.scripts if kind == "application/json")


def test_colours_are_seen_and_read():
    for background in (colours.LIGHT, colours.DARK):
        for colour in ("#000000", "#F0E442", "#767676", "#ffffff"):
            assert colours.compute_contrast(colours.fit(colour, background), background) >= 3
    for palette in colours.PALETTES.values():
        for steps in palette.values():
            assert len(steps) == parts.NUM_STEPS
            assert all(colours.compute_contrast(colours.choose_ink(step), step) >= 4.5 for step in steps)
    assert colours.fit("#0072B2", colours.LIGHT) == "#0072B2"
    assert colours.compute_contrast("#000000", "#ffffff") == pytest.approx(21)
    style = (Path(page.__file__).parent / "page.css").read_text()
    assert f"--page: {colours.LIGHT};" in style and f"--page: {colours.DARK};" in style


def test_libraries_are_as_published_and_with_their_licences():
    folder = Path(vendor.__file__).parent
    for library in vendor.LIBRARIES:
        assert hashlib.sha256((folder / library.file).read_bytes()).hexdigest() == library.sha256
        assert f"v{library.version} " in (folder / library.file).read_text(encoding="utf-8")[:200]
        assert "Permission to use, copy, modify" in vendor.read_library(library)


def test_a_page_is_small(shown):
    assert len(shown.encode()) < 700_000
