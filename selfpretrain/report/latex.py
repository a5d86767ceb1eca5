r"""The report as LaTeX: ``report.tex`` to be read into a paper, over a file for each table, and a document around it.

``report.tex`` says what a paper would: captions and labels around ``\input`` of the tables and the PDFs of the plots. Text
goes through :func:`selfpretrain.report.latex_text.escape_latex`, so that pdflatex sets whatever names and labels hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selfpretrain.report.blocks import Block, Examples, Facts, Figure, Functions, Notes, Sentence, Table, Title, walk
from selfpretrain.report.latex_tables import format_tabulars
from selfpretrain.report.latex_text import escape_latex
from selfpretrain.report.references import cite_notes, cite_used

_HEAD = r"""% Part of a document: \usepackage{booktabs} and \usepackage{graphicx} in its preamble, then \input{report.tex}.
% Where this folder is not the document's: \newcommand{\reportfolder}{path/to/this/folder} before that.
% Each table is a file of its own; report_document.tex is a document with all of it.
\providecommand{\reportfolder}{.}
\ifdefined\extrafloats\extrafloats{500}\fi \maxdeadcycles=1000 % a large study has more floats in a row than LaTeX expects"""

_DOCUMENT = r"""% pdflatex report_document.tex, in this folder; with its references: latexmk -pdf report_document.tex
\documentclass{article}
\IfFileExists{lmodern.sty}{\usepackage[T1]{fontenc}\usepackage{lmodern}}{}
\usepackage{booktabs}
\usepackage{graphicx}
\setcounter{topnumber}{4}
\setcounter{totalnumber}{6}
\renewcommand{\topfraction}{.9}
\renewcommand{\textfraction}{.05}
\renewcommand{\floatpagefraction}{.6}
\begin{document}
\input{report.tex}
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def format_latex(blocks: Sequence[Block]) -> str:
    """Facts that differ between equal studies are left out."""
    return "\n\n".join([_HEAD, *("\n".join(lines) for lines in walk(blocks, FUNCTIONS) if lines)]) + "\n"


def format_document(blocks: Sequence[Block]) -> str:
    """A document of ``report.tex`` alone."""
    return _DOCUMENT


def _format_table(table: Table) -> list[str]:
    if table.is_detail:
        return []
    names = list(format_tabulars(table))
    lines = []
    for place, name in enumerate(names, start=1):
        part = f" (part {place} of {len(names)})" if len(names) > 1 else ""
        lines += _float("table", name, table.title + part, rf"\input{{\reportfolder/{name}.tex}}")
    return lines


def _format_figure(figure: Figure) -> list[str]:
    size = r"width=\linewidth,height=.8\textheight,keepaspectratio"
    return _float("figure", figure.name, figure.title, rf"\includegraphics[{size}]{{\reportfolder/{figure.name}.pdf}}")


def _float(kind: str, name: str, title: str, content: str) -> list[str]:
    label = {"table": "tab", "figure": "fig"}[kind]
    named = rf"\caption{{{escape_latex(title)}}}\label{{{label}:{name}}}"
    inside = [rf"{named}\smallskip", content] if kind == "table" else [content, named]
    # with a star it has the width of the page in two columns, too, and in one it is the same
    return [rf"\begin{{{kind}*}}[htbp]", r"\centering", *inside, rf"\end{{{kind}*}}"]


def _format_sentence(sentence: Sentence) -> list[str]:
    head = rf"{{\par\medskip\noindent\sloppy\textbf{{{_break(sentence.verdict)}}}\par}}"
    return [head, *_list(map(_break, sentence.evidence))]


def _break(text: str) -> str:
    return escape_latex(text, breaks=True)


def _list(items: Iterable[str]) -> list[str]:
    """Of lines that are LaTeX."""
    lines = [rf"\item {item}" for item in items]
    return [r"\begin{itemize}\sloppy", *lines, r"\end{itemize}"] if lines else []


FUNCTIONS: Functions[list[str]] = {
    Title: lambda title: [rf"\section*{{{_break(title.text)}}}"],
    Sentence: _format_sentence,
    Table: _format_table,
    Figure: lambda figure: _format_figure(figure) if figure.draw else [],
    Examples: lambda examples: [f"% {examples.place}"],
    Notes: lambda notes: [
        r"\subsection*{Notes}",
        *_list([*cite_notes(notes.explanations), *map(_break, notes.warnings)]),
    ],
    Facts: lambda facts: [
        r"\subsection*{How this was made}",
        *_list([*(_break(": ".join(fact)) for fact in facts.lasting.items()), *cite_used(facts.citations)]),
    ],
}
