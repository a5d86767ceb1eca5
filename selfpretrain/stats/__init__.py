"""Statistics of comparisons, on anyone's predictions: NumPy only, no torch, quick to import."""

from selfpretrain.stats.benefit import BenefitResult, compute_benefit
from selfpretrain.stats.decisions import Equivalence, compute_equivalence, compute_holm
from selfpretrain.stats.multibootstrap import BootstrapResult, Estimate, Samples, multibootstrap
from selfpretrain.stats.statistics import METRICS

__all__ = [
    "METRICS",
    "BenefitResult",
    "BootstrapResult",
    "Equivalence",
    "Estimate",
    "Samples",
    "compute_benefit",
    "compute_equivalence",
    "compute_holm",
    "multibootstrap",
]
