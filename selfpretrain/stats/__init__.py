"""Statistics of comparisons, on anyone's predictions: NumPy and SciPy, no torch, quick to import."""

from selfpretrain.stats.benefit import BenefitResult, compute_benefit
from selfpretrain.stats.contrasts import ContrastResult, compute_contrast
from selfpretrain.stats.crossed import Levels
from selfpretrain.stats.decisions import (
    Decision,
    Equivalence,
    OneSided,
    compute_equivalence,
    compute_holm,
    compute_noninferiority,
    compute_superiority,
    decide,
)
from selfpretrain.stats.metrics import METRICS
from selfpretrain.stats.multibootstrap import BootstrapResult, Samples, multibootstrap
from selfpretrain.stats.tallies import Tally, compute_benjamini_hochberg, compute_improvement, count_signs
from selfpretrain.stats.variance import Estimate, Variance

__all__ = [
    "METRICS",
    "BenefitResult",
    "BootstrapResult",
    "ContrastResult",
    "Decision",
    "Equivalence",
    "Estimate",
    "Levels",
    "OneSided",
    "Samples",
    "Tally",
    "Variance",
    "compute_benefit",
    "compute_benjamini_hochberg",
    "compute_contrast",
    "compute_equivalence",
    "compute_holm",
    "compute_improvement",
    "compute_noninferiority",
    "compute_superiority",
    "count_signs",
    "decide",
    "multibootstrap",
]
