"""Reports on disk: found by name or folder, and read as far as a comparison needs them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from selfpretrain.config import UserError
from selfpretrain.door import list_choices
from selfpretrain.files import read_json
from selfpretrain.report.comparisons import Interval
from selfpretrain.study.conditions import find_condition

SUMMARY = "summary.json"
PREFIX = "compare_"  # of the folders of comparisons, which are no studies
FORM = "report.compare=<study>,<study>, each the name of a folder under {folder} or a folder with a summary.json"
_ID = re.compile(r"-[0-9a-f]{8}")  # behind a study's name in the name of its folder
_MOST_NAMED = 12


class Key(NamedTuple):
    """A cell of a report."""

    model: str
    task: str
    condition: str


@dataclass(frozen=True)
class StoredCell:
    """One model, task and condition of a report on disk."""

    panel: Mapping[str, Any]
    entry: Mapping[str, Any]

    @property
    def score(self) -> Interval | None:
        return read_interval(self.entry.get("score"))

    @property
    def state(self) -> str:
        """done, failed, undefined, ...; of what a report of before had not, the word alone."""
        return str(self.entry["state"])

    @property
    def effect(self) -> str:
        """Against the baseline, by the p that was corrected in its own study."""
        return judge(self.entry.get("gain"), self.panel["alpha"])

    @property
    def runs(self) -> list[Mapping[str, Any]]:
        """Those behind the score: pretrain_seed, finetune_seed, score and, in reports that have it, run_id."""
        return list(self.entry.get("run_scores", []))

    @property
    def scores_by_run(self) -> dict[tuple[int, int], float]:
        """By pretraining and fine-tuning seed."""
        return {(run["pretrain_seed"], run["finetune_seed"]): float(run["score"]) for run in self.runs}


@dataclass(frozen=True)
class StoredReport:
    """The summary.json of a study, and where it lies."""

    folder: Path
    summary: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def runs_dir(self) -> Path | None:
        """Where its runs are, if the report lies where a study writes it."""
        parent = self.folder.resolve().parent
        return parent.parent if parent.name == "reports" else None

    @cached_property
    def panels(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        alpha = 1 - float(self.summary["confidence"])
        return {(panel["model"], panel["task"]): {**panel, "alpha": alpha} for panel in self.summary["panels"]}

    @cached_property
    def cells(self) -> dict[Key, StoredCell]:
        return {
            Key(*place, entry["condition"]): StoredCell(panel, entry)
            for place, panel in self.panels.items()
            for entry in panel["entries"]
        }


def judge(difference: Mapping[str, Any] | None, alpha: float) -> str:
    """A difference of a report in a word: better, worse, not clear, checkpoints only; empty where there is none."""
    if difference is None:
        return ""
    if difference["p_holm"] is None:
        return "checkpoints only"
    if difference["p_holm"] >= alpha:
        return "not clear"
    return "better" if difference["delta"]["point"] > 0 else "worse"


def read_interval(stored: Mapping[str, Any] | None) -> Interval | None:
    """An end that is null was infinite."""
    if stored is None:
        return None
    low, high = stored["low"], stored["high"]
    return Interval(stored["point"], -math.inf if low is None else low, math.inf if high is None else high)


def read_reports(given: str, runs_dir: str) -> tuple[StoredReport, StoredReport]:
    """The two reports that ``report.compare`` names.

    Raises:
        UserError: not two names, one that is not there, one without a report, the same one twice, nothing in common.
    """
    folder = Path(runs_dir) / "reports"
    names = [name.strip() for name in given.split(",")]
    if len(names) != 2 or not all(names):
        raise UserError(f"report.compare={given} does not name two studies; give {FORM.format(folder=folder)}")
    found = [find_report(name, folder) for name in names]
    first, second = (each.resolve() for each in found)
    if first == second:
        raise UserError(f"report.compare={given} names the same report twice, {found[0]}; give two")
    reports = [StoredReport(each, _read_summary(each)) for each in found]
    if not reports[0].cells.keys() & reports[1].cells.keys():
        shown = " and ".join(f"{report.name} has {_describe_cells(report)}" for report in reports)
        raise UserError(f"report.compare={given}: no cell (model, task and condition) is in both; {shown}")
    return reports[0], reports[1]


def find_report(name: str, folder: Path) -> Path:
    """The folder of a report, by its path, or by its name in ``folder``, with or without the id behind it."""
    places = [Path(name).expanduser(), folder / name]
    if name.endswith(SUMMARY):
        places.append(Path(name).expanduser().parent)
    for place in places:
        if (place / SUMMARY).is_file():
            return place
    reports = list_reports(folder)
    by_study = [each for each in reports if _ID.sub("", each.removeprefix(name)) == "" and each.startswith(f"{name}-")]
    if len(by_study) == 1:
        return folder / by_study[0]
    if by_study:
        raise UserError(f"report.compare: {name} names {len(by_study)} reports; give one of {', '.join(by_study)}")
    there = f"{folder} has {_name_some(reports) if reports else 'no report'}"
    if name.startswith(PREFIX) and (folder / name).is_dir():
        raise UserError(f"report.compare: {name} is a comparison and no study; {there}")
    if any(place.is_dir() for place in places):
        raise UserError(
            f"report.compare: {name} has no report yet (no {SUMMARY} in it); selfpretrain report with the settings of its "
            f"study writes one; {there}"
        )
    if name in list_choices("study"):
        raise UserError(
            f"report.compare: the study {name} has no report yet; selfpretrain report study={name} writes one; {there}"
        )
    raise UserError(f"report.compare: there is no report {name}; {there}")


def list_reports(folder: Path) -> list[str]:
    """Names of the studies' reports in a folder."""
    return sorted(path.parent.name for path in folder.glob(f"*/{SUMMARY}") if not path.parent.name.startswith(PREFIX))


def _name_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _read_summary(folder: Path) -> Mapping[str, Any]:
    path = folder / SUMMARY
    summary = read_json(path)
    needed = ("panels", "confidence", "num_replicates", "baseline", "reference", "facts")
    if not isinstance(summary, dict) or any(name not in summary for name in needed):
        raise UserError(
            f"report.compare: {path} is not the summary of a study; give a folder that selfpretrain report wrote"
        )
    return summary


def _describe_cells(report: StoredReport) -> str:
    columns = (dict.fromkeys(column) for column in zip(*report.cells, strict=True))
    return "; ".join(_name_some([*column]) for column in columns) or "none"


def is_known(condition: str) -> bool:
    """Whether this version has the condition; a report of another may name one that it has not."""
    try:
        find_condition(condition)
    except UserError:
        return False
    return True
