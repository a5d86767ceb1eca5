"""A report is a list of blocks: an output from outside, and that none of ours leaves a kind out."""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from typing import get_args

import pytest
from rich.console import Console

from selfpretrain.report import page, write
from selfpretrain.report.blocks import Block, Examples, Facts, Figure, Notes, Sentence, Table, Title, build_blocks, walk
from selfpretrain.report.disagreements import Example, ExampleList, View
from selfpretrain.report.latex import format_latex
from selfpretrain.report.markdown import format_markdown
from selfpretrain.report.summary import summarize
from selfpretrain.report.terminal import print_report
from selfpretrain.report.write import save_report


def show(blocks):
    buffer = io.StringIO()
    print_report(blocks, Console(file=buffer, width=100))
    return buffer.getvalue()


@pytest.fixture
def summary(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.81]).add("bookwiki", [0.8, 0.8]).add("own_of:a", [0.7])
    summary = summarize(fake_study.finish(facts={"command": "c", "time": "1 min"}))
    view = View("own", 0.25, "sports", 0.5, 1, 2)
    example = Example("row7", ("<b>a text</b>",), "world", 0.5, (view,))
    about = ("tiny", "topics", "accuracy", ("own", "none"), "probability", "distance", 400, 90)
    summary.disagreements = [ExampleList(*about, (example,))]
    return summary


def test_what_a_report_is_made_of(summary):
    blocks = build_blocks(summary)
    kinds = [type(block).__name__ for block in blocks]
    crosses = [f"cross_tiny_{unit}" for unit in ("score", "gain", "benefit")]
    assert kinds == ["Title", "Sentence", *["Table"] * 7, *["Figure"] * 6, "Examples", "Notes", "Facts"]
    assert set(kinds) == {kind.__name__ for kind in get_args(Block)}
    tables, figures = [block.name for block in blocks[2:9]], [block.name for block in blocks[9:15]]
    assert tables == ["scores", "reference", *crosses, "variance", "single_runs"]
    assert figures == ["scores", *crosses, "seeds", "variance"]
    assert set(blocks[12].draw()) == {"png", "svg", "pdf"}
    assert [block.name for block in blocks[9:15] if block.draw is None] == ["seeds", "variance"]  # for the page alone
    assert (blocks[-1].facts.keys(), [*blocks[-1].lasting]) == (summary.facts.keys(), ["command"])


# an output from outside


def list_as_html(lines):
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def format_row(cells):
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


PAGE = {
    Title: lambda title: f"<h1>{escape(title.text)}</h1>",
    Sentence: lambda sentence: f"<p>{escape(sentence.verdict)}</p>{list_as_html(sentence.evidence)}",
    Table: lambda table: f"<table>{''.join(map(format_row, [table.header, *table.rows]))}</table>",
    Figure: lambda figure: f'<img src="{figure.name}.svg" alt="{escape(figure.title)}">',
    Examples: lambda examples: list_as_html(text for each in examples.lists for e in each.examples for text in e.texts),
    Notes: lambda notes: list_as_html([*notes.explanations, *notes.warnings]),
    Facts: lambda facts: list_as_html(map(": ".join, facts.lasting.items())),
}


def format_page(blocks):
    return "\n".join(walk(blocks, PAGE))


def test_an_output_from_outside(summary, tmp_path, monkeypatch):
    monkeypatch.setitem(write.OUTPUTS, "report.html", format_page)
    save_report(summary, build_blocks(summary), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.startswith("<h1>Study demo</h1>\n<p>topics, tiny: ")
    assert page.count("<table>") == 7 and '<img src="cross_tiny_gain.svg"' in page
    assert "<td>.805 [." in page and "<li>command: c</li>" in page and "1 min" not in page


# a kind from outside


@dataclass(frozen=True)
class Quotation:
    text: str


@pytest.mark.parametrize("output", [show, format_markdown, format_latex, format_page, page.format_page])
def test_no_output_leaves_a_block_out(output, summary):
    blocks = build_blocks(summary)
    for kind in get_args(Block):
        block = next(block for block in blocks if type(block) is kind)
        assert kind is Figure or output([block]).strip() or (kind, output) == (Title, show)
    with pytest.raises(TypeError, match="no function for blocks of the kind Quotation"):
        output([*blocks, Quotation("Is it enough?")])


def test_a_sentence_has_a_tone_only_where_something_was_learned(fake_study):
    summary = summarize(fake_study.add("none", [0.5, 0.5]).add("own", [0.9, 0.9]).add("bookwiki", [0.7, 0.7]).finish())
    (sentence,) = [block for block in build_blocks(summary) if isinstance(block, Sentence)]
    assert sentence.tone == "good" and sentence.verdict.endswith("better than BookWiki.")
    for entry in summary.entries:
        entry.learned = False
    assert [block.tone for block in build_blocks(summary) if isinstance(block, Sentence)] == [""]
