"""What is written for LaTeX, set by a real one."""

from __future__ import annotations

import re
import shutil
import string
import subprocess

import pytest
from matplotlib.figure import Figure as Drawing

from selfpretrain.report import plots
from selfpretrain.report.blocks import Facts, Figure, Notes, Sentence, Table, Title, build_blocks
from selfpretrain.report.columns import measure
from selfpretrain.report.comparisons import Interval
from selfpretrain.report.findings import Summary
from selfpretrain.report.write import save_report
from selfpretrain.runs.results import Citation

pytestmark = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: pdflatex is not on the PATH")

WILD = (
    string.punctuation,
    "a_b%c&d#e$f^g~h\\i{j}",
    "naïve Ångström Łódź Straße Çağ Ōsaka ȷı",
    "α ≤ Ω ≠ ∞ → 10 µm² “quoted” – … £5 ½ ‰",
    "中文 العربية עברית हिन्दी 🎉",
    "a\u00ad5 b, -5 and a-5",
    "a\x00b\x07\u202ec\u0301\u0323",
    "[optional] *",
    "]]>\\input{/etc/passwd}\\end{document}",
)


def compile_document(folder, name="report_document"):
    """The log; a failed run is an error with it."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def list_overfull(log):
    return [
        line
        for line in log.splitlines()
        if (wide := re.search(r"Overfull \\hbox \((.+?)pt", line)) and float(wide[1]) > 1
    ]


def read_pdf(folder, name="report_document"):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here")
    if subprocess.run(["kpsewhich", "lmodern.sty"], capture_output=True).returncode != 0:
        pytest.skip("no lmodern here, without which a PDF's text has other marks")
    done = subprocess.run(
        ["pdftotext", "-layout", f"{name}.pdf", "-"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def make_wild_blocks():
    interval = Interval(0.84, 0.83, 0.85)
    labels = [[text, "row", measure(interval)] for text in WILD]
    long = [
        (f"task{row // 40}", f"condition {row}", measure(interval), measure(interval, "gain")) for row in range(150)
    ]
    wide = [(f"own_of:task_{row}", *[measure(interval)] * 30) for row in range(12)]
    header = ("condition", *(f"amazon_polarity_{place}@4000 (accuracy)" for place in range(30)))
    return [
        Title(WILD[1]),
        *(Sentence(text, (text, text[::-1])) for text in WILD),
        Table("labels", WILD[3], ("name_1", "what", "score"), tuple(map(tuple, labels)), 2, 0, (), ()),
        Table("long", "Long", ("task", "condition", "score", "gain"), tuple(long), 2, 1, (), ()),
        Table("wide", "Wide", header, tuple(wide), 1, 0, (), ()),
        Figure("scores", "50 % of _", lambda: plots._save(Drawing())),
        Notes((*WILD, "Holm-corrected over all"), WILD),
        Facts({}, {text: text for text in WILD}, (Citation("Data", WILD[1], (), WILD[0]),)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wild")
    save_report(Summary("wild", "none", "bookwiki", "BookWiki", 0.95, 200, [], {}), make_wild_blocks(), folder)
    return folder


def test_any_name_and_any_size(wild):
    log = compile_document(wild)
    assert list_overfull(log) == []
    assert "Too many unprocessed floats" not in log and "Float too large" not in log
    text = read_pdf(wild)
    for shown in (
        "a_b%c&d#e$f^g~h\\i{j}",
        "Straße",
        "[U+4E2D 6587]",
        "condition 149",
        "\\input{/etc/passwd}\\end{document}",
    ):
        assert shown in text, shown
    assert len(re.findall(r"own_of:task_11", text)) == len([*wild.glob("wide-part*.tex")]) > 1


def test_its_references(wild):
    compile_document(wild)
    done = subprocess.run(["bibtex", "report_document"], cwd=wild, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "error" not in done.stdout.lower(), done.stdout
    compile_document(wild)
    assert "undefined" not in compile_document(wild)
    assert "Sture Holm" in read_pdf(wild)


def test_a_real_report_by_itself_and_in_somebodys_paper(summary, tmp_path):
    folder = tmp_path / "runs" / "report"
    save_report(summary, build_blocks(summary), folder)
    assert list_overfull(compile_document(folder)) == []
    assert "Study demo" in read_pdf(folder)
    check_in_a_paper(tmp_path)
    if shutil.which("pdffonts") is None:
        pytest.skip("no pdffonts here")
    done = subprocess.run(["pdffonts", folder / "report_document.pdf"], capture_output=True, text=True, check=True)
    fonts = [line.split() for line in done.stdout.splitlines()[2:]]
    assert {font[-5] for font in fonts} == {"yes"}  # embedded
    assert any("TrueType" in font for font in fonts)


def check_in_a_paper(tmp_path):
    """In two columns, in another folder, with a caption of its own."""
    (tmp_path / "paper.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\newcommand{\reportfolder}{runs/report}"
        r"\begin{document}\begin{table*}\centering\caption{Mine}\input{runs/report/scores.tex}\end{table*}"
        r"\input{runs/report/report.tex}\end{document}"
    )
    log = compile_document(tmp_path, "paper")
    assert "Mine" in read_pdf(tmp_path, "paper") and "scores.pdf" in log
