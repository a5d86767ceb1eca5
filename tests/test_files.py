"""Writing survives a kill: the whole new file, or the old one, and nothing beside it."""

from __future__ import annotations

import errno
import os

import pytest

from selfpretrain import files
from selfpretrain.config import UserError
from selfpretrain.files import FILE_LIST, replace_files, to_stem, write_bytes


def fail_with(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_replaced_whole(tmp_path):
    files.write_text(tmp_path / "a", "old")
    files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "replace", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), sync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names))[1])
    files.write_bytes(tmp_path / "a", b"x" * 100_000)
    assert order == ["sync", "rename"]
    order.clear()
    with files.new_folder(tmp_path / "folder") as new:
        (new / "b").write_text("b")
    assert order == ["sync", "sync", "rename", "sync"]  # the file, its folder, the name, the folder that holds the name


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_full_or_closed_disk_is_one_line_with_the_override(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    for write in (lambda: files.write_text(tmp_path / "a", "x"), lambda: write_folder(tmp_path / "b")):
        with pytest.raises(UserError, match=r"runtime.runs_dir") as error:
            write()
        assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def write_folder(path):
    with files.new_folder(path) as new:
        (new / "x").write_text("x")


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "runs").write_text("")
    for path in (tmp_path / "runs", tmp_path / "runs" / "pretrain"):
        with pytest.raises(UserError, match="a file stands where a folder is needed"):
            files.make_folder(path)


def test_json_is_readable_and_never_nan(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1.5, None], "a": "Straße"})
    assert files.read_json(tmp_path / "a.json") == {"a": "Straße", "b": [1.5, None]}
    assert "Straße" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert files.read_json(tmp_path / "a.json")["a"] == "Straße"


def test_a_folder_with_work_worth_keeping_stays_and_is_gone_on_in(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(KeyboardInterrupt), files.new_folder(folder, "noted") as first:
        (first / "a").write_text("x")
        (first / "noted").write_text("")
        raise KeyboardInterrupt
    assert not folder.exists()
    with files.new_folder(folder, "noted") as second:
        assert (second, (second / "a").read_text()) == (first, "x")
        (second / "noted").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(KeyboardInterrupt), files.new_folder(folder, "noted") as third:
        raise KeyboardInterrupt
    assert not third.exists()


def test_a_new_folder_replaces_the_old_one_only_when_the_block_ends_well(tmp_path):
    folder = tmp_path / "deep" / "folder"
    write_folder(folder)
    with pytest.raises(RuntimeError, match="stop"), files.new_folder(folder) as new:
        (new / "half").write_text("")
        raise RuntimeError("stop")
    assert os.listdir(folder) == ["x"]
    with files.new_folder(folder) as new:
        (new / "y").write_text("y")
    assert os.listdir(folder) == ["y"]
    assert os.listdir(folder.parent) == ["folder"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".folder.0badcafe.new").mkdir()
    (tmp_path / ".folder2.0badcafe.new").mkdir()  # another folder's: not ours to remove
    write_folder(tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == [".folder2.0badcafe.new", "folder"]


def test_a_folder_loses_its_name_before_its_files(tmp_path, monkeypatch):
    write_folder(tmp_path / "folder")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        files.remove_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".status.0badcafe.tmp").write_text("runn")
    (tmp_path / "kept" / "status").write_text("running")
    (tmp_path / "kept" / ".theirs.tmp").write_text("not written by us")
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]
    assert sorted(os.listdir(tmp_path / "kept")) == [".theirs.tmp", "status"]
    files.remove_leftovers(tmp_path / "absent")


def test_a_place_where_no_folder_can_be_made(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(files.CannotWrite, match="no folder can be made there; "):
        files.make_folder(tmp_path / "nowhere" / "x")


def test_files_of_an_earlier_call_go_and_other_peoples_stay(tmp_path):
    replace_files(tmp_path, {"a.csv": b"1", "b.csv": b"2"})
    (tmp_path / "mine.csv").write_text("3")
    replace_files(tmp_path, {"b.csv": b"4"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != FILE_LIST} == {
        "b.csv": b"4", "mine.csv": b"3",
    }  # fmt: skip


def test_a_kill_between_two_files_leaves_none_unknown(tmp_path, monkeypatch):
    replace_files(tmp_path, {"a.csv": b"1"})
    with monkeypatch.context() as patch:
        patch.setattr(
            files, "write_bytes", lambda path, data: write_bytes(path, data) if path.suffix == ".json" else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            replace_files(tmp_path, {"b.csv": b"2"})
    (tmp_path / "b.csv").write_text("2")  # as far as it came
    replace_files(tmp_path, {"c.csv": b"3"})
    assert {path.name for path in tmp_path.iterdir()} == {"c.csv", FILE_LIST}


def test_a_long_name_is_cut_and_stays_its_own():
    one, other = to_stem("é" * 300 + "1"), to_stem("é" * 300 + "2")
    assert one != other and max(len(os.fsencode(name)) for name in (one, other)) <= 150
    assert to_stem("a b/c.d-e_f") == "a_b_c.d-e_f"
