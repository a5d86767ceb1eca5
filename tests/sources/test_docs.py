"""The docs suite, on a small tree of fake packages: cleaning, extraction, roles, the three tasks, the collection."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources import docs, docs_extract, splits
from selfpretrain.sources.docs_clean import clean_docstring, split_sentences
from selfpretrain.sources.docs_extract import (
    Package,
    build_documents,
    extract_module,
    find_packages,
    get_role,
    iter_records,
)

WORDS = [
    "array",
    "graph",
    "tensor",
    "frame",
    "axis",
    "figure",
    "matrix",
    "solver",
    "symbol",
    "kernel",
    "cluster",
    "series",
    "integral",
    "vertex",
    "layer",
    "colour",
]
SHARED = "This paragraph stands in every single module of the package."


def make_sentence(random: np.random.Generator) -> str:
    return f"Compute {' '.join(random.choice(WORDS, 7))} with care."


def make_packages(
    root: Path, names: tuple[str, ...] = ("numpy", "torch", "pandas"), modules: int = 40
) -> list[Package]:
    for seed, name in enumerate(names):
        random = np.random.default_rng(seed)
        (root / name / "tests").mkdir(parents=True)
        (root / name / "tests" / "cases.py").write_text('"""The tests are no text of the package at all."""')
        for module in range(modules):
            lines = [f'"""{make_sentence(random)}\n\n{SHARED}\n"""']
            for function in range(5):
                text = " ".join(make_sentence(random) for _ in range(4))
                body = "    x = 1\n" * int(random.integers(1, 40))
                lines.append(f'def f{function}():\n    """The {name} way. {text}\n\n    >>> f()\n    """\n{body}')
            (root / name / f"m{module}.py").write_text("\n\n".join(lines))
        (root / name / "broken.py").write_text("print 'no Python 3'")
    return [Package(name, "1.0", str(root / name)) for name in names]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Package]:
    return make_packages(tmp_path_factory.mktemp("site-packages"))


@pytest.fixture
def packages(made, monkeypatch) -> list[Package]:
    """What is installed, for the test."""
    monkeypatch.setattr(docs, "find_packages", lambda: made)
    return made


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("runs"))


TASKS = {
    "docs_topic": TaskConfig(
        name="docs_topic", loader="docs", label_kind="class", label_names=["numpy", "pandas", "torch"]
    ),
    "docs_pair": TaskConfig(name="docs_pair", loader="docs", label_kind="class", label_names=["apart", "follows"]),
    "docs_order": TaskConfig(name="docs_order", loader="docs", label_kind="class", label_names=["as", "exchanged"]),
    "docs_score": TaskConfig(name="docs_score", loader="docs", label_kind="score", score_range=[0, 5]),
}


def test_clean_docstring_keeps_prose_only():
    raw = """Return the :func:`~numpy.dot` product of ``a`` and *two* other arrays [1]_.

    It is **fast**, see `the guide <https://example.org/guide>`_ for more of this::

        code_that_is_not = "prose, however many words it has"

    .. versionadded:: 1.2
       The axis keyword was added here.

    .. code-block:: python

        this is code and not a sentence of English

    Parameters
    ----------
    a, b : array_like, optional
        The first of the two
        arrays to be multiplied.
    x (int): A number from the Google style
        that goes on here.
    :param y: the field that reST writes down

    - an item of a list of things
    - and another item of that list

    >>> dot(1, 2)
    the result is no prose at all here

    ```
    nor is a fenced block of text like this one
    ```
    =====  =====  and too short
    alpha = beta * gamma_2 ** 3 + 4 / (5 - x) % 7 | {1, 2, 3}
    """
    assert clean_docstring(raw) == [
        "Return the numpy.dot product of a and two other arrays.",
        "It is fast, see the guide for more of this:",
        "The axis keyword was added here.",
        "The first of the two arrays to be multiplied.",
        "A number from the Google style that goes on here.",
        "the field that reST writes down",
        "an item of a list of things",
        "and another item of that list",
    ]


def test_split_sentences_spares_abbreviations():
    text = 'Use a norm, e.g. Euclid. See Fig. 2 for it. Is it "fast"? Yes, by J. Smith et al.'
    assert split_sentences(text) == [
        "Use a norm, e.g. Euclid.", "See Fig. 2 for it.", 'Is it "fast"?', "Yes, by J. Smith et al."
    ]  # fmt: skip


def test_extract_module_counts_statements_without_docstrings():
    source = '''
class Thing:
    """A thing that has some words."""
    def grow(self):
        """Let the thing grow by one."""
        if self.size:
            self.size += 1
        else:
            try:
                pass
            except ValueError:
                raise
        return self
'''
    records = extract_module(source.encode())
    assert [(record["name"], record["kind"], record["line"]) for record in records] == [
        ("Thing", "class", 2), ("Thing.grow", "function", 4)
    ]  # fmt: skip
    assert records[1]["statements"] == 6  # if, +=, try, pass, raise, return
    assert extract_module(b"print 'Python 2'") == []
    assert extract_module(b"x = '\0'") == []


def test_compute_score():
    assert docs.compute_score(1) == pytest.approx(5 / 7)
    assert docs.compute_score(127) == docs.compute_score(10_000) == 5.0


def test_documents_keep_a_paragraph_once_and_no_tests(packages, runs_dir):
    folder = build_documents(runs_dir, packages)
    records = list(iter_records(folder, ["test", "validation", "train", "general"]))
    paragraphs = [text for record in records for text in record["paragraphs"]]
    assert paragraphs.count(SHARED) == 1
    assert SHARED in [text for record in records if record["role"] == "test" for text in record["paragraphs"]]
    assert not any("no text of the package" in text or ">>>" in text for text in paragraphs)
    assert all(record["role"] == get_role(record["module"]) for record in records)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sum(role["documents"] for role in manifest["roles"].values()) == len(records)
    assert manifest["duplicate_paragraphs_dropped"] >= 119  # of SHARED alone
    assert {path.name for path in folder.iterdir()} == {"documents.jsonl", "manifest.json"}


def test_roles_have_their_shares():
    counts = {role: 0 for role, _ in docs_extract.ROLES}
    for number in range(4000):
        counts[get_role(f"package.module{number}")] += 1
    for role, share in docs_extract.ROLES:
        assert counts[role] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks_split_by_module_and_share_no_text(name, packages, runs_dir):
    task, parts, _ = docs.load_docs_task(TASKS[name], runs_dir)
    assert set(parts) == {"train", "validation", "test"}
    seen: dict[str, str] = {}
    for role, split in parts.items():
        assert len(split.ids) == len(split.texts) == len(split.labels) == len(set(split.ids)) >= 5
        assert {get_role(example_id.split(":")[0]) for example_id in split.ids} == {role}
        for columns in split.texts:
            assert len(columns) == (2 if name == "docs_pair" else 1)
            for text in columns:
                assert seen.setdefault(splits.normalise(text), role) == role
    dtype = np.float32 if name == "docs_score" else np.int64
    assert all(split.labels.dtype == dtype for split in parts.values())
    assert task.metric == ("pearson" if name == "docs_score" else "accuracy")
    _, again, _ = docs.load_docs_task(TASKS[name], runs_dir)
    assert again["train"].texts == parts["train"].texts


def test_topic_hides_the_package_name(packages, runs_dir):
    task, parts, _ = docs.load_docs_task(TASKS["docs_topic"], runs_dir)
    for split in parts.values():
        for example_id, (text,), label in zip(split.ids, split.texts, split.labels, strict=True):
            assert example_id.startswith(task.label_names[label])
            assert not any(name in text.lower() for name in ("numpy", "torch", "pandas"))


def test_pairs_are_neighbours_or_of_another_docstring(packages, runs_dir):
    folder = build_documents(runs_dir, packages)
    owners = {
        sentence: (record["package"], record["module"], record["name"], place)
        for record in iter_records(folder, docs.SPLITS)
        for place, sentence in enumerate(s for text in record["paragraphs"] for s in split_sentences(text))
    }
    _, parts, _ = docs.load_docs_task(TASKS["docs_pair"], runs_dir)
    for split in parts.values():
        assert 0.3 < split.labels.mean() < 0.7
        for (first, second), label in zip(split.texts, split.labels, strict=True):
            one, other = owners[first], owners[second]
            assert one[0] == other[0]
            assert (one[:3] == other[:3] and other[3] == one[3] + 1) == bool(label)
            assert label or one[:3] != other[:3]


def test_two_inner_neighbours_are_exchanged_or_none(packages, runs_dir):
    folder = build_documents(runs_dir, packages)
    sentences = {
        f"{record['module']}:{record['name']}:{record['line']}:{place}": sentence.split()
        for record in iter_records(folder, docs.SPLITS)
        for place, sentence in enumerate(s for text in record["paragraphs"] for s in split_sentences(text))
    }
    _, parts, _ = docs.load_docs_task(TASKS["docs_order"], runs_dir)
    bags: dict[tuple[str, ...], str] = {}
    for role, split in parts.items():
        assert 0.3 < split.labels.mean() < 0.7
        for example_id, (text,), label in zip(split.ids, split.texts, split.labels, strict=True):
            words, given = sentences[example_id], text.split()
            moved = [place for place, pair in enumerate(zip(words, given, strict=True)) if pair[0] != pair[1]]
            assert (len(moved) == 2) == bool(label) and len(moved) in (0, 2)
            if label:
                first, second = moved
                assert second == first + 1 and first >= 1 and second <= len(words) - 2
                assert (given[first], given[second]) == (words[second], words[first])
            # a sentence is in one split only, also where its words stand in another order
            assert bags.setdefault(tuple(sorted(splits.normalise(text).split())), role) == role


def test_scores_are_the_lengths(packages, runs_dir):
    split = docs.load_docs_task(TASKS["docs_score"], runs_dir)[1]["train"]
    roots = {package.name: Path(package.root) for package in packages}
    for example_id, label in zip(split.ids[:20], split.labels[:20], strict=True):
        module, function, _ = example_id.split(":")
        package, stem = module.split(".")
        source = (roots[package] / f"{stem}.py").read_text().split(f"def {function}()")[1].split("def ")[0]
        assert label == pytest.approx(docs.compute_score(source.count("x = 1")))


def test_general_text_is_of_no_task(packages, runs_dir):
    documents = list(docs.iter_docs_text(runs_dir))
    general = [path for p in packages for path in sorted(Path(p.root).glob("m*.py"))
               if get_role(f"{p.name}.{path.stem}") == "general"]  # fmt: skip
    assert len(documents) == len(general) > 30
    text = "\n".join(documents)
    for name, task in TASKS.items():
        for split in docs.load_docs_task(task, runs_dir)[1].values():
            assert not any(column in text for columns in split.texts for column in columns), name


def test_equal_classes_at_most(monkeypatch, tmp_path, packages):
    monkeypatch.setattr(docs, "MAX_EXAMPLES", {"train": 30, "validation": 9, "test": 12})
    docs._build_examples.cache_clear()
    _, parts, _ = docs.load_docs_task(TASKS["docs_topic"], str(tmp_path))
    assert np.bincount(parts["train"].labels).tolist() == [10, 10, 10]
    assert len(set(parts["train"].labels[:10].tolist())) > 1


def test_two_builders_make_it_once(monkeypatch, tmp_path, packages):
    calls = []
    write = docs_extract._write_documents

    def count(*arguments):
        calls.append(1)
        write(*arguments)

    monkeypatch.setattr(docs_extract, "_write_documents", count)
    threads = [threading.Thread(target=build_documents, args=(str(tmp_path), packages)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_failed_worker_leaves_nothing(monkeypatch, tmp_path, packages, capfd):
    monkeypatch.setattr(
        docs_extract, "list_modules", lambda _: [("test", "numpy", "numpy.gone", str(tmp_path / "gone.py"))]
    )
    with pytest.raises(RuntimeError, match=r"numpy\.gone"):
        build_documents(str(tmp_path), packages)
    assert [path.name for path in (tmp_path / "text").iterdir() if path.is_dir()] == []


def test_a_changed_file_is_made_anew(tmp_path, packages, capsys):
    file = build_documents(str(tmp_path), packages) / "documents.jsonl"
    whole = file.read_bytes()
    for changed in (whole + b"{}\n", whole[:-1], b""):
        file.write_bytes(changed)
        build_documents(str(tmp_path), packages)
        assert file.read_bytes() == whole
        assert capsys.readouterr().err == f"selfpretrain: {file.parent} is damaged and made anew\n"


def test_too_little_text_is_refused(tmp_path, monkeypatch):
    few = make_packages(tmp_path / "site", names=("numpy",), modules=3)
    monkeypatch.setattr(docs, "find_packages", lambda: few)
    with pytest.raises(UserError, match="too few") as error:
        docs.load_docs_task(TASKS["docs_pair"], str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="docs_order, docs_topic, docs_pair, docs_score"):
        docs.load_docs_task(TaskConfig(name="docs_other", loader="docs"), str(tmp_path))


def test_fingerprint_is_quick_and_follows_the_versions(tmp_path, monkeypatch):
    start = time.process_time()
    found = find_packages()
    first = docs.compute_docs_fingerprint()
    assert time.process_time() - start < 1.0
    assert {"stdlib", "numpy", "torch"} <= {package.name for package in found}
    monkeypatch.setattr(docs, "find_packages", lambda: found[::-1])
    assert first == docs.compute_docs_fingerprint()
    monkeypatch.setattr(docs, "find_packages", lambda: [Package(found[0].name, "0.0", found[0].root), *found[1:]])
    assert first != docs.compute_docs_fingerprint()
    assert list(tmp_path.iterdir()) == []


def test_import_is_light():
    code = "import sys, selfpretrain.sources.docs; sys.exit(any(name in sys.modules for name in ('torch', 'datasets', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
