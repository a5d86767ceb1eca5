from __future__ import annotations

from selfpretrain.report.collect import describe_mixture

START = {"device": "cpu", "gpu": "", "precision": "fp32", "world_size": 1, "selfpretrain": "0.1", "commit": "abc",
         "versions": {"torch": "2.13.0", "numpy": "2.0", "tokenizers": "0.22"}}  # fmt: skip


def test_runs_alike_are_not_mixed():
    assert describe_mixture([]) == describe_mixture([START, {**START, "started": "later", "machine": "other"}]) == ""


def test_what_differs_is_named_with_its_values():
    gpu = {**START, "device": "cuda", "gpu": "NVIDIA H100", "precision": "bf16", "world_size": 2}
    text = describe_mixture([START, gpu, START])
    assert text == "the runs differ in device (NVIDIA H100; cpu), precision (bf16; fp32), number of processes (1; 2)"
    other = {**START, "commit": "abd", "versions": {**START["versions"], "torch": "2.14.0"}}
    assert describe_mixture([START, other]) == "the runs differ in commit (abc; abd), torch (2.13.0; 2.14.0)"
