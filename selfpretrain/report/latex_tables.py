r"""Tables for LaTeX: each a tabular of booktabs that fits a page, in as many files as that takes.

A file holds no float, so that a paper gives it its own caption, and no longtable, which documents in two columns refuse:
a table with many rows is cut between its groups. The rule for a wide one: the first of ``LAYOUTS`` that is no wider than
the page's text, ``WIDTH``, or ``HEIGHT`` where it is turned; columns that the last of them cannot hold go to further
files, each with the names of the rows. Widths are estimated in Computer Modern, the widest of the usual fonts.

Groups of rows stand under headings in place of their columns; signs and decimal points are aligned; a number has the
digits of :func:`selfpretrain.numbers.choose_digits`. Nothing is bold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from selfpretrain.numbers import MINUS, format_score, format_signed
from selfpretrain.report.columns import Measured, Number, Table
from selfpretrain.report.latex_text import escape_latex, estimate_width, list_pieces

WIDTH = 345.0  # points: the text of LaTeX's own article, the narrowest of the usual templates' full widths
HEIGHT = 500.0  # of its text, less what a caption takes
CAPTION = 45.0  # beside a table that is turned
LONGEST = {True: 15.0, False: 7.0}  # em: cells of text, and words in columns of numbers, are wrapped beyond
SLACK = 2.0  # points, since widths are estimates


@dataclass(frozen=True)
class Layout:
    """A way of setting a table."""

    size: str
    points: int
    line: float  # height of one
    gap: float  # \tabcolsep
    is_stacked: bool = False  # intervals under their numbers
    is_turned: bool = False

    @property
    def width(self) -> float:
        return HEIGHT if self.is_turned else WIDTH

    @property
    def height(self) -> float:
        return WIDTH - CAPTION if self.is_turned else HEIGHT


_NORMAL, _SMALL = Layout("normalsize", 10, 12.0, 6.0), Layout("small", 9, 11.0, 5.0)
_SMALLER, _SMALLEST = Layout("footnotesize", 8, 9.5, 4.0), Layout("scriptsize", 7, 8.0, 3.0)
LAYOUTS = (
    _NORMAL,
    _SMALL,
    _SMALLER,
    replace(_SMALLER, gap=3.0),
    replace(_SMALL, is_stacked=True),
    replace(_SMALLER, is_stacked=True),
    replace(_SMALLER, is_turned=True),
    replace(_SMALLER, is_stacked=True, is_turned=True),
    replace(_SMALLEST, is_stacked=True, is_turned=True),
)


def format_tabulars(table: Table) -> dict[str, str]:
    """The files of a table in order, stem -> text: its name, or where it is cut <name>-part1, <name>-part2, ..."""
    grid = _gather(table)
    layout = next((each for each in LAYOUTS if grid.measure(each) <= each.width), LAYOUTS[-1])
    parts = [rows for columns in grid.cut_columns(layout) for rows in columns.cut_rows(layout)]
    names = [f"{table.name}-part{place}" for place in range(1, len(parts) + 1)] if len(parts) > 1 else [table.name]
    return {name: "\n".join(part.format(layout)) + "\n" for name, part in zip(names, parts, strict=True)}


def strip_part(stem: str) -> str:
    """The table's name, of a file's stem."""
    return re.sub(r"-part\d+$", "", stem)


@dataclass(frozen=True)
class Column:
    """A column of a table: its header and cells."""

    header: str
    cells: tuple[str, ...]
    is_text: bool

    @property
    def has_intervals(self) -> bool:
        return any(isinstance(cell, Measured) and cell.number.interval for cell in self.cells)

    @property
    def digits(self) -> int:
        """The most decimals of a number of it, to whose place all are filled up."""
        return max((_count_digits(cell.number) for cell in self.cells if isinstance(cell, Measured)), default=0)

    def measure(self, layout: Layout) -> tuple[float, float, float]:
        """Widths: of the numbers, of the intervals beside them, and of the whole column."""
        left = right = words = 0.0
        digits = self.digits
        for cell in self.cells:
            if isinstance(cell, Measured):
                value, brackets = _format_number(cell.number)
                missing = "0" * (digits - _count_digits(cell.number))
                left = max(left, estimate_width(value + missing, layout.points))
                right = max(right, estimate_width(brackets, layout.points))
            else:
                words = max(words, min(estimate_width(cell, layout.points), LONGEST[self.is_text] * layout.points))
        space = estimate_width(" ", layout.points) if right else 0.0
        numbers = max(left, right) if layout.is_stacked else left + space + right
        pieces = [estimate_width(piece, layout.points) for piece in list_pieces(self.header)]
        return left, right, max(numbers, words, *pieces) + SLACK


@dataclass(frozen=True)
class Grid:
    """Columns, and the headings of groups of rows: (its text, how many rows), of no text where there are no groups."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[str, int], ...]

    def measure(self, layout: Layout) -> float:
        """Its width in points."""
        return sum(column.measure(layout)[2] + 2 * layout.gap for column in self.columns) - 2 * layout.gap

    def cut_columns(self, layout: Layout) -> Iterator[Grid]:
        """As many columns at a time as the page holds, each time behind those of text."""
        keys = [column for column in self.columns if column.is_text]
        chosen = list(keys)
        for column in (column for column in self.columns if not column.is_text):
            if len(chosen) > len(keys) and replace(self, columns=(*chosen, column)).measure(layout) > layout.width:
                yield replace(self, columns=tuple(chosen))
                chosen = list(keys)
            chosen.append(column)
        yield replace(self, columns=tuple(chosen))

    def cut_rows(self, layout: Layout) -> Iterator[Grid]:
        """As many rows at a time as the page holds, whole groups where that can be."""
        heights = self._measure_rows(layout)
        header = layout.line * max(self._count_header_lines(layout), 1) + 10.0
        part: list[tuple[str, int]] = []
        begin, used = 0, header  # of the part
        place = 0
        for heading, number in self.groups:
            extra = layout.line * bool(heading) + 5.0
            whole = extra + sum(heights[place : place + number])
            if part and used + whole > layout.height:
                yield self._take(begin, part)
                part, begin, used = [], place, header
            used += extra
            taken = 0
            for row in range(place, place + number):
                if taken and used + heights[row] > layout.height:  # a group that is longer than a page
                    yield self._take(begin, [*part, (heading, taken)])
                    part, begin, used, taken = [], row, header + extra, 0
                    heading = heading and f"{heading.removesuffix(_AGAIN)}{_AGAIN}"
                used, taken = used + heights[row], taken + 1
            part, place = [*part, (heading, taken)], place + number
        yield self._take(begin, part)

    def _take(self, begin: int, groups: Sequence[tuple[str, int]]) -> Grid:
        end = begin + sum(number for _, number in groups)
        columns = tuple(replace(column, cells=column.cells[begin:end]) for column in self.columns)
        return replace(self, columns=columns, groups=tuple(groups))

    def _measure_rows(self, layout: Layout) -> list[float]:
        """The height of each row in points."""
        lines = [1.0 + (layout.is_stacked and any(c.has_intervals for c in self.columns))] * len(self.columns[0].cells)
        for column in self.columns:
            width = column.measure(layout)[2]
            for row, cell in enumerate(column.cells):
                lines[row] = max(lines[row], _count_lines(cell, width, layout))
        return [layout.line * number + (3.0 if layout.is_stacked else 0.0) for number in lines]

    def _count_header_lines(self, layout: Layout) -> int:
        return max(_count_lines(column.header, column.measure(layout)[2], layout) for column in self.columns)

    def format(self, layout: Layout) -> list[str]:
        """The file's lines."""
        measured = [column.measure(layout) for column in self.columns]
        cells = [_format_column(column, widths, layout) for column, widths in zip(self.columns, measured, strict=True)]
        num_places = sum(_count_places(column, layout) for column in self.columns)
        lines = [r"\toprule", _join(_format_header(*each, layout) for each in zip(self.columns, measured, strict=True))]
        row = 0
        for heading, number in self.groups:
            lines.append(r"\midrule")
            if heading:
                lines.append(
                    rf"\multicolumn{{{num_places}}}{{@{{}}l@{{}}}}{{{self._format_heading(heading, layout)}}} \\"
                )
            for index in range(row, row + number):
                lines += [_join(column[index][line] for column in cells) for line in range(len(cells[0][index]))]
                if layout.is_stacked and index < row + number - 1:
                    lines.append(r"\addlinespace[3pt]")
            row += number
        specification = "".join(_specify(column, layout) for column in self.columns)
        tabular = [rf"\begin{{tabular}}{{@{{}}{specification}@{{}}}}", *lines, r"\bottomrule", r"\end{tabular}"]
        begin = rf"\rotatebox{{90}}{{\{layout.size}" if layout.is_turned else rf"{{\{layout.size}"
        needs = r"\usepackage{booktabs}" + (r", \usepackage{graphicx}" if layout.is_turned else "")
        note = f"% {escape_latex(self.title)}\n% in a table, or a table* in two columns; needs {needs}"
        return [note, rf"{begin}\setlength{{\tabcolsep}}{{{layout.gap:g}pt}}%", *tabular[:-1], tabular[-1] + "}"]

    def _format_heading(self, heading: str, layout: Layout) -> str:
        width = min(max(self.measure(layout), estimate_width(heading, layout.points)), layout.width)
        return _wrap(heading, width, layout, r"\raggedright\itshape", r"\textit{%s}")


