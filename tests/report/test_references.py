"""references.bib: what was used and what the notes name, no more; and every entry is whole."""

from __future__ import annotations

import re
from dataclasses import replace

from selfpretrain.report.blocks import Facts, Notes, build_blocks
from selfpretrain.report.latex import format_latex
from selfpretrain.report.references import PHRASES, cite_notes, cite_used, format_references, load_references, name_key
from selfpretrain.report.summary import summarize
from selfpretrain.runs.results import Citation

USED = (
    Citation("Models", "RoBERTa", ("liu2019roberta",)),
    Citation("Data", "jigsaw_1", (), "train.csv of {kaggle} & co"),
    Citation("Data", "amazon", ("mcauley2013hidden", "zhang2015character")),
)


def list_keys(text):
    return re.findall(r"^@\w+\{(.+?),$", text, re.MULTILINE)


def test_every_entry_is_whole():
    entries = load_references()
    assert len(entries) > 50
    for key, entry in entries.items():
        assert entry.count("{") == entry.count("}")
        names = re.findall(r"^  (\w+) = \{", entry, re.MULTILINE)
        assert {"author", "title", "year"} <= {*names}, key
        place = {"inproceedings": "booktitle", "article": "journal", "book": "publisher", "techreport": "institution"}
        kind = entry[1 : entry.index("{")]
        assert kind == "misc" or place[kind] in names, key
        assert re.search(r"year = \{(19|20)\d\d\}", entry) and re.search(r"(19|20)\d\d", key)[0] in entry
        assert entry.isascii()


def test_what_is_cited_is_there_and_nothing_else(summary):
    summary.citations = list(USED)
    blocks = build_blocks(summary)
    keys, text = list_keys(format_references(blocks)), format_latex(blocks)
    cited = {key for group in re.findall(r"\\cite\{(.*?)\}", text) for key in group.split(",")}
    assert cited == {*keys} and len(keys) == len(cited)
    assert {"liu2019roberta", "holm1979simple", "fieller1954problems", "data-jigsaw-1-b26da5"} <= cited
    assert not {"guo2017calibration", "clark2020electra", "brown2020language"} & cited


def test_a_method_is_cited_once_where_it_is_first_named():
    lines = cite_notes(["a_1: Holm-corrected over 12", "Holm-corrected; Fieller's interval & so on"])
    assert lines == [
        r"a\_\allowbreak{}1: Holm-corrected~\cite{holm1979simple} over 12",
        r"Holm-corrected; Fieller's interval~\cite{fieller1954problems} \& so on",
    ]


def test_a_data_set_without_a_paper_is_cited_by_its_card():
    text = format_references([Facts({}, {}, USED[1:2]), Notes((), ())])
    assert "@misc{data-jigsaw-1-b26da5,\n  title = {{jigsaw\\_1}},\n  note = {train.csv of (kaggle) \\& co},\n}" in text
    assert cite_used(USED) == [
        r"Models: RoBERTa~\cite{liu2019roberta}",
        r"Data: jigsaw\_\allowbreak{}1~\cite{data-jigsaw-1-b26da5}; amazon~\cite{mcauley2013hidden,zhang2015character}",
    ]


def test_the_notes_use_the_phrases(summary):
    """Each phrase stands in the source of some note, so that none is left behind when words change."""
    from pathlib import Path

    from selfpretrain.report import blocks

    folder = Path(blocks.__file__).parent
    sources = [path.read_text() for path in folder.glob("*.py") if path.name != "references.py"]
    words = re.sub(r'"\s*f?"', "", "\n".join(sources))
    assert [phrase for phrase in PHRASES if phrase not in words] == []
    assert {key for keys in PHRASES.values() for key in keys} <= {*load_references()}


def test_equal_studies_cite_alike(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.8])
    summaries = [summarize(fake_study.finish()) for _ in range(2)]
    one, other = (
        build_blocks(replace(each, citations=list(used)))
        for each, used in zip(summaries, (USED, USED[::-1]), strict=True)
    )
    assert format_references(one) == format_references(other)


def test_data_sets_of_similar_names_have_entries_of_their_own():
    names = ("数据", "评论", "my_task", "my-task", "my task")
    used = [Citation("Data", name, (), f"of {name}") for name in names]
    assert len({name_key(each) for each in used}) == len(names) and name_key(used[3]) == "data-my-task"
    assert len(list_keys(format_references([Facts({}, {}, tuple(used)), Notes((), ())]))) == len(names)
