"""Freed arrays stay with the process: the next step does not take them page by page. Precision by a rule."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from selfpretrain import devices
from selfpretrain.config import ModelConfig, PretrainConfig, RuntimeConfig, Settings, UserError
from selfpretrain.devices import choose_autocast, choose_device, has_bf16, resolve_precision

COUNT = """
import resource, sys, torch
from selfpretrain.devices import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20).sum()  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(10):  # an aligned block never fits where its like was: some room is needed first
    count()
print(min(count() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_large_arrays_are_not_given_back():
    faults = {
        name: int(
            subprocess.run([sys.executable, "-c", COUNT, name], capture_output=True, text=True, check=True).stdout
        )
        for name in ("keep", "default")
    }
    assert faults["keep"] < 1000 < 10_000 < faults["default"]  # 16,384 pages of 4 KiB


LEFT = """
import torch
from selfpretrain.devices import keep_freed_memory, return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
assert keep_freed_memory()
arrays = [torch.ones(1 << 20) for _ in range(50)]  # 200 MB
del arrays
kept = resident()
return_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_what_a_run_leaves_goes_back_before_the_next():
    left = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True).stdout
    assert int(left) > 150_000_000


# precision


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Writes what Linux says of a processor that has these features; no GPU."""

    def describe(flags):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\nbugs\t\t: none\n")
        has_bf16.cache_clear()

    monkeypatch.setattr(devices, "CPU_FACTS", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "DRIVERS", ("/nowhere",))
    has_bf16.cache_clear()
    yield describe
    has_bf16.cache_clear()


def resolve(precision, width=256):
    settings = Settings(model=ModelConfig(hidden_size=width), pretrain=PretrainConfig(precision=precision))
    return resolve_precision(settings.pretrain, settings).precision


def test_auto_is_bf16_for_wide_models_on_processors_that_multiply_it(processor):
    assert resolve("auto") == "fp32"  # nothing is known of the processor
    for flags in ("avx512f avx512_bf16", "amx_bf16 amx_tile"):
        processor(flags)
        assert [resolve("auto", width) for width in (64, 128, 256, 768)] == ["fp32", "fp32", "bf16", "bf16"]
    processor("avx2 avx512f avx512_vnni amx_int8")
    assert resolve("auto", 768) == "fp32"


def test_a_precision_that_is_named_is_kept(processor):
    processor("amx_bf16")
    assert [resolve(precision, width) for precision in ("fp32", "bf16") for width in (64, 768)] == [
        "fp32", "fp32", "bf16", "bf16",
    ]  # fmt: skip


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_gpu_is_what_it_has_at_every_width(supported, processor, monkeypatch):
    processor("amx_bf16")
    monkeypatch.setattr(devices, "DRIVERS", ("/",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert {has_bf16(device, width) for device in ("auto", "cuda") for width in (64, 768)} == {supported}
    assert has_bf16("cpu", 768) and not has_bf16("cpu", 64)


def test_autocast_follows_a_resolved_precision():
    assert choose_autocast("fp32") is None
    assert choose_autocast("bf16") is torch.bfloat16
    with pytest.raises(KeyError):
        choose_autocast("auto")


def test_cuda_without_cuda_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"runtime\.device=cuda.*use runtime\.device=cpu"):
        choose_device(RuntimeConfig(device="cuda"))
    assert choose_device(RuntimeConfig(device="auto")).type == "cpu"
