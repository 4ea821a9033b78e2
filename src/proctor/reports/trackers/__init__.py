"""An evaluation in the programs in which people follow their trainings.

measurements  every number by name, also as it belongs into a training's run
wandb         Weights & Biases: rates, tables of tasks and episodes, videos, files
trackio       Trackio: the numbers over the training step
tensorboard   TensorBoard: the numbers over the training step

The results are on disk before they are logged, so no failure of a tracker loses any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from proctor.config import RunConfig
from proctor.errors import MissingExtraError
from proctor.reports.trackers.measurements import TrackerError
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary


def check_trackers(config: RunConfig) -> None:
    """Check, before anything runs, that the evaluation can be logged wherever that is asked for.

    Raises:
        MissingExtraError: a tracker is asked for, and its package is not installed.
    """
    wanted = {
        "wandb": config.wandb.wanted,
        "trackio": config.trackio.enable,
        "tensorboardX": config.tensorboard.log_dir is not None,
    }
    for package in (name for name, asked in wanted.items() if asked):
        if find_spec(package) is None:
            raise MissingExtraError(package, package.removesuffix("X"), f"No module named '{package}'")


def log_evaluation(config: RunConfig, directory: Path, run: RunInfo, summary: Summary) -> Iterator[str | TrackerError]:
    """Log the evaluation in ``directory``, which holds its ``eval_info.json``, wherever that is asked for.

    Yields:
        For each tracker a text for people to read that says where the evaluation is, or the error with the reason why
        it is not there.
    """
    from proctor.reports.trackers import tensorboard, trackio, wandb

    loggers: list[Callable[[], str]] = []
    if config.wandb.wanted:
        loggers.append(lambda: wandb.log_to_wandb(config.wandb, directory, config.job_name, run, summary))
    if config.trackio.enable:
        loggers.append(lambda: trackio.log_to_trackio(config.trackio, directory, run, summary))
    if config.tensorboard.log_dir is not None:
        loggers.append(lambda: tensorboard.log_to_tensorboard(config.tensorboard, run, summary))
    for log in loggers:
        try:
            yield log()
        except TrackerError as error:
            yield error
        except ImportError as error:  # the package is there, and something that it needs is not
            yield TrackerError(f"The package of the tracker cannot be imported: {error}.")
