"""The numbers of an evaluation in Trackio's database on this machine, over the training step of the checkpoint.

If the policy is not a checkpoint of a training, the step is 0.
"""

from __future__ import annotations

from pathlib import Path

from proctor.config import TrackioConfig
from proctor.reports.text import first_line
from proctor.reports.trackers.measurements import STEP, TrackerError, measurements_of_step
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary
from proctor.security.redaction import redact_text


def log_to_trackio(config: TrackioConfig, directory: Path, run: RunInfo, summary: Summary) -> str:
    """Log the evaluation, and return the command that shows it.

    Raises:
        TrackerError: the evaluation could not be logged; the message gives the reason.
    """
    import trackio

    step = run.checkpoint_step or 0
    name = redact_text(config.name or directory.resolve().name)
    try:
        trackio.init(config.project, name, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        trackio.log({STEP: step, **dict(measurements_of_step(run, summary))}, step=step)
        trackio.finish()  # type: ignore[no-untyped-call]
    except Exception as error:  # it raises errors of many kinds, those of its database among them
        reason = first_line(str(error)).rstrip(".") or type(error).__name__
        raise TrackerError(f"Trackio did not take them: {reason}.") from error
    return f"Trackio, run {name} (look at it with: trackio show --project {config.project})"
