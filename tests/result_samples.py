"""Small results to write, merge and count in the tests of this folder."""

import tempfile
from pathlib import Path

from proctor.results.journal import read_journal
from proctor.results.provenance import Provenance
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo, plan_by_task
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, Timings

FINGERPRINT = {"policy": {"hash": "ab12", "n_action_steps": 8}, "seed": 1000}

TASKS = (
    Task("zoo", 0, "feed-lion", "feed the lion", 100),
    Task("zoo", 1, "feed-bear", "feed the bear", 100),
    Task("attic", 0, "find-lamp", "find the lamp", 50),
)
SPECS = tuple(EpisodeSpec(task.suite, task.task_id, index, 1000 + index, index) for task in TASKS for index in range(4))


def done(spec, *, success=True, seconds=0.5, errors=()):
    """A completed episode whose numbers follow from its spec."""
    return EpisodeResult(
        spec,
        Outcome.SUCCESS if success else Outcome.FAILURE,
        sum_reward=spec.episode_index + 0.25,
        max_reward=float(success),
        length=10 + spec.episode_index,
        n_looks=3,
        final_state_hash=f"hash{spec.episode_index}",
        errors=errors,
        timings=Timings(step=seconds),
    )


def broken(spec, message="the arm fell off"):
    """An episode that ended in an error."""
    return EpisodeResult(spec, Outcome.ERROR, errors=(AttemptError("raised", message, "Traceback ..."),))


def journal_of(tmp_path, *results):
    """A journal with these results, in a directory of its own."""
    tmp_path.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=tmp_path))
    with RunDirectory(directory).open_journal(FINGERPRINT) as writer:
        for result in results:
            writer.append(result, None)
    return read_journal(directory / "journal.jsonl")


def run_info(**config):
    """A run of the whole sample plan."""
    provenance = Provenance("2026-01-01T00:00:00+00:00", "3.12", "Linux", "a cpu", 2, {"numpy": "2"}, None, "egl")
    return RunInfo(config, FINGERPRINT, provenance, ("proctor", "eval"), plan_by_task(TASKS, SPECS))
