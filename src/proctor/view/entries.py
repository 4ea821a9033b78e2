"""The entry of a run in the index: what it evaluates, how far it is, its rate, and why it ended early."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from proctor.errors import Interrupted
from proctor.reports.text import duration, first_line, mean_reward, policy_name
from proctor.results.headline import headline_of
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo, resume_command
from proctor.results.summary import Summary, load_summary
from proctor.statistics.intervals import Interval
from proctor.types import AttemptError
from proctor.view.pace import episodes_per_s

_OF_A_CHECKPOINT = re.compile(r"(/checkpoints/[^/]+)?(/pretrained_model(_ema)?)?/?$")
_INTERRUPTED = str(Interrupted(0))


@dataclass(frozen=True)
class RunEntry:
    """A run as the index shows it.

    Attributes:
        name, path: its path relative to the folder, and the whole path.
        date: the time at which it was begun, in ISO format with its offset to UTC.
        policy, policy_path: the policy in few words, and the whole path of its checkpoint or its type.
        step: the training step of the checkpoint.
        state: "running", "finished", "unfinished", or "unread" if only the name and the date are known.
        reason: the reason why an unfinished run is unfinished, or why no episode was completed, in a sentence that
            further lines may explain; else "".
        resume: the end of a sentence that continues the run; "" if there is nothing to continue, or if another session
            would end as the last one did.
        seconds: the wall time of all sessions.
        per_s: the episodes that a running run finishes per second; None if that is not known.
        rate, interval: the headline's, in 0 to 1.
        reward: the mean reward if the success of an episode is unknown, else "".
        problem: the reason why the run cannot be read; the fields above are empty then.
    """

    id: str
    name: str
    path: str
    date: str = ""
    job_name: str = ""
    notes: str = ""
    benchmark: str = ""
    tasks: str = ""
    policy: str = ""
    policy_path: str = ""
    step: int | None = None
    n_action_steps: int | None = None
    seed: int | None = None
    state: str = ""
    reason: str = ""
    resume: str = ""
    n_completed: int = 0
    n_planned: int = 0
    n_errors: int = 0
    n_videos: int = 0
    seconds: float | None = None
    per_s: float | None = None
    rate: float | None = None
    interval: Interval | None = None
    reward: str = ""
    problem: str = ""

    @property
    def n_done(self) -> int:
        """Episodes with a result, errors included."""
        return self.n_completed + self.n_errors

    @property
    def done(self) -> float:
        """The part of the plan that has a result, 0 to 1."""
        return self.n_done / self.n_planned if self.n_planned else 0.0

    @property
    def left(self) -> str:
        """The time until the last episode at the present pace; "" if that is not known."""
        return duration((self.n_planned - self.n_done) / self.per_s) + " left" if self.per_s else ""

    @property
    def pace(self) -> str:
        """The pace in the unit of the terminal; "" if it is not known."""
        return f"{60 * self.per_s:.1f} episodes/min" if self.per_s else ""

    @property
    def makes_videos(self) -> bool:
        """The episodes are measured, and their videos are being made."""
        return self.state == "running" and self.n_done == self.n_planned


def read_entry(run_id: str, name: str, directory: Path) -> RunEntry:
    """Read a run for the index.

    Raises:
        ProctorError: the run cannot be read.
    """
    run, summary = load_summary(directory)
    return entry_of(run_id, name, run, summary, RunDirectory(directory))


def entry_of(run_id: str, name: str, run: RunInfo, summary: Summary, files: RunDirectory) -> RunEntry:
    """Make the entry of a run that has been read."""
    policy, env, counts = run.config.get("policy", {}), run.config.get("env", {}), summary.overall
    shown, live, end = headline_of(summary), files.writer() is not None, files.read_end()
    path = policy_name(policy)
    return RunEntry(
        run_id,
        name,
        str(files.path),
        date=run.provenance.date,
        job_name=str(run.config.get("job_name") or ""),
        notes=str(run.config.get("notes") or ""),
        benchmark=str(env.get("type", "")),
        tasks=str(env.get("task") or ""),
        policy=_short(path),
        policy_path=path,
        step=run.checkpoint_step,
        n_action_steps=_whole((run.opened_policy or run.fingerprint.get("policy", {})).get("n_action_steps")),
        seed=_whole(run.config.get("seed")),
        state="running" if live else "finished" if summary.complete else "unfinished",
        reason="" if live else _reason(summary, files, end),
        resume=resume_command(run, files.path) if not live and _can_resume(summary, end) else "",
        n_completed=counts.n_completed,
        n_planned=counts.n_planned,
        n_errors=counts.n_errors,
        n_videos=len(summary.videos),
        seconds=summary.wall_s or None,
        per_s=episodes_per_s(files) if live else None,
        rate=shown.rate if shown else None,
        interval=shown.interval if shown else None,
        reward=mean_reward(counts) if counts.n_unknown else "",
    )


def _can_resume(summary: Summary, end: str) -> bool:
    return not summary.complete and (end in ("", _INTERRUPTED) or summary.overall.n_completed > 0)


def _reason(summary: Summary, files: RunDirectory, end: str) -> str:
    """Explain why the run has not finished, or has no result."""
    if summary.complete:
        first = None if summary.overall.n_completed else summary.first_error
        return _line(first[1]) if first else ""
    if end:
        return "It was interrupted." if end == _INTERRUPTED else end
    if files.has_lost_writer:
        return "Its process was killed, or the machine failed."
    if not summary.overall.n_completed and (first := summary.first_error):
        return _line(first[1])
    return "It ended before all of its episodes were run."


def _line(error: AttemptError) -> str:
    return f"{error.kind}: {first_line(error.message)}"


def _short(policy: str) -> str:
    """Shorten the path of a checkpoint to the last two parts of its training's directory."""
    parts = _OF_A_CHECKPOINT.sub("", policy).split("/")
    return "/".join(parts[-2:]) or policy


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
