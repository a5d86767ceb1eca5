"""Files are read as they are, and every mistake in one is refused in a line that names the row."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from selfpretrain.config import UserError
from selfpretrain.sources.tables import read_table

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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("bom.csv", "\ufeff" + CSV),
        ("blank_lines.csv", CSV + "\n\n"),
        ("x.csv.gz", CSV),
        ("x", CSV),
        ("semicolons.csv", CSV.replace(",", ";").replace("; text", ", text")),
        ("pipes.txt", CSV.replace(",", "|").replace("| text", ", text")),
        ("excel.csv", "sep=;\r\n" + CSV.replace(",", ";").replace("; text", ", text")),
        ("delimiters_at_the_ends.csv", CSV.replace("label\n", "label,,,\n")),
        ("and_in_the_rows.csv", CSV.replace("1\n", "1,,\n")),
        ("x.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("x.csv", json.dumps(ROWS)),
        ("indented.json", json.dumps(ROWS, indent=1)),
        ("indented.jsonl", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
        ("inside.json", json.dumps({"version": 1, "data": ROWS})),
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


def test_quotes_in_tsv_are_characters(tmp_path):
    rows = ["text\tlabel", *(f"row {n}\t0" for n in range(4)), '"opened here\t1', "row 5\t0", 'closed"\t1']
    table = read_table(write(tmp_path / "x.csv", "\n".join(rows)), "task.path")
    assert table.num_rows == 7
    assert table.columns["text"][4:] == ('"opened here', "row 5", 'closed"')
    assert table.form == "TSV, tabs, UTF-8"


def test_tsv_with_every_name_in_quotes(tmp_path):
    path = write(tmp_path / "x.tsv", '"text"\t"label"\n"a ""b"""\t1\nc\t"0"\n')
    assert read_table(path, "task.path").columns == {"text": ('a "b"', "c"), "label": ("1", "0")}


def test_a_quote_that_swallows_rows(tmp_path):
    rows = [f"text {n},c{n % 2}" for n in range(20)]
    rows[3], rows[9] = '"' + rows[3], 'an inch is 1",c1'
    message = refuse(write(tmp_path / "x.csv", "\n".join(["text,label", *rows])))
    assert "row 4 (to line 11): a quote opens a cell that runs over several rows" in message
    swapped = [f"c{n % 2},text {n}" for n in range(20)]
    swapped[3], swapped[4] = 'c1,"text 3', 'c0,text 4"'
    message = refuse(write(tmp_path / "z.csv", "\n".join(["label,text", *swapped])))
    assert "row 4 (to line 6): a quote opens a cell that runs over several rows, such as 'c0,text 4'" in message
    whole = ['"text of three\nlines, with\ncommas, too",c1' if n == 3 else row for n, row in enumerate(rows) if n != 9]
    table = read_table(write(tmp_path / "y.csv", "\n".join(["text,label", *whole])), "task.path")
    assert table.columns["text"][3] == "text of three\nlines, with\ncommas, too"


def test_the_delimiter_can_be_named(tmp_path):
    path = write(tmp_path / "x.csv", "text^label\na, b^1\n")
    assert list(read_table(path, "task.path", "^").columns) == ["text", "label"]
    with pytest.raises(UserError, match=r"task.delimiter=,, is not one character; allowed: comma, semicolon, tab"):
        read_table(path, "task.path", ",,")


def test_columns_that_nobody_asks_for(tmp_path):
    table = read_table(write(tmp_path / "x.csv", "label,text,,note,note\n1,a,,x,y\n0,b,,x,y\n"), "task.path")
    assert list(table.columns) == ["label", "text"]
    for get in (table, read_table(write(tmp_path / "x.jsonl", '{"text": "a", "note": 1, "note": 2}'), "task.path")):
        with pytest.raises(UserError, match=r"has two columns named 'note'; rename one of them, then set task.text"):
            get.get("note", "task.text")


def test_a_parquet_column_that_stands_twice(tmp_path):
    arrays = [pyarrow.array(["a", "b"])] * 3
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=["text", "x", "x"]), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", "task.path")
    assert table.columns == {"text": ["a", "b"]}
    with pytest.raises(UserError, match="two columns named 'x'"):
        table.get("x", "task.label")


COUNT_THREADS = """
import os, pathlib, sys
import pyarrow.parquet
from selfpretrain.sources.tables import read_table
before = len(os.listdir("/proc/self/task"))
read_table(pathlib.Path(sys.argv[1]), "task.path")
sys.exit(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux lists them")
def test_reading_parquet_leaves_no_thread(tmp_path):
    """One that is alive when the interpreter ends may abort the process, whose exit code is then 134."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS * 20), tmp_path / "x.parquet")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", COUNT_THREADS, str(tmp_path / "x.parquet")], cwd=root)
    assert done.returncode == 0


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
        ("x.csv", "text,label\nfine,1\na,b,c\n", "row 2 (line 3) has 3 fields, the header has 2"),
        ("x.csv", 'text,label\nfine,1\n"open,1\n', "row 2"),
        ("x.csv", 'text,label\n"a "b" c",1\n', "row 1 (from line 2): ',' expected after '\"'; a quote inside"),
        ("x.tsv", 'text\tlabel\n"two\nlines"\t1\n', "row 1 (line 2) has 1 fields, the header has 2, split at tabs"),
        ("x.csv", CSV * 2, "row 4 repeats the header; remove that line"),
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("x.jsonl", '["a"]\n', "line 1 is not a JSON object"),
        ("x.jsonl", '["a", "b"]', "row 1 is not a JSON object"),
        ("x.json", '{"text": ["a", "b"], "label": [0, 1]}', "one JSON object with the columns 'text', 'label'"),
        ("x.json", "{'text': 'a'}", "write it with json.dumps"),
        ("x.parquet", b"PAR1" + b"\0" * 50, "cannot be read as Parquet"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, words):
    assert words in refuse(write(tmp_path / name, content))


def test_missing_file_folder_and_damaged_archive(tmp_path):
    assert "does not exist" in refuse(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refuse(tmp_path / "folder.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(CSV.encode() * 100)[:-20])
    assert "cannot be read" in refuse(tmp_path / "cut.csv.gz")