_AGAIN = " (continued)"


def _gather(table: Table) -> Grid:
    """The table with its groups as headings: those that the terminal makes, where most have more than one row."""
    keys = [row[: table.num_group_columns] for row in table.rows]
    groups = [(key, len(list(same))) for key, same in groupby(keys)]
    has_headings = table.num_group_columns > 0 and len(table.rows) >= 1.5 * len(groups)
    first = table.num_group_columns if has_headings else 0
    columns = tuple(
        Column(table.header[place], tuple(row[place] for row in table.rows), place < table.num_text_columns)
        for place in range(first, len(table.header))
    )
    named = tuple((", ".join(filter(None, reversed(key))), number) for key, number in groups)
    return Grid(table.title, columns, named if has_headings else (("", len(table.rows)),))


# cells


def _count_digits(number: Number) -> int:
    return 0 if number.unit == "benefit" else number.digits


def _format_number(number: Number) -> tuple[str, str]:
    """The number, and its brackets with their mark; a minus is a minus, which is as wide as a plus."""
    digits = _count_digits(number)
    value = format_signed(number.value, digits) if number.unit == "gain" else format_score(number.value, digits)
    value = value.replace(MINUS, "−")
    if number.interval is None:
        return value + number.mark, ""
    ends = (number.interval.low, number.interval.high)
    low, high = (format_score(end, digits).replace(MINUS, "−").replace("inf", "∞") for end in ends)
    return value, f"[{low}, {high}]{number.mark}"


