"""Runs a plan: simulators in worker processes, inference on threads of its own, and the scheduler between them.

The engine writes no file but the workers' log, videos, recorded episodes and a trace, and does not depend on journals
and reports. Each episode leaves it through one callback, as an :class:`~proctor.types.EpisodeResult`.
"""

from proctor.engine.engine import Engine
from proctor.engine.keeper import WorkerKeeper
from proctor.engine.observer import Observer
from proctor.engine.options import EngineOptions, EngineSetup, VideoOptions
from proctor.engine.replay import Replayer
from proctor.engine.rollouts import RolloutTask
from proctor.engine.videos import VideoTask
from proctor.engine.worker.messages import RolloutSpec, VideoSpec
from proctor.engine.workers import Workers

__all__ = [
    "Engine",
    "EngineOptions",
    "EngineSetup",
    "Observer",
    "Replayer",
    "RolloutSpec",
    "RolloutTask",
    "VideoOptions",
    "VideoSpec",
    "VideoTask",
    "WorkerKeeper",
    "Workers",
]
