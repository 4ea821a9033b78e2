"""Configuration as dataclasses: the command line, a file and Python build the same classes, validated once."""

from proctor.config.env import EnvConfig
from proctor.config.eval import EvalConfig
from proctor.config.lerobot import DatasetConfig, PeftConfig, WandBConfig
from proctor.config.run import RunConfig
from proctor.config.structure import comma_separated, structure

__all__ = [
    "DatasetConfig",
    "EnvConfig",
    "EvalConfig",
    "PeftConfig",
    "RunConfig",
    "WandBConfig",
    "comma_separated",
    "structure",
]
