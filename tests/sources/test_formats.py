"""What a file is, is seen from its bytes; what cannot be read is refused with the right cure."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile

import pyarrow
import pyarrow.feather
import pytest

from selfpretrain.config import UserError
from selfpretrain.sources.tables import read_table

CSV = "text,label\nthe café’s price is 5 €,1\nplain,0\n"
TEXT = "the café’s price is 5 €"


def pack_zip(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (CSV.encode(), "CSV, commas, UTF-8"),
        (CSV.encode("utf-8-sig"), "CSV, commas, UTF-8"),
        (CSV.encode("utf-16"), "CSV, commas, UTF-16"),
        (codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"), "CSV, commas, UTF-16"),
        (CSV.encode("utf-16-le"), "CSV, commas, UTF-16-LE"),
        (CSV.encode("utf-32"), "CSV, commas, UTF-32"),
        (CSV.encode("cp1252"), "CSV, commas, cp1252, as it is not UTF-8; task.encoding=<name> reads it otherwise"),
        (gzip.compress(CSV.encode(), mtime=0), "CSV, commas, UTF-8, gzip"),
        (bz2.compress(CSV.encode()), "CSV, commas, UTF-8, bzip2"),
        (lzma.compress(CSV.encode("utf-16")), "CSV, commas, UTF-16, xz"),
        (pack_zip(**{"data.csv": CSV, "__MACOSX/._data.csv": "x"}), "CSV, commas, UTF-8, zip"),
        (gzip.compress(CSV.replace(",", "\t").encode(), mtime=0), "TSV, tabs, UTF-8, gzip"),
    ],
)
def test_recognised_whatever_the_extension(tmp_path, content, form):
    for name in ("data.csv", "data.jsonl.gz"[:8], "data"):
        (tmp_path / name).write_bytes(content)
        table = read_table(tmp_path / name, "task.path")
        assert table.columns["text"][0] == TEXT
        assert table.form == form


def test_latin1_with_letters_only(tmp_path):
    (tmp_path / "x.csv").write_bytes("text,label\nSpaß für Zoë,1\n".encode("latin-1"))
    assert read_table(tmp_path / "x.csv", "task.path").columns["text"] == ("Spaß für Zoë",)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("это русский текст", "cp1251"),
        ("one Russian текст among many others that are English", "cp1251"),
        ("日本語の文章です", "shift_jis"),
        ("zażółć gęślą jaźń", "cp1250"),
        ("güneş ışığı çok sıcak", "cp1254"),
    ],
)
def test_other_encodings_are_named_not_guessed(tmp_path, text, encoding):
    path = tmp_path / "x.csv"
    path.write_bytes(f"text,label\n{text},1\n".encode(encoding))
    with pytest.raises(
        UserError, match=r"is not UTF-8 \(byte .*, line 2, is 0x..\).*; name its encoding: task.encoding="
    ):
        read_table(path, "task.path")
    assert read_table(path, "task.path", encoding=encoding).columns["text"] == (text,)
    with pytest.raises(UserError, match=r"task.encoding=klingon is not known; allowed: utf-8"):
        read_table(path, "task.path", encoding="klingon")


def test_damaged_utf8_is_not_read_as_something_else(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("text,label\nä é ü ö,1\n".encode() + b"broken \xe9,0\n")
    with pytest.raises(UserError, match=r"is UTF-8 with damage .byte 32, line 3, is 0xe9"):
        read_table(path, "task.path")


def make_feather() -> bytes:
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"text": ["a"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pack_zip(**{"xl/workbook.xml": "", "[Content_Types].xml": ""}), "is an Excel workbook (.xlsx); open it and save it"),
        (pack_zip(a="1", b="2"), "is a zip archive of 2 files (a, b); unpack it and name one"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook (.xls)"),
        (make_feather(), "is an Arrow (Feather) file; with pandas: pandas.read_feather"),
        (b"\x80\x04\x95\x10\x00", "is a pickle"),
        (b"<!DOCTYPE html>\n<html>", "is a web page or XML; download the data file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer, not the data; fetch"),
        (b"\x28\xb5\x2f\xfd\x00", "is compressed by zstd; unpack it"),
        (gzip.compress(b"x" * 257 + b"ustar" + b"x" * 300, mtime=0), "is a tar archive"),
        (gzip.compress(CSV.encode() * 100, mtime=0)[:-20], "gzip, but"),
        (b"text,label\na\0b,1\n", "is no text (a zero byte"),
    ],
)  # fmt: skip
def test_foreign_files_are_refused_by_name(tmp_path, content, words):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_table(tmp_path / "x.csv", "task.path")
    assert words in str(error.value) and "\n" not in str(error.value)
