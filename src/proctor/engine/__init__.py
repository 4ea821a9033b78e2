"""Runs a plan: simulators in worker processes, inference on threads of its own, and the scheduler between them.

The engine writes no file but the workers' log, videos and a trace, and does not depend on journals and reports. Each
episode leaves it through one callback, as an :class:`~proctor.types.EpisodeResult`.
"""

from proctor.engine.engine import Engine
from proctor.engine.keeper import WorkerKeeper
from proctor.engine.observer import Observer
from proctor.engine.options import EngineOptions, EngineSetup, VideoOptions
from proctor.engine.video_replay import VideoReplayer, VideoTask
from proctor.engine.worker.messages import VideoSpec
from proctor.engine.workers import Workers

__all__ = [
    "Engine",
    "EngineOptions",
    "EngineSetup",
    "Observer",
    "VideoOptions",
    "VideoReplayer",
    "VideoSpec",
    "VideoTask",
    "WorkerKeeper",
    "Workers",
]
