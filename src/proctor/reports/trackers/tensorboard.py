"""The numbers of an evaluation in an event file of TensorBoard, over the training step of the checkpoint.

If the policy is not a checkpoint of a training, the step is 0.
"""

from __future__ import annotations

from proctor.config import TensorBoardConfig
from proctor.reports.trackers.measurements import TrackerError, measurements_of_step
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary


def log_to_tensorboard(config: TensorBoardConfig, run: RunInfo, summary: Summary) -> str:
    """Write an event file, and return the command that shows it.

    Raises:
        TrackerError: the file could not be written; the message gives the reason.
    """
    from tensorboardX import SummaryWriter

    try:
        with SummaryWriter(config.log_dir) as writer:
            for name, value in measurements_of_step(run, summary):
                writer.add_scalar(name, value, run.checkpoint_step or 0)
    except OSError as error:
        raise TrackerError(f"{config.log_dir} cannot be written: {error.strerror or error}.") from error
    return f"TensorBoard (look at it with: tensorboard --logdir {config.log_dir})"