def _count_places(column: Column, layout: Layout) -> int:
    """Columns of the tabular that it takes."""
    return 2 if column.has_intervals and not layout.is_stacked else 1


def _specify(column: Column, layout: Layout) -> str:
    if column.is_text:
        return "l"
    return r"r@{\ }l" if _count_places(column, layout) == 2 else "r"


def _format_header(column: Column, widths: tuple[float, float, float], layout: Layout) -> str:
    if column.is_text:
        return _wrap(column.header, widths[2], layout, r"\raggedright", place="b")
    is_double = _count_places(column, layout) == 2
    text = _wrap(column.header, widths[2], layout, r"\centering" if is_double else r"\raggedleft", place="b")
    return rf"\multicolumn{{2}}{{c}}{{{text}}}" if is_double else text


def _format_column(column: Column, widths: tuple[float, float, float], layout: Layout) -> list[list[str]]:
    """Of each row its lines, two where intervals stand under numbers."""
    digits, num_places = column.digits, _count_places(column, layout)
    cells = []
    for cell in column.cells:
        under = ""
        if isinstance(cell, Measured):
            value, brackets = (escape_latex(text) for text in _format_number(cell.number))
            text = value + _pad(_count_digits(cell.number), digits)
            if num_places == 2:
                text += f" & {brackets}"
            else:
                under = rf"{{\scriptsize {brackets}}}" if brackets else ""
        elif num_places == 2:
            is_number = cell.isdigit()  # as 100 % of itself
            text = cell + _pad(0, digits) if is_number else _wrap(cell, widths[2], layout, r"\centering")
            text = f"{text} &" if is_number else rf"\multicolumn{{2}}{{c}}{{{text}}}"
        else:
            text = _wrap(cell, widths[2], layout, r"\raggedright" if column.is_text else r"\raggedleft")
        cells.append([text, under] if layout.is_stacked else [text])
    return cells


def _pad(digits: int, wanted: int) -> str:
    """What brings the decimal points of a column under each other."""
    return rf"\phantom{{{'.' * (digits == 0)}{'0' * (wanted - digits)}}}" if digits < wanted else ""


def _wrap(text: str, width: float, layout: Layout, align: str, plain: str = "%s", place: str = "t") -> str:
    """Text in so many points: in several lines where one does not hold it."""
    if estimate_width(text, layout.points) <= width:
        return plain.replace("%s", escape_latex(text))
    return rf"\parbox[{place}]{{{width:.0f}pt}}{{{align} {escape_latex(text, breaks=True)}\strut}}"


def _count_lines(text: str, width: float, layout: Layout) -> int:
    if isinstance(text, Measured):
        return 1
    wide = estimate_width(text, layout.points)
    return 1 if wide <= width else math.ceil(1.25 * wide / width)  # lines end before the margin


def _join(cells: Iterator[str]) -> str:
    return " & ".join(cells) + r" \\"
