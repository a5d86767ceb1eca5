"""What a report holds: entries, panels, matrices; all of it can be stored as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from selfpretrain.report.comparisons import Difference, Interval, Source, get_seed
from selfpretrain.report.disagreements import ExampleList, leave_out_texts
from selfpretrain.runs.results import ABSENT, DONE, Citation
from selfpretrain.stats import Decision
from selfpretrain.stats.calibration import ReliabilityBin
from selfpretrain.study.conditions import OWN, Condition, find_condition

PARTIAL, UNDEFINED = "partial", "undefined"
LABELS, TOKENS = "labels", "tokens"  # what a curve runs along
MARGIN = 0.01  # one point of the metric
VOLATILE_FACTS = ("time",)  # differ between two identical studies; kept out of the files that must not differ


@dataclass
class Entry:
    """One model, task and condition."""

    model: str
    task: str
    condition: str
    state: str  # done | partial (some runs missing) | failed | diverged | missing | running | undefined | absent
    counts: dict[str, int]  # runs by status; a run without usable predictions counts as failed
    num_runs: int  # runs behind the score
    num_seeds: int  # pretraining seeds behind the score; of a released checkpoint, its fine-tunings
    num_seeds_planned: int
    start: str = ""  # of an encoder that was not pretrained: normal | mimetic
    score: Interval | None = None
    examples_variance: float = 0.0  # the part of the score's variance that is the choice of test examples
    interaction_variance: float = 0.0  # the part of it that runs and examples make together
    sources: list[Source] = field(default_factory=list)  # where the variance of a score lies; empty for a single run
    run_scores: list[dict[str, Any]] = field(
        default_factory=list
    )  # pretrain_seed, finetune_seed, score, run_id, levels
    gain: Difference | None = None  # over the baseline
    benefit: Interval | None = None  # percent of the reference's gain
    benefit_reason: str = ""  # why there is none
    benefit_undefined: bool = False  # the reference was run, but its own gain may be zero
    covariances: list[list[float]] | None = None  # by test examples: of the baseline's score, this and the reference's
    added: Difference | None = None  # over its own start without pretraining, where the study has that control
    score_apart: float | None = None  # without the test examples whose text is in the training split, if there are any
    learned: bool | None = None  # the interval lies above the score without reading the text
    notes: list[str] = field(default_factory=list)

    @property
    def about(self) -> Condition:
        """The condition's row in the table of all."""
        return find_condition(self.condition)

    @property
    def singles(self) -> list[float]:
        return [float(run["score"]) for run in self.run_scores]

    @property
    def seeds(self) -> list[tuple[int, ...]]:
        """What the chance of each run comes from, as in run_scores."""
        runs = self.run_scores
        return [get_seed(self.condition, r["pretrain_seed"], r["finetune_seed"], r.get("levels", {})) for r in runs]

    @property
    def num_runs_planned(self) -> int:
        return sum(self.counts.values())

    @property
    def state_text(self) -> str:
        """ "failed (1 of 3)", or what is "missing: <why>"; empty where a score can be shown."""
        if self.state in (DONE, PARTIAL):
            return ""
        if self.state == ABSENT:
            return f"missing: {self.notes[0]}"
        if self.state == UNDEFINED:
            return "undefined"
        return f"{self.state} ({self.counts[self.state]} of {self.num_runs_planned})"


@dataclass
class Panel:
    """One model on one task: its conditions, and the answer."""

    model: str
    task: str  # its name, at one of study.label_counts with @count
    card: str  # its name
    num_labels: int  # training examples
    metric: str
    num_examples: int  # test examples; 0 if no run is done
    blind_score: float | None  # what a model reaches that never looks at the text; -inf where that has no score
    blind_rule: str
    entries: list[Entry]
    has_control: bool = False  # pretraining begins at the structured start, which the study also has by itself
    pooled: Entry | None = None  # the texts of all other tasks as one procedure, a seed number being a seed
    num_overlapping: int = 0  # test examples whose text is in the training split, too
    num_groups: int | None = None  # that intervals take the test examples in; None: one by one
    versus_reference: Difference | None = None  # own - reference
    decision: Decision | None = None  # on versus_reference
    margin_rule: str = ""  # where the decision's margin comes from, in words
    verdict: str = ""  # one sentence
    evidence: list[str] = field(default_factory=list)  # what it rests on, a line each

    @property
    def is_absent(self) -> bool:
        """The task's data cannot be got."""
        return all(entry.state == ABSENT for entry in self.entries)

    @property
    def num_units(self) -> int:
        """What intervals resample: test examples, or groups of them."""
        return self.num_groups or self.num_examples

    def find(self, condition: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.condition == condition), None)

    @property
    def others(self) -> list[Entry]:
        """The texts of other tasks, an entry each."""
        return [entry for entry in self.entries if entry.about.text_of is not None]


