"""Runs a plan: simulators in worker processes, inference on its own threads, and the scheduler between them.

Writes no file but the workers' log and videos, and knows nothing of journals and reports: what it finds out leaves
through one callback, an :class:`~proctor.types.EpisodeResult` at a time.
"""

from proctor.engine.crew import Crew, EngineSetup
from proctor.engine.engine import Engine
from proctor.engine.filming import Filming, Shot
from proctor.engine.messages import Film

__all__ = ["Crew", "Engine", "EngineSetup", "Film", "Filming", "Shot"]
