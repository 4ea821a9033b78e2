"""Records the episodes of an evaluation as one LeRobotDataset (format v3.0), by replay.

- :mod:`~proctor.evaluation.recording.recording` chooses the episodes, has them replayed, and makes the dataset;
- :mod:`~proctor.evaluation.recording.staging` is the folder in which recorded episodes wait until all are there;
- :mod:`~proctor.evaluation.recording.dataset` writes the dataset of them, with LeRobot's own parts;
- :mod:`~proctor.evaluation.recording.statistics` computes LeRobot's statistics of images from counted pixels.
"""

from proctor.evaluation.recording.recording import Recording, record, record_run, require_lerobot, staging_of
from proctor.evaluation.recording.staging import Staging

__all__ = ["Recording", "Staging", "record", "record_run", "require_lerobot", "staging_of"]
