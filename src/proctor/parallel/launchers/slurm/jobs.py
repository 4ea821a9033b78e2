"""Submits jobs to Slurm through submitit, looks at their states, and cancels them.

submitit writes the script that ``sbatch`` is given, and hands the function that runs in a job over in a pickle: a file
in a folder that only this user can enter. Nothing that submitit or a job writes there is read by the driver. The states
come from ``squeue``, which every cluster has: ``sacct`` needs an accounting database.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from proctor.errors import ConfigError, MissingExtraError, ResourceError
from proctor.parallel.launchers.slurm.options import SlurmOptions

_COMMANDS = ("sbatch", "srun", "squeue", "scancel")
_TIMEOUT_S = 20.0
"""Seconds after which a command of Slurm that does not answer is given up."""
_LOOK_S = 0.5
"""Seconds between two looks at jobs that are to end."""
_SIGNAL_DELAY_S = 60
"""Seconds before the end of its time at which a job receives SIGUSR2."""
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job in Slurm's words (``PENDING``, ``NODE_FAIL``, …); "" if Slurm no longer knows the job."""

    name: str

    def __str__(self) -> str:
        return self.name or "unknown to Slurm"

    @property
    def waits(self) -> bool:
        """The job is in the queue, for the first time or again."""
        return self.name in _WAITING

    @property
    def over(self) -> bool:
        """The job has ended, and will not run again."""
        return not self.waits and self.name not in _RUNNING


GONE = JobState("")


def require_slurm() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        ConfigError: commands of Slurm are missing.
        MissingExtraError: submitit is not installed.
    """
    if missing := [name for name in _COMMANDS if shutil.which(name) is None]:
        raise ConfigError(
            f"Slurm's commands {', '.join(missing)} are not on this machine's PATH; call proctor on a machine from "
            "which jobs are submitted, most often the login node."
        )
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("submitit", "slurm", str(error)) from None


class SlurmJobs:
    """The jobs of one evaluation. The nodes must see ``folder``, too; it holds scripts, pickles and logs."""

    def __init__(self, folder: Path, options: SlurmOptions) -> None:
        self.folder, self._options = folder, options
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clean()  # those of a driver that was killed
        self.submitted: list[str] = []
        """The id of every job and of every task of a job array that was submitted here: ``123``, ``123_4``."""

    def submit(self, tasks: Sequence[Callable[[], None]], *, n_ranks: int = 1) -> list[str]:
        """Submit a job for each of ``tasks``, as an array if there are several; return their ids.

        Each job calls its task once in each of ``n_ranks`` processes, which are divided among the nodes.

        Raises:
            ConfigError: Slurm refuses the jobs; ResourceError if it took earlier ones.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        logging.getLogger("submitit").setLevel(logging.ERROR)
        # -P: a module in the working directory of the job must not take the place of one of Python's own.
        python = f"{shlex.quote(sys.executable)} -P"
        executor = submitit.SlurmExecutor(self.folder, python=python)
        executor.update_parameters(**self._parameters(n_ranks, len(tasks)))
        try:
            # submitit prints what sbatch says, which the error repeats.
            with _outside_of_a_job(), redirect_stderr(StringIO()):
                jobs = executor.submit_array(list(tasks))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            kind = ResourceError if self.submitted else ConfigError
            raise kind(f"Slurm refuses the jobs of the shards: {_last_line(error)}.") from None
        ids = [str(job.job_id) for job in jobs]
        self.submitted += ids
        return ids

    def look(self, ids: Iterable[str]) -> Mapping[str, JobState] | None:
        """Return the states of jobs; None if Slurm does not answer now."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        done = _call("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", f"--jobs={','.join(wanted)}")
        if done is None or (done.returncode and "Invalid job id" not in done.stderr):
            return None
        lines = (line.split("|") for line in done.stdout.splitlines() if line.count("|") == 1)
        states = {job.strip(): JobState(state.strip()) for job, state in lines}
        return {job: states.get(job, GONE) for job in wanted}

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs that were submitted here; nothing happens to those that have ended."""
        if own := [job for job in ids if job in self.submitted]:
            _call("scancel", *own)

    def end(self, unfinished: Collection[str], grace_s: float, limit_s: float) -> None:
        """Cancel the jobs ``unfinished`` and all that wait; the others have ``grace_s`` seconds to end by themselves.

        Returns once no job runs any more, or after ``limit_s`` seconds.
        """
        began, cancelled = monotonic(), set(unfinished)
        self.cancel([job for job in self.submitted if job in cancelled])
        left = self.submitted
        while left and monotonic() - began < limit_s:
            states = self.look(left)
            if states is not None:
                left = [job for job, state in states.items() if not state.over]
            at_once = states is None or monotonic() - began > grace_s
            more = [job for job in left if job not in cancelled and (at_once or (states or {})[job].waits)]
            self.cancel(more)
            cancelled.update(more)
            if left:
                sleep(_LOOK_S)

    def log_of(self, job: str) -> Path:
        """Return the file that holds what a job has printed as errors."""
        return self.folder / f"{job}_0_log.err"

    def clean(self) -> None:
        """Remove what was handed over to jobs: it may hold secrets, and no job reads it any more. Logs are kept."""
        for pattern in ("*_submitted.pkl", "*_result.pkl", ".submission_file_*.sh"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)

    def _parameters(self, n_ranks: int, n_jobs: int) -> dict[str, Any]:
        """Return the options of ``sbatch`` in submitit's terms. None leaves an option of submitit's own out."""
        options = self._options
        memory = options.slurm_memory_gb
        nodes = min(options.slurm_nodes, n_ranks)
        requeue = "requeue" if options.slurm_requeue else "no-requeue"
        return {
            "job_name": "proctor",
            "partition": options.slurm_partition,
            "account": options.slurm_account,
            "qos": options.slurm_qos,
            "gres": options.slurm_gres,
            "time": options.time_limit(),
            "cpus_per_task": options.slurm_cpus_per_task,
            "mem": None if memory is None else f"{round(memory * 1024)}M",
            "nodes": nodes,
            "ntasks_per_node": -(-n_ranks // nodes),
            "setup": None if options.slurm_setup is None else [options.slurm_setup],
            "wckey": None,
            "signal_delay_s": _SIGNAL_DELAY_S,
            "array_parallelism": n_jobs,
            "srun_args": self._srun_arguments(),
            "additional_parameters": {requeue: True, **options.further()},
        }

    def _srun_arguments(self) -> list[str]:
        """Return what ``srun`` is given in a job: since Slurm 22.05 it does not inherit the CPUs of a task."""
        cpus = self._options.slurm_cpus_per_task
        # A shard that is lost leaves the other shards of its allocation alone.
        return ["--kill-on-bad-exit=0", *([] if cpus is None else [f"--cpus-per-task={cpus}"])]


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Take away the variables of the job in which the driver itself may run: new jobs would inherit its resources."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    users = {name: value for name, value in os.environ.items() if name == "SLURM_CONF" or name.startswith("SBATCH_")}
    with clean_env():
        os.environ.update(users)  # which are the user's own choices, and which submitit takes for a job's
        yield


def _call(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Call a command of Slurm; None if it does not answer.

    Raises:
        ResourceError: the command cannot be started.
    """
    try:
        return subprocess.run(  # noqa: S603 - Slurm's own commands, with ids that Slurm gave
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the driver, which cancels jobs by such a command
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise ResourceError(f"{command[0]} cannot be started: {error.strerror or error}.") from None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
