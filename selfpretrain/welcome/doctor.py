"""``selfpretrain doctor``: what this machine has for a study, a line each, with what to do about what it lacks.

All is looked at side by side, and nothing is waited for longer than its time: a hanging network or file system is a line, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.endings import explain
from selfpretrain.welcome import machine, surroundings
from selfpretrain.welcome.machine import NOTE, PROBLEM, Finding

SECONDS = 15.0  # of what answers at once unless something hangs
Look = Callable[[], "Finding | Iterable[Finding]"]


def examine(arguments: Sequence[str]) -> bool:
    """Print what was found; whether nothing would stop a study. Settings are those of ``runtime``.

    Raises UserError for other settings, and for values that are not allowed.
    """
    findings = look(list_looks(read_runtime(arguments)))
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        fix = f"  ->  {finding.fix}" if finding.fix else ""
        print(f"{finding.level:<8} {finding.about:<{width}}  {finding.seen}{fix}")
    counts = [sum(finding.level == level for finding in findings) for level in (PROBLEM, NOTE)]
    said = "nothing stops a study here" if not counts[0] else f"{counts[0]} of these would stop a study"
    print(f"{said}; notes: {counts[1]}, of what some settings want")
    return not counts[0]


def read_runtime(arguments: Sequence[str]) -> RuntimeConfig:
    """The section ``runtime`` of the settings, by way of the usual door where some are given."""
    if wrong := [word for word in arguments if not word.startswith("runtime.") or "=" not in word]:
        raise UserError(
            f"doctor takes runtime.<setting>=<value>, not {wrong[0]}; as in: selfpretrain doctor runtime.runs_dir=runs"
        )
    if not arguments:
        return RuntimeConfig()
    from selfpretrain.door import compose_settings
    from selfpretrain.overrides import quote_override

    return compose_settings("study", list(map(quote_override, arguments))).runtime


def list_looks(runtime: RuntimeConfig) -> list[tuple[str, float, Look]]:
    """What is looked at: its name, the seconds it may take, and how."""
    return [
        ("python", SECONDS, machine.look_at_python),
        ("torch", machine.TORCH_SECONDS + 1, lambda: machine.look_at_torch(runtime)),
        ("cores", SECONDS, lambda: machine.look_at_cores(runtime)),
        ("memory", SECONDS, machine.look_at_memory),
        ("runs_dir", SECONDS, lambda: machine.look_at_disk(runtime.runs_dir)),
        ("extras", SECONDS, lambda: surroundings.look_at_extras(runtime)),
        ("mirror", SECONDS, surroundings.look_at_mirror),
        ("hub", surroundings.HUB_SECONDS + 1, surroundings.look_at_hub),
        ("wandb", SECONDS, surroundings.look_at_wandb),
    ]


def look(looks: Sequence[tuple[str, float, Look]]) -> list[Finding]:
    """All side by side, in their order; what takes too long or fails is a problem of its own."""
    found: dict[str, list[Finding]] = {}

    def carry_out(name: str, function: Look) -> None:
        try:
            given = function()
            found[name] = [given] if isinstance(given, Finding) else list(given)
        except Exception as error:  # noqa: BLE001 - of this look alone; the others are printed all the same
            explained = explain(error)
            found[name] = [Finding(PROBLEM, name, explained[0] if explained else f"{type(error).__name__}: {error}")]

    started = time.monotonic()
    # daemons: one that hangs in a dead file system does not keep the process
    threads = [threading.Thread(target=carry_out, args=(name, function), daemon=True) for name, _, function in looks]
    for thread in threads:
        thread.start()
    for (name, seconds, _), thread in zip(looks, threads, strict=True):
        thread.join(max(0.0, started + seconds - time.monotonic()))
        if thread.is_alive():
            found[name] = [Finding(PROBLEM, name, f"no answer within {seconds:g} s", "see what hangs, and try again")]
    return [finding for name, *_ in looks for finding in found[name]]
