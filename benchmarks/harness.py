"""How two programs are compared, and how the outcome is written down.

A benchmark is a module ``benchmarks/<name>.py`` with

    @dataclass
    class Options(harness.Options): ...            its settings with their defaults; the command line sets them
    def run(options: Options) -> Iterable[Row]     rows are recorded as they are yielded

and a comparison inside it reads

    with open_contestants({"ours": (build_ours, options), "theirs": (build_theirs, options)}, options) as sides:
        values = interleave(sides, options.repeats)
        ours, theirs = sides["ours"], sides["theirs"]
        row = Row(work, peer, unit, values["ours"], values["theirs"], ours.get_peak_mb(), theirs.get_peak_mb())

``build_ours(options)`` is a function of a module, called once in a process of its own; it returns a function without
arguments that does a fixed amount of work and returns one number, in ``unit``. ``Row.lower_is_better`` says whether
that is a time or a rate; ratios are always "times better than the peer".

Peak memory is each contestant's own while it measures, because each has its process: on a GPU the peak of torch's allocator, else the
process's largest resident size (VmHWM: unlike ru_maxrss it does not start at the parent's size). It includes Python
and the libraries, and not what grandchildren use: a measure that starts processes may have its own ``get_peak_mb()``. A measure may also
have ``get_note()``, a sentence for the table.

Nothing here imports torch unless a GPU is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import resource
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from selfpretrain.config import UserError

Measure = Callable[[], float]
MIB = 2**20
WARMUP_STEPS = 2


@dataclass
class Options:
    """What every benchmark can be asked for."""

    device: str = "cpu"  # cpu | cuda
    repeats: int = 5  # measurements of each side, after one that is thrown away
    threads: int | None = None  # CPU threads of each side; none: torch's choice
    toy: bool = False  # tiny models and made text: shows that it runs, measures nothing
    processes: bool = True  # each side in a process of its own; false: all in this one, for a rehearsal
    results_dir: str | None = None  # none: benchmarks/results, and nowhere for toy=true


def parse_options(kind: type[Any], arguments: Sequence[str]) -> Any:
    """An instance of the dataclass ``kind`` from ``key=value`` words; UserError for what it does not know."""
    known = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        if not separator or key not in known:
            raise UserError(f"{argument!r} is no option; write <key>=<value> with one of {', '.join(known)}")
        values[key] = _parse_value(key, text, str(known[key].type))
    options = kind(**values)
    if getattr(options, "device", "cpu") not in ("cpu", "cuda"):
        raise UserError(f"device={options.device} is not known; allowed: cpu, cuda")
    if getattr(options, "repeats", 1) < 1:
        raise UserError(f"repeats={options.repeats} measures nothing; at least 1")
    return options


def _parse_value(key: str, text: str, kind: str) -> Any:
    """``kind`` is the annotation as it is written: int, float, bool or str, each perhaps with ``| None``."""
    name, optional = kind.removesuffix(" | None"), kind.endswith("| None")
    if optional and text.lower() in ("none", "null"):
        return None
    if name == "bool":
        if text.lower() not in ("true", "false"):
            raise UserError(f"{key}={text} is neither true nor false")
        return text.lower() == "true"
    readers: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    try:
        return readers[name](text)
    except ValueError:
        raise UserError(f"{key}={text} is not of type {name}") from None


# measuring


def interleave(contestants: Mapping[str, Measure], repeats: int) -> dict[str, list[float]]:
    """Run each once unrecorded, then A B A B ...; ``repeats`` values of each, in the order they were taken.

    Interleaved, a change of the machine's speed meets all contestants alike, and values with the same place in their
    lists were taken one right after the other: they are pairs.
    """
    for measure in contestants.values():
        measure()
    values: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, measure in contestants.items():
            values[name].append(measure())
    return values


class Rate:
    """A measure: amount of work per second, over a number of steps that takes about ``seconds``.

    ``run(steps)`` does so many steps and returns the amount and the seconds it took, its own start left out. The first
    call warms up and finds the number of steps; ``interleave`` throws its value away.
    """

    def __init__(self, run: Callable[[int], tuple[float, float]], seconds: float, get_note: Callable[[], str] = str):
        self.run, self.seconds, self.get_note = run, seconds, get_note
        self.steps = 0

    def __call__(self) -> float:
        if self.steps == 0:
            self.run(WARMUP_STEPS)
            _, elapsed = self.run(WARMUP_STEPS)
            self.steps = max(WARMUP_STEPS, math.ceil(self.seconds * WARMUP_STEPS / elapsed))
        amount, elapsed = self.run(self.steps)
        return amount / elapsed


class Contestant:
    """``build(*arguments)`` in a process of its own; calling the object calls what it returned, over there.

    ``build`` and ``arguments`` have to be picklable. An exception over there is raised here as RuntimeError with its
    traceback as text, a UserError as UserError.
    """

    def __init__(self, build: Callable[..., Measure], *arguments: Any):
        context = multiprocessing.get_context("spawn")  # a fork could not use CUDA, and would share our memory
        self.pipe, other_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(other_end, build, arguments), daemon=False)
        self.process.start()
        other_end.close()

    def __enter__(self) -> Contestant:
        try:
            self._receive()  # built
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self.pipe.closed:  # ended already
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send("stop")
        self.process.join(10 if kind is None else 0)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        self.pipe.close()

    def __call__(self) -> float:
        return float(self._ask("measure"))

    def get_peak_mb(self) -> float | None:
        """MiB: see the module's docstring."""
        return float(self._ask("peak"))

    def get_note(self) -> str:
        return str(self._ask("note"))

    def _ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"a contestant ended with exit code {self.process.exitcode}") from None
        if kind == "user error":
            raise UserError(value)
        if kind == "error":
            raise RuntimeError(f"in a contestant's process:\n{value}")
        return value


