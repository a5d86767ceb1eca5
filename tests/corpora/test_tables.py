"""Files are read as they are, and every mistake in one is refused in a line that names the row."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from corpora.tables import read_table
from selfpretrain.config import UserError

ROWS = [
    {"text": 'a "quoted", text', "label": "1"},
    {"text": "two\nlines", "label": "0"},
    {"text": "NA", "label": "nan"},
]


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_table(path, "task.path")
    message = str(error.value)
    assert path.name in message and "\n" not in message
    return message


CSV = 'text,label\n"a ""quoted"", text",1\n"two\nlines",0\nNA,nan\n'
TSV = 'text\tlabel\n"a ""quoted"", text"\t1\n"two\nlines"\t0\nNA\tnan\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("bom.csv", "\ufeff" + CSV),
        ("blank_lines.csv", CSV + "\n\n"),
        ("x.csv.gz", CSV),
        ("x.tsv", TSV),
        ("x.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("x.jsonl.gz", "\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
    ],
)  # fmt: skip
def test_formats_give_the_same_rows(tmp_path, name, content):
    table = read_table(write(tmp_path / name, content), "task.path")
    assert table.num_rows == 3
    assert list(table.columns["text"]) == [row["text"] for row in ROWS]
    assert list(table.columns["label"]) == ["1", "0", "nan"]


def test_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", "task.path")
    assert table.columns["text"] == [row["text"] for row in ROWS]


def test_tsv_with_bare_quotes(tmp_path):
    path = write(tmp_path / "x.tsv", 'text\tlabel\n"hello" he said\t1\nfive inches 5"\t0\n')
    assert list(read_table(path, "task.path").columns["text"]) == ['"hello" he said', 'five inches 5"']


def test_line_separators_inside_json_strings(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"text": "a\u2028b"}\n{"text": "c"}')
    assert read_table(path, "task.path").columns["text"] == ["a\u2028b", "c"]


def test_missing_column_lists_columns(tmp_path):
    table = read_table(write(tmp_path / "x.csv", CSV), "task.path")
    with pytest.raises(UserError, match=r"no column 'body'; its columns are 'text', 'label': set task.text="):
        table.get("body", "task.text")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", "is empty"),
        ("blank.jsonl", " \n\n", "is empty"),
        ("header.csv", "text,label\n", "no rows"),
        ("x.xlsx", "text", "extension .xlsx is not known; allowed: .csv, .tsv, .jsonl, .parquet"),
        ("noextension", "text", "extension (none)"),
        ("x.csv", "text,label\nfine,1\na,b,c\n", "row 2 (line 3) has 3 fields, the header has 2"),
        ("x.csv", 'text,label\nfine,1\n"open,1\n', "row 2"),
        ("x.csv", "text,text\na,b\n", "two columns named 'text'"),
        ("x.csv", "text,label\ncaf\xe9,1\n".encode("latin-1"), "not UTF-8: byte 14 (line 2) is 0xe9"),
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("x.jsonl", '["a"]\n', "line 1 is not a JSON object"),
        ("x.parquet", "text,label\na,1\n", "cannot be read as Parquet"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, words):
    assert words in refuse(write(tmp_path / name, content))


def test_missing_file_folder_and_damaged_archive(tmp_path):
    assert "does not exist" in refuse(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refuse(tmp_path / "folder.csv")
    (tmp_path / "x.csv.gz").write_bytes(b"text,label\na,1\n")
    assert "cannot be read" in refuse(tmp_path / "x.csv.gz")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(CSV.encode() * 100)[:-20])
    assert "cannot be read" in refuse(tmp_path / "cut.csv.gz")
