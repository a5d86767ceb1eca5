"""What a file is, seen from its bytes and never from its name: compression, kind, encoding.

What cannot be read is refused by name, with what to do about it.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from selfpretrain.config import UserError

COMPRESSIONS: dict[str, tuple[bytes, Callable[[bytes], bytes], Callable[[Path], Any]]] = {
    "gzip": (b"\x1f\x8b", gzip.decompress, gzip.open),
    "bzip2": (b"BZh", bz2.decompress, bz2.open),
    "xz": (b"\xfd7zXZ\x00", lzma.decompress, lzma.open),
}
UNPACK_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PARQUET = b"PAR1"
AS_CSV = "save it as CSV (UTF-8)"
WITH_PANDAS = "with pandas: pandas.{}(...).to_parquet('data.parquet')"
# first bytes, what the file is, and the cure
REFUSED: list[tuple[bytes | tuple[bytes, ...], str, str]] = [
    (b"ARROW1", "an Arrow (Feather) file", WITH_PANDAS.format("read_feather")),
    (b"FEA1", "a Feather file", WITH_PANDAS.format("read_feather")),
    (b"\xff\xff\xff\xff", "an Arrow stream, as data sets are cached", "write it with Dataset.to_parquet('data.parquet')"),
    (b"ORC", "an ORC file", WITH_PANDAS.format("read_orc")),
    (b"Obj\x01", "an Avro file", "write it as Parquet or CSV"),
    (b"\x89HDF", "an HDF5 file", WITH_PANDAS.format("read_hdf")),
    (b"\x93NUMPY", "a NumPy array", AS_CSV),
    (b"SQLite format 3", "an SQLite data base", "export the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", f"open it and {AS_CSV}"),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle", WITH_PANDAS.format("read_pickle")),
    (b"%PDF", "a PDF", AS_CSV),
    (b"{\\rtf", "an RTF document", AS_CSV),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: zstd -d"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "unpack it: lz4 -d"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "fetch the data: git lfs pull"),
]  # fmt: skip
# the longer marks first: UTF-32 LE begins as UTF-16 LE does
MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
]  # fmt: skip
# what the upper half of Windows-1252 means in Western European text: its letters (thorn and eth are more often the
# Turkish letters of another encoding), and the signs of typography and trade
_LETTERS = "\u00c0-\u00cf\u00d1-\u00d6\u00d8-\u00dd\u00df-\u00ef\u00f1-\u00f6\u00f8-\u00fd\u00ff\u0152\u0153\u0178"
_SIGNS = ("\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014\u2026\u2022\u2122\u20ac\u2039\u203a\xa0\xa1\xa2\xa3\xa5"
          "\xa7\xa9\xaa\xab\xad\xae\xb0\xb1\xb2\xb3\xb4\xb5\xb7\xba\xbb\xbc\xbd\xbe\xbf\xd7\xf7")  # fmt: skip
_WESTERN = re.compile(f"[\0-\x7f{_LETTERS}{_SIGNS}]+")
_ACCENTS_ONLY = re.compile(f"[{_LETTERS}]{{3}}")  # as Cyrillic or Greek words come out
_INSIDE_WORDS = re.compile(r"[^\W\d_][\xa1-\xb6\xb8-\xbf\xd7\xf7][^\W\d_]")  # a sign between letters: another encoding
_UTF8_SEQUENCE = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
MAX_WESTERN_SHARE = 0.25  # of the letters; where more have accents it is no Western European language
COMMON_ENCODINGS = "cp1252, cp1250, cp1251, latin1, mac_roman, shift_jis, gb18030, big5, euc_kr"


class Content(NamedTuple):
    """What a reader found in a file."""

    names: Sequence[str]  # of the columns; one may stand twice, or be empty
    columns: Sequence[Sequence[Any]]
    num_rows: int
    form: str  # "CSV, semicolons"


def unpack(content: bytes, given: str) -> tuple[bytes, list[str]]:
    """The bytes inside of gzip, bzip2, xz or a zip of one file, and what was unpacked; ``given`` names the file."""
    steps: list[str] = []
    while True:
        name = _see_compression(content)
        try:
            if name is not None:
                content = COMPRESSIONS[name][1](content)
            elif content.startswith(ZIP):
                name, content = "zip", _unpack_zip(content, given)
            else:
                return content, steps
        except (*UNPACK_ERRORS, zipfile.BadZipFile) as error:
            raise UserError(f"{given} cannot be read: {name or 'zip'}, but {error}; copy the file again") from error
        steps.append(name)


def open_unpacked(path: Path) -> tuple[IO[bytes], list[str]]:
    """A file to be read bit by bit, unpacked once where it is packed by gzip, bzip2 or xz, and what was unpacked."""
    with open(path, "rb") as file:
        name = _see_compression(file.read(8))
    return (COMPRESSIONS[name][2](path), [name]) if name else (open(path, "rb"), [])


def _see_compression(content: bytes) -> str | None:
    return next((name for name, (magic, *_) in COMPRESSIONS.items() if content.startswith(magic)), None)


def _unpack_zip(content: bytes, given: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if any(name.startswith("xl/") for name in names):
            raise UserError(f"{given} is an Excel workbook (.xlsx); open it and {AS_CSV}")
        if "mimetype" in names or "[Content_Types].xml" in names:
            raise UserError(f"{given} is an office document; open it and {AS_CSV}")
        files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if len(files) != 1:
            listed = ", ".join(files[:5]) or "nothing"
            raise UserError(
                f"{given} is a zip archive of {len(files)} files ({listed}); unpack it and name one of them"
            )
        if archive.getinfo(files[0]).flag_bits & 1:
            raise UserError(f"{given} is a zip archive with a password; unpack it first")
        return archive.read(files[0])


def refuse_foreign(content: bytes, given: str) -> None:
    """Raise UserError for a file of a kind that is known and is no table of ours."""
    for magic, kind, cure in REFUSED:
        if content.startswith(magic):
            raise UserError(f"{given} is {kind}; {cure}")
    if content[257:262] == b"ustar":
        raise UserError(f"{given} is a tar archive; unpack it and name one of its files")
    if re.match(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|!--)", content[:200], re.IGNORECASE):
        raise UserError(f"{given} is a web page or XML; download the data file itself, or {AS_CSV}")


def decode(content: bytes, given: str, encoding: str | None) -> tuple[str, str]:
    """The text and the name of its encoding: as ``encoding`` says, by its mark, UTF-8, or recognised."""
    chosen = encoding or next((name for mark, name in MARKS if content.startswith(mark)), None) or _see_utf16(content)
    try:
        text = content.decode(chosen or "utf-8").removeprefix("\ufeff")
    except LookupError:
        raise UserError(
            f"task.encoding={encoding} is not known; allowed: utf-8, utf-16, {COMMON_ENCODINGS}, ..."
        ) from None
    except UnicodeDecodeError as error:
        if chosen is None:
            return _decode_western(content, given, error)
        cure = f"; choose another task.encoding: utf-8, {COMMON_ENCODINGS}" if encoding else "; copy the file again"
        raise UserError(f"{given} is not {_format_name(chosen)}: {error.reason} at byte {error.start}{cure}") from error
    if "\0" in text:
        raise UserError(
            f"{given} is no text (a zero byte at character {text.index(chr(0))}); give a CSV, JSON or Parquet file"
        )
    return text, _format_name(chosen or "utf-8")


def _format_name(encoding: str) -> str:
    name = encoding.removesuffix("-sig")
    return name.upper() if name.lower().startswith("utf") else name


def _see_utf16(content: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of Latin text is zero."""
    head = content[:2000]
    if len(head) < 4:
        return None
    even, odd = head[0::2].count(0) / len(head[0::2]), head[1::2].count(0) / len(head[1::2])
    if max(even, odd) < 0.5 or min(even, odd) > 0.1:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _decode_western(content: bytes, given: str, error: UnicodeDecodeError) -> tuple[str, str]:
    """Windows-1252 (of which Latin-1's letters are a part), where it gives plausible Western European text."""
    line = content.count(b"\n", 0, error.start) + 1
    place = f"byte {error.start}, line {line}, is 0x{content[error.start]:02x}"
    high_bytes = len(content) - len(content.translate(None, bytes(range(128, 256))))
    if 2 * sum(map(len, _UTF8_SEQUENCE.findall(content))) > high_bytes:  # as cp1252 a letter would come out as two
        raise UserError(
            f"{given} is UTF-8 with damage ({place}); write that character anew, or name another encoding: "
            f"task.encoding=<one of {COMMON_ENCODINGS}, ...>"
        )
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    few = len(re.findall(f"[{_LETTERS}]", text)) <= MAX_WESTERN_SHARE * sum(map(str.isalpha, text))
    if few and _WESTERN.fullmatch(text) and not _INSIDE_WORDS.search(text) and not _ACCENTS_ONLY.search(text):
        return text, "cp1252, as it is not UTF-8; task.encoding=<name> reads it otherwise"
    raise UserError(
        f"{given} is not UTF-8 ({place}) and no Western European text either; name its encoding: "
        f"task.encoding=<one of {COMMON_ENCODINGS}, ...>"
    )