@dataclass
class CrossCell:
    """Pretrained on one task's text, fine-tuned on another (or the same)."""

    value: Interval | None
    text: str  # instead of a value: failed (1 of 3), not in this study, ...
    p_holm: float | None = None  # of the gain over the baseline


@dataclass
class Cross:
    """The cross-task matrix of one model in one unit."""

    model: str
    unit: str  # score | gain (over the baseline) | benefit (percent of the reference's gain)
    texts: list[str]  # rows: the task whose text was pretrained on, the mean of others, the start
    tasks: list[str]  # columns, and the mean of others
    cells: list[list[CrossCell]]


@dataclass
class AverageRow:
    """One condition on the tasks of a benchmark."""

    condition: str
    scores: list[Interval | None]  # by task
    texts: list[str]  # by task, instead of a score: failed (1 of 3), not in this study
    mean: Interval | None
    reason: str  # why there is no mean


@dataclass
class Average:
    """A benchmark's average for one model: the unweighted mean over those of its tasks that the study has."""

    model: str
    benchmark: str
    tasks: dict[str, str]  # in the order of the study -> metric
    rows: list[AverageRow]
    missing: list[str]  # cards that the published average counts and the study has not
    uncounted: list[str]  # cards of the same collection that it does not count


@dataclass
class TaskTally:
    """One condition against another over the tasks of one model, each counting once."""

    model: str
    condition: str
    against: str
    num_tasks: int
    higher: int  # tasks on which it is above the other
    lower: int
    share: Interval  # higher of those that differ
    p_sign: float
    p_wilcoxon: float
    improvement: Interval  # chance that a run of it beats one of the other
    clear: tuple[int, int]  # tasks on which it is clearly above, and clearly below: Holm, as in the tables
    discovered: tuple[int, int]  # the same with Benjamini and Hochberg's correction over these tasks
    # of own against the reference: tasks on which it is equivalent within the margin (Holm over the tasks' tests), and of how
    # many that have one
    equivalent: tuple[int, int] | None = None


@dataclass(frozen=True)
class CurvePoint:
    """A score along an axis."""

    x: float
    score: Interval


@dataclass
class Curve:
    """Scores of one model on one task by the number of labels, on test, or by tokens of pretraining, on validation."""

    name: str  # labels | tokens
    model: str
    task: str
    metric: str
    lines: dict[str, list[CurvePoint]] = field(default_factory=dict)  # condition -> points by x
    last_gains: dict[str, Interval] = field(default_factory=dict)  # condition -> last point minus the one before


@dataclass
class Separation:
    """The difference of two conditions along a pretraining."""

    conditions: tuple[str, str]  # first - second
    differences: dict[int, Difference | None]  # by steps of pretraining; None where a side has no score
    step: int | None  # from which on the intervals, all of them together, leave 0 out on one side
    is_claim: bool  # several seeds a side; else it is of these checkpoints only


