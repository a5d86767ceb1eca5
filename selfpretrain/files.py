"""Writing that survives a kill: a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfpretrain.config import UserError


class CannotWrite(UserError):
    """A file or folder that cannot be written: a full or read-only disk, no permission, or a file in its place."""


class Damaged(UserError):
    """A file of ours that was cut short or changed, with what to delete: the same command then makes it anew."""

    def __init__(self, path: Path, cure: Path | None = None, reason: str = "it was cut short or changed"):
        super().__init__(f"{path} is damaged ({reason}); delete {cure or path} and run the command again")


LONGEST_STEM = 150  # bytes; file systems take 255, with what is added to it
FILE_LIST = ".files.json"  # which files of a folder are ours
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp|new)")  # the names under which files and folders are written

WRITE_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space, or set runtime.runs_dir to another disk",
    errno.EDQUOT: "the quota is used up; free some space, or set runtime.runs_dir to another disk",
    errno.EROFS: "the file system is read-only; set runtime.runs_dir to a folder that can be written",
    errno.EACCES: "permission denied; set runtime.runs_dir to a folder that can be written",
    errno.EPERM: "not permitted; set runtime.runs_dir to a folder that can be written",
    errno.ENOTDIR: "a file stands where a folder is needed; set runtime.runs_dir to a folder",
    errno.EEXIST: "a file stands where a folder is needed; set runtime.runs_dir to a folder",
}


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line for the user; any other OSError passes."""
    try:
        yield
    except OSError as error:
        if error.errno in WRITE_ERRORS:
            raise CannotWrite(f"cannot write {path}: {WRITE_ERRORS[error.errno]}") from None
        raise


def sync_file(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> Path:
    """Create a folder with its parents; UserError where that is impossible."""
    with explain_write_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # with its parents made: a file system that holds no folders of ours, as /proc
            raise CannotWrite(
                f"cannot write {path}: no folder can be made there; set runtime.runs_dir to another place"
            ) from None
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with explain_write_errors(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write sorted, readable JSON; NaN is refused (it is not JSON)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, cure: Path | None = None) -> Any:
    """The value in a JSON file; Damaged where it holds none, which says to delete ``cure``, the file itself if not given."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # of the bytes, or of the JSON
        raise Damaged(path, cure) from None


def compute_checksum(file: Path, algorithm: str = "blake2b") -> str:
    """BLAKE2b (32 bytes) or SHA-256 of a file in hex, read in blocks."""
    digest = hashlib.sha256() if algorithm == "sha256" else hashlib.blake2b(digest_size=32)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_folder(path: Path) -> None:
    """Remove a folder; killed on the way it has lost its name, so that nobody takes what is left for the whole."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder half-written or half-removed, at any depth.

    Call it under the folder's lock, and for a folder of ours alone: never for one that the user chose.
    """
    for path in list(folder.rglob(".*")):
        if not LEFTOVER.fullmatch(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def replace_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write these files; those that an earlier call wrote and this one does not are removed, whatever else is there stays."""
    remove_leftovers(folder)
    noted = folder / FILE_LIST
    before = set(read_json(noted)) if noted.exists() else set()
    write_json(noted, sorted(before | content.keys()))  # first, so that a kill leaves nothing unknown
    for name in before - content.keys():
        (folder / name).unlink(missing_ok=True)
    for name, data in content.items():
        write_bytes(folder / name, data)
    write_json(noted, sorted(content))


@contextmanager
def new_folder(path: Path, noted: str = "") -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    Left-overs of killed processes (same name, other suffix) are removed first: call it under the folder's lock. One that
    holds the file ``noted`` has work in it that is worth keeping: it stays, and the next call goes on in it.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    for stale in path.parent.glob(f".{path.name}.*.new"):
        if noted and (stale / noted).exists():
            temporary = stale
        else:
            shutil.rmtree(stale, ignore_errors=True)
    with explain_write_errors(path):
        try:
            temporary.mkdir(exist_ok=True)
            yield temporary
            for file in (*temporary.rglob("*"), temporary):
                sync_file(file)
            if path.exists():
                remove_folder(path)
            os.replace(temporary, path)
            sync_file(path.parent)
        finally:
            if not (noted and (temporary / noted).exists()):
                shutil.rmtree(temporary, ignore_errors=True)


def to_stem(name: str) -> str:
    """A name as part of a file's: what might not be allowed there becomes an underscore, and a long one is cut."""
    stem = "".join(character if character.isalnum() or character in "._-" else "_" for character in name)
    if len(os.fsencode(stem)) <= LONGEST_STEM:
        return stem
    digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{os.fsencode(stem)[: LONGEST_STEM - 9].decode(errors='ignore')}-{digest}"


def build_folder(
    path: Path,
    write: Callable[[Path], None],
    progress: bool = False,
    is_whole: Callable[[Path], bool] = Path.exists,
    noted: str = "",
) -> Path:
    """``path``, which ``write`` fills if it is not there, or not whole; complete or absent at any time.

    Of two processes at once one builds it and the other waits, and says so where there is ``progress``. The lock,
    ``<path>.lock``, is freed by the operating system when its holder dies. ``noted`` is that of :func:`new_folder`.
    """
    if is_whole(path):
        return path
    make_folder(path.parent)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    with explain_write_errors(path):
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            if progress:
                print(f"{path.parent.name}/{path.name}: another process builds it, waiting", file=sys.stderr)
            held = lock.acquire()
    with held:
        if not is_whole(path):
            if path.is_dir():
                print(f"selfpretrain: {path} is damaged and made anew", file=sys.stderr)
            with new_folder(path, noted) as new:
                write(new)
    return path
