"""The report as LaTeX, to be read into a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from selfpretrain.report.blocks import Block, Facts, Figure, Functions, Notes, Sentence, Table, Title, walk

_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
)


def format_latex(blocks: Sequence[Block]) -> str:
    """Tables are those of booktabs, plots the PNG files beside it; facts that differ between equal studies are left out."""
    needs = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}"
    return "\n\n".join([needs, *("\n".join(lines) for lines in walk(blocks, FUNCTIONS))]) + "\n"


def _format_table(table: Table) -> list[str]:
    columns = "l" * table.num_text_columns + "r" * (len(table.header) - table.num_text_columns)
    num_keys = table.num_group_columns if table.num_group_columns > 1 else 0
    body = [r"\toprule", _join(table.header)]
    for _, rows in groupby(table.rows, key=lambda row: row[:num_keys]):
        body += [r"\midrule", *map(_join, rows)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", *body, r"\bottomrule", r"\end{tabular}"]
    return _float("table", table.title, lines)


def _join(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def _float(kind: str, title: str, lines: Sequence[str]) -> list[str]:
    return [rf"\begin{{{kind}}}", r"\centering", rf"\caption{{{escape_latex(title)}}}", *lines, rf"\end{{{kind}}}"]


def _list(items: Iterable[str]) -> list[str]:
    return [r"\begin{itemize}", *(rf"\item {escape_latex(item)}" for item in items), r"\end{itemize}"]


def escape_latex(text: str) -> str:
    escaped = re.sub(r"(?<![\w.-])([-+])(?=[.\d])", r"$\1$", text.translate(_ESCAPES))
    return f"{{}}{escaped}" if text.startswith("[") else escaped  # after \\ and \item it would be an optional argument


FUNCTIONS: Functions[list[str]] = {
    Title: lambda title: [rf"\section*{{{escape_latex(title.text)}}}"],
    Sentence: lambda sentence: [rf"\paragraph{{{escape_latex(sentence.verdict)}}}", *_list(sentence.evidence)],
    Table: _format_table,
    Figure: lambda figure: _float(
        "figure", figure.title, [rf"\includegraphics[width=\linewidth]{{{figure.name}.png}}"]
    ),
    Notes: lambda notes: [r"\subsection*{Notes}", *_list([*notes.explanations, *notes.warnings])],
    Facts: lambda facts: [r"\subsection*{How this was made}", *_list(map(": ".join, facts.lasting.items()))],
}
