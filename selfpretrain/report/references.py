"""The references of a report: the entries of conf/references.bib that its study used or its notes name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache

from selfpretrain.door import find_folder
from selfpretrain.report.blocks import Block, Facts, Notes
from selfpretrain.report.latex_text import escape_latex
from selfpretrain.runs.results import Citation

# words of the notes that name a method, and whose it is; cited where they first stand
PHRASES = {
    "Holm-corrected": ("holm1979simple",),
    "Fieller's interval": ("fieller1954problems",),
    "method of moments": ("searle1992variance",),
    "generalized intervals": ("weerahandi1993generalized",),
    "Clopper and Pearson's interval": ("clopper1934use",),
    "Wilcoxon's signed-rank test": ("wilcoxon1945individual",),
    "A run beats one of the other": ("agarwal2021deep",),
    "Benjamini and Hochberg's correction": ("benjamini1995controlling",),
    "two one-sided tests": ("schuirmann1987comparison",),
    "draw whole groups": ("davison1997bootstrap",),
    "the temperature under which its validation labels are likeliest": ("guo2017calibration",),
    "ECE": ("guo2017calibration",),
    "debiased": ("kumar2019verified",),
    "Brier": ("brier1950verification",),
    "runs of 13 words": ("brown2020language",),
}


@cache
def load_references() -> dict[str, str]:
    """The entries by key, as they stand in the file."""
    text = (find_folder("conf") / "references.bib").read_text(encoding="utf-8")
    return {found[1]: found[0] for found in re.finditer(r"^@\w+\{(.+?),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)}


def format_references(blocks: Sequence[Block]) -> str:
    """``references.bib``: each entry once, by key."""
    facts = [citation for block in blocks if isinstance(block, Facts) for citation in block.citations]
    notes = [note for block in blocks if isinstance(block, Notes) for note in block.explanations]
    keys = {key for citation in facts for key in citation.keys}
    keys |= {key for phrase, of_it in PHRASES.items() for key in of_it if any(phrase in note for note in notes)}
    entries = {key: load_references()[key] for key in keys}
    entries |= {name_key(each): _make_entry(each) for each in facts if not each.keys}
    head = "% What this report cites; its text does so by \\cite, and report_document.tex lists it.\n\n"
    return head + "\n\n".join(entries[key] for key in sorted(entries)) + "\n"


def name_key(citation: Citation) -> str:
    """Of a data set of which nothing but its card is known."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", citation.what)
    return f"data-{plain}" + (
        f"-{hashlib.sha256(citation.what.encode()).hexdigest()[:6]}" if plain != citation.what else ""
    )


def _make_entry(citation: Citation) -> str:
    title, source = (
        escape_latex(text.replace("{", "(").replace("}", ")")) for text in (citation.what, citation.source)
    )
    return f"@misc{{{name_key(citation)},\n  title = {{{{{title}}}}},\n  note = {{{source}}},\n}}"


def cite_notes(notes: Iterable[str]) -> list[str]:
    """The notes as LaTeX, with a citation behind the first mention of each method."""
    lines, left = [], dict(PHRASES)
    for note in notes:
        line = escape_latex(note, breaks=True)
        for phrase in [phrase for phrase in left if phrase in note]:
            before, named, after = line.partition(escape_latex(phrase))
            line = f"{before}{named}{_cite(left.pop(phrase))}{after}"
        lines.append(line)
    return lines


def cite_used(citations: Sequence[Citation]) -> list[str]:
    """A line of LaTeX for each kind of what was used."""
    lines = []
    for kind in dict.fromkeys(citation.kind for citation in citations):
        named = [
            escape_latex(each.what, breaks=True) + _cite(each.keys or (name_key(each),))
            for each in citations
            if each.kind == kind
        ]
        lines.append(f"{kind}: {'; '.join(named)}")
    return lines


def _cite(keys: Sequence[str]) -> str:
    return rf"~\cite{{{','.join(keys)}}}"
