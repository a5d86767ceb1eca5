"""The sections of a page, in order, and which of them a table or a figure stands in, by its name."""

from __future__ import annotations

ANSWERS, SCORES, CROSS, CURVES, SEEDS = "answers", "scores", "cross", "curves", "seeds"
PROBABILITIES, TRAINING, MORE, GAPS, LEAKAGE = "probabilities", "training", "more", "gaps", "leakage"
COST, NOTES, MADE, ORIGINS, EXAMPLES = "cost", "notes", "made", "origins", "examples"
SECTIONS = {
    ANSWERS: "The answers",
    SCORES: "Scores",
    CROSS: "Texts of other tasks",
    CURVES: "Learning curves",
    SEEDS: "Seeds, and where the variance lies",
    PROBABILITIES: "Probabilities",
    EXAMPLES: "Examples",
    MORE: "More tables",
    TRAINING: "Training",
    GAPS: "What failed or is missing",
    LEAKAGE: "Leakage",
    NOTES: "Notes",
    MADE: "How this was made",
    COST: "Cost",
    ORIGINS: "Where each run was made",
}
_OF = {
    SCORES: ("scores", "start", "reference", "procedures", "published", "over_tasks", "transfer"),
    CURVES: ("labels", "tokens", "token_scores", "dynamics", "separations"),
    SEEDS: ("seeds", "single_runs", "variance"),
    PROBABILITIES: ("calibration", "reliability", "reliability_bins", "ensembles"),
    TRAINING: ("courses",),
    GAPS: ("gaps",),
    LEAKAGE: ("leakage",),
    MADE: ("settings",),
    COST: ("cost",),
    ORIGINS: ("origins", "runs"),
}
_SECTION = {name: section for section, names in _OF.items() for name in names}


def find_section(name: str) -> str:
    """Of a table or figure; averages of benchmarks, whose names are theirs, among the further tables."""
    if name.endswith("_without_overlap"):
        return LEAKAGE
    return CROSS if name.startswith("cross_") else _SECTION.get(name, MORE)