class Guest:
    """A contestant in this process, whose memory cannot be told from the others'."""

    def __init__(self, build: Callable[..., Measure], *arguments: Any):
        self.measure = build(*arguments)

    def __call__(self) -> float:
        return self.measure()

    def get_peak_mb(self) -> float | None:
        return None

    def get_note(self) -> str:
        return str(getattr(self.measure, "get_note", str)())


@contextlib.contextmanager
def open_contestants(
    builds: Mapping[str, tuple[Any, ...]], options: Options
) -> Iterator[dict[str, Contestant] | dict[str, Guest]]:
    """Contestants by name, each from its build function and arguments; they are built side by side."""
    if not options.processes:
        yield {name: Guest(*parts) for name, parts in builds.items()}
        return
    with contextlib.ExitStack() as stack:
        sides = {name: Contestant(*parts) for name, parts in builds.items()}
        for side in sides.values():
            stack.push(side.__exit__)  # also of those that are never ready
        for side in sides.values():
            side.__enter__()
        yield sides


def _serve(pipe: Any, build: Callable[..., Measure], arguments: tuple[Any, ...]) -> None:
    """The other process: build, then answer until told to stop."""
    try:
        measure = build(*arguments)
        reset_peak()
        answers = {
            "measure": measure,
            "peak": getattr(measure, "get_peak_mb", get_peak_mb),
            "note": getattr(measure, "get_note", str),
        }
        pipe.send(("built", None))
        while (question := pipe.recv()) != "stop":
            pipe.send(("value", answers[question]()))
    except (EOFError, BrokenPipeError):  # whoever asked is gone
        return
    except UserError as error:
        pipe.send(("user error", str(error)))
    except Exception:  # noqa: BLE001 - raised again where it was asked for
        pipe.send(("error", traceback.format_exc()))


def get_peak_mb() -> float:
    """This process's peak memory so far, MiB: of torch's CUDA allocator where it was used, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated()) / MIB
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / MIB if sys.platform == "darwin" else largest / 1024


def reset_peak() -> None:
    """Let the peak begin at what is in use now: building holds things that running does not need."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


# what was found


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


def compute_spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """One line of the table: ours against one peer at one work, or ours alone, or why there is no number."""

    work: str
    peer: str  # empty: none
    unit: str = ""
    ours: Sequence[float] = ()  # one value per repeat
    theirs: Sequence[float] = ()  # the value taken right after ours of the same place
    ours_peak_mb: float | None = None
    theirs_peak_mb: float | None = None
    mfu: Sequence[float] = ()  # share of the measured matmul rate, per repeat
    lower_is_better: bool = False  # a time, not a rate
    note: str = ""
    skipped: str = ""  # why there is no number, with the command that would give it
    bounds: Sequence[str] = ()  # of "ours", "theirs": those with a value that is only a lower bound

    def compute_ratios(self) -> list[float]:
        """How many times better ours was, pair by pair."""
        if not self.theirs or len(self.bounds) > 1:  # two lower bounds say nothing of their ratio
            return []
        pairs = zip(self.ours, self.theirs, strict=True)
        return [b / a if self.lower_is_better else a / b for a, b in pairs]
