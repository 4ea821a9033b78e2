"""Small evaluations for the tests of pages."""

from __future__ import annotations

from pathlib import Path

from proctor.reports.html import ReportRun
from proctor.results.provenance import Provenance
from proctor.results.run_dir import RUN_FILE
from proctor.results.run_info import RunInfo, plan_by_task
from proctor.results.run_status import RunStatus
from proctor.results.summary import summarize
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, Timings

_OUTCOMES = {"+": Outcome.SUCCESS, "-": Outcome.FAILURE, "!": Outcome.ERROR}
_PROVENANCE = Provenance("2026-01-01T00:00:00+00:00", "3.12", "Linux", "a cpu", 2, {"numpy": "2"}, None, "egl")


def result_of(spec, sign, reason="the arm fell off"):
    """A completed episode whose numbers follow from its spec, or an error."""
    if sign == "!":
        return EpisodeResult(spec, Outcome.ERROR, errors=(AttemptError("raised", reason),))
    return EpisodeResult(
        spec,
        _OUTCOMES[sign],
        sum_reward=float(10 * spec.episode_index % 7 - 3),
        max_reward=1.0,
        length=10 + spec.episode_index,
        timings=Timings(step=1.0, look=2.0),
    )


def sample_run(
    directory: Path, outcomes: list[str], names=("feed-lion", "feed-bear"), instruction="feed", **fingerprint
):
    """A run of tasks whose episodes came out like ``+``, ``-``, ``!``, or have no result yet: ``.``."""
    tasks = [Task("zoo", number, name, instruction, 100) for number, name in enumerate(names[: len(outcomes)])]
    signs = {
        EpisodeSpec("zoo", task, index, 1000 + index): sign
        for task, of_task in enumerate(outcomes)
        for index, sign in enumerate(of_task)
    }
    run = RunInfo(
        {"policy": {"type": "act"}, "env": {"type": "zoo"}, "seed": 1000},
        fingerprint or {"benchmark": {"name": "zoo"}},
        _PROVENANCE,
        ("proctor", "eval"),
        plan_by_task(tasks, list(signs)),
    )
    results = [result_of(spec, sign) for spec, sign in signs.items() if sign != "."]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RUN_FILE).touch()
    return ReportRun(directory, run, summarize(tasks, list(signs), results, wall_s=8.0), RunStatus(directory))
