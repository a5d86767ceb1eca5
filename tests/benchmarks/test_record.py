"""Results on disk: entries are replaced by work and peer, and the table is made from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.harness import Options, Row
from selfpretrain.files import read_json

SURROUNDINGS = {
    "machine": "2 cores of X", "threads": "1", "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "commit": "abc1234", "date": "2026-01-02", "command": "python -m benchmarks pretrain",
}  # fmt: skip


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "describe_machine", lambda: "Linux, 2 cores of Some CPU (R) @ 3.0")
    monkeypatch.setattr(record, "read_cpu_fact", lambda _: "fpu avx2")


def write(folder: Path, benchmark: str, row: Row) -> tuple[list[dict], str]:
    table = record.write_entry(folder, "cpu", record.build_entry(benchmark, row, SURROUNDINGS))
    return read_json(table.with_suffix(".json"))["entries"], table.read_text()


def test_an_entry_is_replaced_by_work_and_peer(tmp_path: Path) -> None:
    first = Row("step", "loop", "tokens/s", [100.0, 200.0, 300.0], [50.0, 50.0, 100.0], 512.0, 1024.0, mfu=[0.5])
    write(tmp_path, "pretrain", first)
    write(tmp_path, "corpus", Row("packing", "map", "s", [1.0], [3.0], lower_is_better=True))
    entries, _ = write(tmp_path, "pretrain", Row("step", "trainer", "tokens/s", [7.0], [1.0]))
    assert [(e["benchmark"], e["peer"]) for e in entries] == [
        ("corpus", "map"), ("pretrain", "loop"), ("pretrain", "trainer"),
    ]  # fmt: skip
    assert entries[0]["ratio"] == [3.0]
    assert entries[1]["ratio"] == [2.0, 4.0, 3.0]
    assert entries[1]["ratio_spread"] == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert entries[1]["ours"] == [100.0, 200.0, 300.0]
    assert all(entries[1][key] == value for key, value in SURROUNDINGS.items())
    entries, _ = write(tmp_path, "pretrain", Row("step", "loop", "tokens/s", [9.0], [3.0]))
    assert [e["ours"] for e in entries] == [[1.0], [9.0], [7.0]]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "2_cores_of_some_cpu_r_3_0.json", "2_cores_of_some_cpu_r_3_0.md",
    ]  # fmt: skip


def test_the_table_says_it_all(tmp_path: Path) -> None:
    row = Row("step", "loop", "tokens/s", [1000.0, 2000.0], [500.0, 500.0], 512.4, 1024.0, mfu=[0.6, 0.7], note="N.")
    write(tmp_path, "pretrain", row)
    write(tmp_path, "pretrain", Row("alone", "", "s", [0.25], note="N."))
    _, table = write(tmp_path, "pretrain", Row("step", "fairseq", skipped="not there: build it"))
    taken = "2026-01-02, abc1234, python 3.11.7, torch 2.13.0, threads 1"
    cells = "1,500 [1,000, 2,000] | 500 [500, 500] | 3.00× [2.00, 4.00] | 512 · 1,024 | 65.0 % [60.0, 70.0]"
    assert f"| step [1] | loop | tokens/s | {cells} | {taken} |" in table
    assert f"| alone [1] | — | s | 0.250 [0.250, 0.250] |  |  | — |  | {taken} |" in table
    assert f"| step [2] | fairseq |  | not measured |  |  |  |  | {taken} |" in table
    assert re.findall(r"^\[\d\] .*", table, re.M) == ["[1] N.  ", "[2] not there: build it  "]
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {len(record.HEADER) + 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.000123, "0.000123"), (0.0204, "0.0204"), (1.255, "1.25"), (12.34, "12.3"), (123.4, "123"),
     (98765.4, "98,765")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert record.render_number(value) == text


def test_surroundings_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = record.describe_surroundings(Options(), "python -m benchmarks startup")
    assert found["machine"] == "2 cores of Some CPU (R) @ 3.0"
    assert found["threads"] == "3"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert re.fullmatch(r"([0-9a-f]{7,}\+?)?", found["commit"])
    assert {"python", "torch", "numpy"} <= set(found["versions"])
    assert record.describe_surroundings(Options(threads=2), "")["threads"] == "2"


def test_processors_of_one_name_are_told_apart(monkeypatch):
    monkeypatch.setattr(record, "read_cpu_fact", lambda _: "fpu avx512_bf16 amx_bf16")
    words, slug = record.name_machine("cpu")
    assert words == "2 cores of Some CPU (R) @ 3.0 with amx_bf16 and avx512_bf16"
    assert slug.endswith("with_amx_bf16_and_avx512_bf16")
