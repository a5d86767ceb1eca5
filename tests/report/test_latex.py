from __future__ import annotations

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.latex import escape_latex, format_latex
from selfpretrain.report.tables import build_tables


def test_a_table_is_escaped_and_square(summary):
    text = format_latex([build_tables(summary)[0]])
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in body} == {7}
    assert r"bookwiki\_sized" in text and r"Benefit \%" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert escape_latex("[a] [b]") == "{}[a] [b]"  # no optional argument of what stands before it
    assert escape_latex("< .001 and -.5, -3, +.2, a-b_c 50%") == r"$<$ .001 and $-$.5, $-$3, $+$.2, a-b\_c 50\%"


def test_a_report_is_a_part_of_a_document(summary):
    text = format_latex(build_blocks(summary))
    assert text.startswith("% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n\n\\section*{Study demo}")
    assert "\\paragraph{topics, roberta\\_tiny: the own text helps; " in text
    assert "\\includegraphics[width=\\linewidth]{scores.png}" in text
    assert "\\item command: selfpretrain study study=demo\n" in text
    for name in ("itemize", "table", "figure", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    assert "\\begin{itemize}\n\\end" not in text  # LaTeX refuses an empty list
