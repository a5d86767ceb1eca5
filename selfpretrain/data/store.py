"""Token files: a corpus as one flat array on disk, in fairseq's memory-mapped indexed format.

    train.bin       the token ids of all documents, each document followed by the separator
    train.idx       where they are (:mod:`selfpretrain.sources.indexed`)
    dict.txt        entry and count per line, for fairseq; byte-level BPE only, see write_dictionary
    tokenizer/      what made the ids
    manifest.json   source, counts, notes, and the size and BLAKE2b checksum of every file

While they are written there are two more, which the manifest takes the place of: sizes.bin has the documents' sizes, and
progress.json says what a killed writer's files hold for certain, by shards of SHARD_BYTES of text.

[fairseq 0.12.2, data/indexed_dataset.py, MMapIndexedDataset]
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.files import compute_checksum, read_json, write_json
from selfpretrain.sources.fairseq_files import DICTIONARY, FIRST, check_order
from selfpretrain.sources.indexed import read_index, write_index

FORMAT_VERSION = 1  # of the whole folder; raised when the same text would give other files
MAX_UINT16_VOCAB = 65_500  # fairseq's limit for two-byte ids
PROGRESS, SIZES = "progress.json", "sizes.bin"
SHARD_BYTES = 64_000_000  # of text: what a kill can cost, and far more than it takes to flush and note it
COUNT_TOKENS = 1 << 16  # whose counts are taken at once, in eight bytes each
SIZE_TYPE = np.dtype("<i4")


def choose_dtype(vocab_size: int) -> npt.DTypeLike:
    """Two bytes per token where the ids fit [fairseq, best_fitting_int_dtype]."""
    return np.uint16 if vocab_size < MAX_UINT16_VOCAB else np.int32


@dataclass
class Written:
    """What token files hold so far, and what of the text that is."""

    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0
    empty_documents: int = 0  # read, and left out


class TokenWriter:
    """Appends documents to train.bin and, at the end of the block, writes train.idx; nothing is held in memory.

    In the folder of a writer that was killed it goes on after the last shard that was noted: ``written`` says where.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike):
        self.folder, self.dtype = folder, np.dtype(dtype)
        noted = folder / PROGRESS
        self.written = Written(**read_json(noted)) if noted.exists() else Written()
        self._noted_bytes = self.written.text_bytes

    def __enter__(self) -> TokenWriter:
        self._data: IO[bytes] = open(self._cut("train.bin", self.written.tokens * self.dtype.itemsize), "ab")
        self._sizes: IO[bytes] = open(self._cut(SIZES, self.written.documents * SIZE_TYPE.itemsize), "ab")
        return self

    def _cut(self, name: str, num_bytes: int) -> Path:
        """A file, without what was written after the last note."""
        file = self.folder / name
        found = file.stat().st_size if file.exists() else 0
        if found < num_bytes:
            raise _damaged(self.folder, name, f"{found} bytes, not {num_bytes}")
        if found > num_bytes:
            os.truncate(file, num_bytes)
        return file

    def append(
        self, sizes: npt.NDArray[np.int32], tokens: npt.NDArray[Any], num_bytes: int = 0, num_empty: int = 0
    ) -> None:
        """``sizes`` [N] tokens per document with its separator, ``tokens`` [sum of sizes] of the writer's dtype.

        They are ``num_bytes`` of text, in which were ``num_empty`` documents without a token.
        """
        assert tokens.dtype == self.dtype and len(tokens) == sizes.sum(dtype=np.int64)
        self._data.write(tokens.tobytes())
        self._sizes.write(sizes.astype(SIZE_TYPE).tobytes())
        written = self.written
        written.documents += len(sizes)
        written.tokens += len(tokens)
        written.text_bytes += num_bytes
        written.empty_documents += num_empty
        if written.text_bytes - self._noted_bytes >= SHARD_BYTES:
            self._note()

    def _note(self) -> None:
        for file in (self._data, self._sizes):
            file.flush()
            os.fsync(file.fileno())
        write_json(self.folder / PROGRESS, asdict(self.written))
        self._noted_bytes = self.written.text_bytes

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._noted_bytes:
            self._note()  # what follows may be killed as well
        self._data.close()
        self._sizes.close()
        if kind is None:
            write_index(self.folder / "train.idx", np.fromfile(self.folder / SIZES, SIZE_TYPE), self.dtype)


def count_tokens(folder: Path, dtype: npt.DTypeLike, vocab_size: int) -> npt.NDArray[np.int64]:
    """How often train.bin has each entry, [vocab_size]."""
    tokens = np.memmap(folder / "train.bin", dtype=dtype, mode="r")
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(tokens), COUNT_TOKENS):
        counts += np.bincount(tokens[start : start + COUNT_TOKENS], minlength=vocab_size)
    return counts


