from __future__ import annotations

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.latex import format_document, format_latex
from selfpretrain.report.latex_tables import format_tabulars
from selfpretrain.report.tables import build_tables


def test_a_table_is_escaped_and_square(summary):
    (text,) = format_tabulars(build_tables(summary)[0]).values()
    body = [line for line in text.splitlines() if line.endswith(r"\\") and "textit" not in line]
    widths = {line.count(" & ") + line.count(r"\multicolumn{2}") for line in body}
    assert len(widths) == 1
    assert r"bookwiki\_sized" in text and r"Benefit \%" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_a_report_is_a_part_of_a_document(summary):
    blocks = build_blocks(summary)
    text = format_latex(blocks)
    assert text.startswith("% Part of a document: \\usepackage{booktabs}")
    assert "\\section*{Study demo}" in text
    assert "\\textbf{topics, roberta\\_\\allowbreak{}tiny: the own text helps; " in text
    assert "keepaspectratio]{\\reportfolder/scores.pdf}" in text
    for name in format_tabulars(build_tables(summary)[0]):
        assert f"\\label{{tab:{name}}}\\smallskip\n\\input{{\\reportfolder/{name}.tex}}" in text
    assert "\\item command: selfpretrain study study=\\allowbreak{}demo\n" in text
    for name in ("itemize", "table*", "figure*"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    assert "\\sloppy\n\\end" not in text  # LaTeX refuses an empty list
    assert "\\input{report.tex}" in format_document(blocks)