@dataclass
class Dynamics:
    """One model on one task: test scores of all seeds by steps of pretraining, at a confidence that holds for all of them."""

    model: str
    task: str
    metric: str
    steps: list[int]
    num_checkpoints: int  # of a condition, in whose number the intervals are corrected
    conditions: list[str]  # those that have steps; the baseline may have none
    panels: list[Panel]  # [steps]
    is_log: bool  # the checkpoints lie closer at the beginning
    reference: str
    separations: list[Separation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Ensemble:
    """Two runs of one model on one task, their probabilities averaged; mean over pairs of runs."""

    model: str
    task: str
    metric: str
    conditions: tuple[str, str]  # of the two runs; equal: two seeds of one condition
    num_pairs: int  # of different seeds
    singles: Interval  # mean score of the same runs alone
    together: Interval
    gain: Interval  # together - singles
    inconsistency: Interval  # share of test examples on which exactly one of the two is right


@dataclass
class Reliability:
    """Of probabilities on test, mean over seeds."""

    ece: Interval
    debiased: Interval  # the l2 error: another scale than ece
    brier: Interval
    bins: tuple[ReliabilityBin, ...]  # all runs together


@dataclass
class Calibration:
    """One model, task and condition: how right its probabilities are, as trained and with a temperature."""

    model: str
    task: str
    metric: str
    condition: str
    score: Interval  # the same with any temperature
    num_seeds: int
    temperature: Interval
    plain: Reliability
    scaled: Reliability


@dataclass
class Transfer:
    """The runs of one task on another test set."""

    task: str
    test_set: str
    problem: str  # why it is not there
    panels: list[Panel]  # one per model; their card is the test set


@dataclass(frozen=True)
class PublishedScore:
    """A score of the study, and one that others printed for the same model, start, test split and metric."""

    model: str
    task: str
    metric: str
    condition: str
    score: Interval
    num_examples: int  # of the test split
    num_official: int  # examples that the whole split has
    published: float
    name: str  # what the source calls it
    source: str


@dataclass
class PairedDifference:
    """Two conditions compared seed by seed, or what a procedure does on one text and on another."""

    model: str
    task: str
    metric: str
    first: str  # a condition, or of an interaction <procedure> on <text>
    second: str
    is_interaction: bool  # the first and the second are differences themselves
    sides: tuple[float, float] | None = None  # scores (of an interaction, differences) by the seeds that all have
    difference: Difference | None = None  # first - second
    flops: tuple[float | None, float | None] = (None, None)  # of all that is pretrained for a run of either
    unpaired_seeds: list[int] = field(default_factory=list)  # that some condition has and another has not: left out
    decision: Decision | None = None  # of a pair
    outcome: str = ""  # that of the decision; of an interaction: more | less | alike | undecided | checkpoints only
    problem: str = ""  # why there is no difference

    @property
    def name(self) -> str:
        return f"{self.first} - {self.second}"


# fields of Summary that leave no trace while empty
_OPTIONAL = (
    "tallies", "averages", "procedures", "dynamics", "ensembles", "calibrations", "transfers", "published", "without_overlap",
    "chance", "seed_factors", "citations",
)  # fmt: skip


@dataclass
class Summary:
    """A study's outcome. ``to_json`` holds all of it except facts that differ between identical studies."""

    name: str
    baseline: str
    reference: str
    reference_name: str  # in words
    confidence: float
    num_replicates: int
    panels: list[Panel]
    facts: dict[str, str]
    crosses: list[Cross] = field(default_factory=list)
    tallies: list[TaskTally] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    procedures: list[PairedDifference] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    dynamics: list[Dynamics] = field(default_factory=list)
    ensembles: list[Ensemble] = field(default_factory=list)
    calibrations: list[Calibration] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    published: list[PublishedScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    without_overlap: Summary | None = None  # the same without the test examples that a text of the study holds
    chance: str = ""  # what intervals hold over, in words
    # what varies from pretraining to pretraining, if not all
    seed_factors: dict[str, int] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)  # what it is made of, and whose that is
    disagreements: list[ExampleList] = field(default_factory=list)  # with texts, and so never stored with the rest

    @property
    def is_crossed(self) -> bool:
        """Pretraining seeds are levels of several factors."""
        return len(self.seed_factors) > 1

    @property
    def alpha(self) -> float:
        return 1 - self.confidence

    @property
    def baseline_name(self) -> str:
        return find_condition(self.baseline).words

    @property
    def entries(self) -> list[Entry]:
        return [entry for panel in self.panels for entry in panel.entries]

    def list_claims(self) -> list[Difference]:
        """What the sentences rest on, one family for Holm's correction; those of checkpoints only are no claims.

        Own and the reference against the baseline, and own against the reference, of every panel.
        """
        gains = [entry.gain for entry in self.entries if entry.condition in (OWN, self.reference)]
        found = [*gains, *(panel.versus_reference for panel in self.panels)]
        return [difference for difference in found if difference and not difference.is_of_checkpoints]

    @property
    def lasting_facts(self) -> dict[str, str]:
        """Those that equal studies share."""
        return {name: fact for name, fact in self.facts.items() if name not in VOLATILE_FACTS}

    def to_json(self) -> dict[str, Any]:
        stored = {**dataclasses.asdict(self, dict_factory=leave_out_texts), "facts": self.lasting_facts}
        text = json.dumps({key: value for key, value in stored.items() if value or key not in _OPTIONAL})
        # JSON has no infinity: an end of an interval that is infinite is stored as null
        return json.loads(text, parse_constant=lambda _: None)
