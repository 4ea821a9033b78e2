"""Configuration as dataclasses: the command line, a file and Python build the same classes, validated once."""

from proctor.config.dataset import DatasetConfig
from proctor.config.env import EnvConfig
from proctor.config.eval import EvalConfig
from proctor.config.open_loop import OpenLoopConfig
from proctor.config.run import RunConfig
from proctor.config.structure import comma_separated, structure
from proctor.config.trackers import TensorBoardConfig, TrackioConfig
from proctor.config.wandb import WandBConfig
from proctor.config.watch import WatchConfig

__all__ = [
    "DatasetConfig",
    "EnvConfig",
    "EvalConfig",
    "OpenLoopConfig",
    "RunConfig",
    "TensorBoardConfig",
    "TrackioConfig",
    "WandBConfig",
    "WatchConfig",
    "comma_separated",
    "structure",
]
