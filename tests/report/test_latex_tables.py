"""Tables for LaTeX: which digits, which layout, which file; nothing is lost on the way."""

from __future__ import annotations

import copy
import re

import pytest

from selfpretrain.numbers import choose_digits
from selfpretrain.report import latex_tables
from selfpretrain.report.columns import Table, measure, measure_alone
from selfpretrain.report.comparisons import Interval
from selfpretrain.report.latex_tables import HEIGHT, WIDTH, format_tabulars
from selfpretrain.report.tables import build_tables

SCORE = Interval(0.8421, 0.8301, 0.8541)  # half its width: .0120
SHARP = Interval(0.8421, 0.8381, 0.8461)  # .0040
GAIN = Interval(-0.0314, -0.0500, 0.0100)


def make_table(rows, header=("task", "condition", "score"), num_text=2, num_groups=1, name="scores"):
    return Table(name, "Scores", tuple(header), tuple(map(tuple, rows)), num_text, num_groups, (), ())


def read_body(text):
    """The rows between the rules, as lists of cells."""
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    return [line.split(" & ") for line in lines]


def test_digits_signs_and_decimal_points():
    rows = [
        ("qqp", "own", measure(SCORE, "score", 5000), measure(GAIN, "gain", 5000), measure(Interval(67.4, 50, 80), "benefit")),
        ("qqp", "none", measure(SHARP, "score", 5000), "-", "100"),
        ("qqp", "bookwiki", measure(SHARP, "score", 500), "failed (1 of 3)", "undefined"),
    ]  # fmt: skip
    (text,) = format_tabulars(make_table(rows, ("task", "condition", "score", "gain", "Benefit %"))).values()
    assert [cell for row in read_body(text)[2:] for cell in row] == [
        "own", r".842\phantom{0}", "{}[.830, .854]", r"$-$.031", r"{}[$-$.050, .010]", "67", "{}[50, 80]",
        "none", ".8421", "{}[.8381, .8461]", r"\multicolumn{2}{c}{-}", "100 &",
        "bookwiki", r".842\phantom{0}", "{}[.838, .846]", r"\multicolumn{2}{c}{failed (1 of 3)}",
        r"\multicolumn{2}{c}{undefined}",
    ]  # fmt: skip
    assert r"\begin{tabular}{@{}lr@{\ }lr@{\ }lr@{\ }l@{}}" in text


def test_a_number_alone_has_the_digits_of_its_interval():
    rows = [("qqp", "own", measure_alone(0.8421, SHARP, "score", 5000)), ("qqp", "none", measure_alone(0.8, None))]
    (text,) = format_tabulars(make_table(rows)).values()
    assert [row[-1] for row in read_body(text)[2:]] == [".8421", r".800\phantom{0}"]


def test_an_interval_without_an_end():
    rows = [("qqp", "own", measure(Interval(0.1, float("-inf"), float("inf")), "gain"))] * 2
    (text,) = format_tabulars(make_table(rows)).values()
    assert r"$+$.100 & {}[$-$$\infty$, $\infty$] \\" in text


def test_what_others_read_is_text():
    shown = measure(SHARP, "score", 5000, " < 0")
    assert shown == ".842 [.838, .846] < 0" and f"{shown}!" == ".842 [.838, .846] < 0!"
    again = copy.deepcopy(shown)
    assert again == shown and again.number == shown.number
    assert shown.number.digits == choose_digits(0.004, 5000) == 4


def test_groups_are_headings_where_they_have_rows():
    rows = [("agnews", "none", "1"), ("agnews", "own", "2"), ("a_b", "none", "3"), ("a_b", "own", "4")]
    (text,) = format_tabulars(make_table(rows)).values()
    assert read_body(text) == [
        ["condition", "score"], [r"\multicolumn{2}{@{}l@{}}{\textit{agnews}}"], ["none", "1"], ["own", "2"],
        [r"\multicolumn{2}{@{}l@{}}{\textit{a\_b}}"], ["none", "3"], ["own", "4"],
    ]  # fmt: skip
    (text,) = format_tabulars(make_table(rows[::2])).values()
    assert read_body(text)[1] == ["agnews", "none", "1"]
    assert "\\textbf" not in text


def make_wide(num_columns, num_rows=4):
    header = ("condition", *(f"task_{place}@4000 (accuracy)" for place in range(num_columns)))
    rows = [(f"own_of:task_{row}", *[measure(SCORE)] * num_columns) for row in range(num_rows)]
    return make_table(rows, header, num_text=1, num_groups=0, name="cross")


@pytest.mark.parametrize(
    ("num_columns", "marks"),
    [
        (3, [r"{\normalsize", r"r@{\ }lr@{\ }l"]),
        (4, [r"{\footnotesize", r"r@{\ }l"]),
        (5, [r"lrrrrr@{}", r"{\scriptsize {}[.830, .854]}"]),
        (8, [r"\rotatebox{90}{\footnotesize"]),
    ],
)
def test_the_wider_the_smaller(num_columns, marks):
    (text,) = format_tabulars(make_wide(num_columns)).values()
    assert all(mark in text for mark in marks)
    assert (r"\usepackage{graphicx}" in text) == (r"\rotatebox" in text)


def test_columns_that_no_page_holds_go_to_further_files():
    texts = format_tabulars(make_wide(30))
    assert [*texts] == [f"cross-part{place}" for place in range(1, len(texts) + 1)] and len(texts) > 1
    seen = [name for text in texts.values() for name in re.findall(r"task\\_(?:\\allowbreak\{\})?(\d+)@", text)]
    heads = [head for text in texts.values() for head in text.split(r"\midrule")[0].splitlines() if "task" in head]
    assert sum(head.count("accuracy") for head in heads) == 30 and seen
    assert all("own\\_of:task\\_0" in text.replace(r"\allowbreak{}", "") for text in texts.values())


def test_rows_that_no_page_holds_go_to_further_files():
    rows = [(f"task{row // 10:02}", f"c{row:03}", f"{row}") for row in range(200)]
    texts = format_tabulars(make_table(rows)).values()
    assert len(texts) > 1
    numbers = [int(row[1]) for text in texts for row in read_body(text) if len(row) == 2 and row[1].isdigit()]
    assert numbers == list(range(200))
    heads = [re.findall(r"textit\{(.*?)\}", text) for text in texts]
    assert sum(map(len, heads)) == 20  # no group is cut that a page holds
    assert all(text.count(r"\toprule") == text.count(r"\bottomrule") == 1 for text in texts)


def test_a_group_longer_than_a_page_is_cut_and_says_so():
    rows = [("steps", f"c{row:03}", f"{row}") for row in range(120)]
    texts = [*format_tabulars(make_table(rows)).values()]
    assert [re.findall(r"textit\{(.*?)\}", text) for text in texts] == [
        ["steps"], *[["steps (continued)"]] * (len(texts) - 1)
    ]  # fmt: skip
    numbers = [int(row[1]) for text in texts for row in read_body(text) if len(row) == 2 and row[1].isdigit()]
    assert numbers == list(range(120))


def test_every_table_of_a_study_is_no_wider_than_a_page(summary):
    for table in build_tables(summary):
        grid = latex_tables._gather(table)
        layout = next(each for each in latex_tables.LAYOUTS if grid.measure(each) <= each.width)
        assert layout.width == (HEIGHT if layout.is_turned else WIDTH)
        (text,) = format_tabulars(table).values()
        assert text.isascii() and text.count("{") == text.count("}")
