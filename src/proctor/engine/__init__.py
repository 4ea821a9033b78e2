"""Runs a plan: simulators in worker processes, inference on its own threads, and the scheduler between them.

Writes no file but the workers' log and videos, and knows nothing of journals and reports: what it finds out leaves
through one callback, an :class:`~proctor.types.EpisodeResult` at a time.
"""

from proctor.engine.engine import Engine
from proctor.engine.video_replay import VideoReplayer, VideoTask
from proctor.engine.worker.messages import VideoSpec
from proctor.engine.workers import Crew, EngineSetup

__all__ = ["Crew", "Engine", "EngineSetup", "VideoReplayer", "VideoSpec", "VideoTask"]