@dataclass(frozen=True)
class TokenFile:
    """An open corpus. ``tokens`` [total_tokens] is mapped, not read; ``sizes`` [num_docs] count the separator too."""

    folder: Path
    tokens: npt.NDArray[Any]
    sizes: npt.NDArray[np.int32]
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, verify: bool = True) -> TokenFile:
        """Map a corpus folder; ``verify`` reads every file once and compares checksums.

        Raises UserError, naming the file, for anything missing, cut short, changed or of another format.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for name, expected in manifest["files"].items():
            _check_file(folder, name, expected, verify)
        sizes, dtype = _read_index(folder)
        if int(sizes.sum(dtype=np.int64)) != manifest["tokens"] or len(sizes) != manifest["documents"]:
            raise _damaged(folder, "train.idx", "the counts differ from manifest.json")
        if manifest["tokens"] * np.dtype(dtype).itemsize != (folder / "train.bin").stat().st_size:
            raise _damaged(folder, "train.bin", "the length differs from train.idx")
        tokens = np.memmap(folder / "train.bin", dtype=dtype, mode="r")
        return cls(folder, tokens, sizes, manifest)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a corpus folder, its files compared with their checksums."""
    for name, expected in read_manifest(folder)["files"].items():
        if name.startswith("tokenizer/"):
            _check_file(folder, name, expected, verify=True)
    return Tokenizer.load(folder / "tokenizer")


def _damaged(folder: Path, name: str, reason: str) -> UserError:
    return UserError(f"{folder / name} is damaged ({reason}); delete the folder {folder} and run again")


def has_manifest(folder: Path) -> bool:
    """Whether a folder was written to its end."""
    return (folder / "manifest.json").is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """A corpus's manifest, its own checksum compared; UserError where it is missing, damaged or of another format."""
    file = folder / "manifest.json"
    if not has_manifest(folder):
        raise UserError(f"{folder} is not a corpus: it holds no manifest.json; delete the folder and run again")
    try:
        manifest = read_json(file)
        intact = manifest["checksum"] == compute_manifest_checksum(manifest)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise _damaged(folder, file.name, "its content does not match its checksum")
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{folder} has format {manifest['format_version']}, this version reads {FORMAT_VERSION}; "
            "delete the folder and run again"
        )
    return manifest


def _check_file(folder: Path, name: str, expected: dict[str, Any], verify: bool) -> None:
    file = folder / name
    if not file.is_file():
        reason = "missing"
    elif file.stat().st_size != expected["bytes"]:
        reason = f"{file.stat().st_size} bytes, not {expected['bytes']}"
    elif verify and compute_checksum(file) != expected["blake2b"]:
        reason = "its content does not match its checksum"
    else:
        return
    raise _damaged(folder, name, reason)


def _read_index(folder: Path) -> tuple[npt.NDArray[np.int32], type[np.uint16] | type[np.int32]]:
    try:
        return read_index(folder / "train.idx")
    except ValueError as error:
        raise _damaged(folder, "train.idx", str(error)) from None


def compute_manifest_checksum(manifest: dict[str, Any]) -> str:
    """BLAKE2b (hex) of a manifest without its own ``checksum``."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=32).hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, with size and checksum of every file in the folder; it has to be the last one written."""
    for name in (PROGRESS, SIZES):
        (folder / name).unlink(missing_ok=True)
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "blake2b": compute_checksum(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    # through JSON once, so that the checksum is of what a reader will see
    complete = json.loads(json.dumps({**manifest, "format_version": FORMAT_VERSION, "files": files}, allow_nan=False))
    write_json(folder / "manifest.json", {**complete, "checksum": compute_manifest_checksum(complete)})


def write_dictionary(folder: Path, tokenizer: Tokenizer, counts: npt.NDArray[np.int64]) -> str:
    """Write dict.txt so that fairseq's ids equal ours; returns why there is none, or an empty string.

    fairseq's Dictionary puts <s> <pad> </s> <unk> before the lines of the file, and its masked_lm task adds <mask>
    after them. WordPiece puts [PAD] [UNK] [CLS] [SEP] [MASK] first, so no file can give the same ids; the token
    files themselves are in the same format. ``counts`` [vocab_size] are the occurrences in the corpus.
    """
    tokens, ordinary = tokenizer.get_tokens(), slice(len(FIRST), -1)
    try:
        check_order(tokens)
    except UserError as error:
        return f"no dict.txt: {error}"
    rows = zip(tokens[ordinary], counts[ordinary].tolist(), strict=True)
    (folder / DICTIONARY).write_text("".join(f"{token} {count}\n" for token, count in rows), encoding="utf-8")
    return ""
