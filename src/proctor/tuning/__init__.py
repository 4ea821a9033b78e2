"""Recommends how to run an evaluation fast on this machine, from measurements and a model."""

from proctor.tuning.autotune import AutotuneRecommendation, recommend

__all__ = ["AutotuneRecommendation", "recommend"]
