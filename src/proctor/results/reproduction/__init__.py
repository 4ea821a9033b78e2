"""Published success rates, the options that measure them again, and how a run compares: ``proctor reproduce``."""

from proctor.results.reproduction.catalogue import KnownRate, KnownResult, known_result, known_results
from proctor.results.reproduction.comparison import Reproduction, Verdict, all_hold, compare_with

__all__ = [
    "KnownRate",
    "KnownResult",
    "Reproduction",
    "Verdict",
    "all_hold",
    "compare_with",
    "known_result",
    "known_results",
]
