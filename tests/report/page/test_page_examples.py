"""Examples in the page: opened without a script, and whatever stands in a data set is text."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

from selfpretrain.report.blocks import build_examples
from selfpretrain.report.disagreements import Example, ExampleList, View
from selfpretrain.report.page.examples import format_examples

HOSTILE = "<script>alert('x')</script><img src=x onerror=\"alert(1)\"> & \"quoted\" 'single'"
VOID = {"img", "br", "meta", "link", "input"}


class Reader(HTMLParser):
    """Tags, attributes and text; refuses what is not closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def mark(names):
    return "".join(f' data-{key}="{escape(name)}"' for key, name in names.items())


def read(block):
    reader = Reader()
    reader.feed(format_examples(block, mark))
    reader.close()
    assert not reader.open
    return reader


def make_block(word=HOSTILE, **changes):
    views = (View("own", 0.25, word, 0.5, 1, 3), View("none", 0.1, word, 0.9, 0, 3), View("tapt", 0.3, word, 0.6, 2, 3))
    about = {
        "model": word, "task": word, "metric": "accuracy", "pair": ("own", "none"),
        "of_label": "probability of the true label", "distance": "their distance", "num_examples": 7600, "num_apart": 812,
        "examples": (Example(word, (word, "a second text"), word, 0.75, views),),
    }  # fmt: skip
    return build_examples([ExampleList(**{**about, **changes})])


def test_what_stands_in_a_data_set_is_text():
    reader = read(make_block())
    assert not {"script", "img"} & {*reader.tags}
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert HOSTILE in "".join(reader.words)
    values = dict(reader.attributes)
    assert values["data-model"] == values["data-task"] == HOSTILE


def test_each_example_opens_and_says_what_each_condition_says():
    reader = read(make_block("sports"))
    assert reader.tags.count("details") == reader.tags.count("summary") == 1
    said = "".join(reader.words)
    assert "own: sports .500; none: sports .900" in said and "distance .750" in said
    assert "differently on 812 of 7,600 test examples" in said
    assert "0 of 3 runs" in said and "a second text" in said
    assert reader.tags.count("caption") == 1 and ("scope", "col") in reader.attributes
    assert [value for name, value in reader.attributes if name == "data-condition"] == [
        "own, none",
        "own",
        "none",
        "tapt",
    ]


def test_what_has_no_probability_has_its_own_number():
    view = View("own", 0.41, "3.2", None, None, 3)
    block = make_block("x", of_label="absolute error of the mean", num_apart=None,
                       examples=(Example("7", ("t",), "2.8", 1.5, (view,)),))  # fmt: skip
    said = "".join(read(block).words)
    assert "own: 3.2 (absolute error of the mean .410)" in said and "differently" not in said


def test_a_long_text_is_seen_in_part_before_it_is_opened():
    view = View("own", 0.2, "a", 0.5, 0, 1)
    block = make_block("x", examples=(Example("7", ("word " * 60,), "b", 0.5, (view,)),))
    html = format_examples(block, mark)
    assert html.index("word…") < html.index("</summary>") < html.index("<blockquote")
    assert html.count("word") > 70
