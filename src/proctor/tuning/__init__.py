"""How to run an evaluation fast on this machine: measured, modelled, recommended."""

from proctor.tuning.autotune import AutotuneRecommendation, recommend

__all__ = ["AutotuneRecommendation", "recommend"]
