"""Runs a plan: simulators in worker processes, inference on its own threads, and the scheduler between them.

Writes no file but the workers' log, and knows nothing of journals and reports: what it finds out leaves through one
callback, an :class:`~proctor.types.EpisodeResult` at a time.
"""

from proctor.engine.engine import Engine, EngineSetup

__all__ = ["Engine", "EngineSetup"]
