"""``proctor compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from proctor.cli.ci import append_text
from proctor.cli.output import print_json
from proctor.cli.run_names import compared_runs
from proctor.errors import ConfigError

if TYPE_CHECKING:
    from proctor.results.compare import Comparison, RunComparison
    from proctor.results.measured import MeasuredRun

WORSE = 6


def compare_command(
    *run_dirs: Path,
    json: bool = False,
    anyway: bool = False,
    fail_if_worse: float | None = None,
    markdown: Path | None = None,
) -> int:
    """Compare evaluations with the first one: is a policy better, and how many more episodes would tell?

    An evaluation is a run directory, finished or not, or an eval_info.json, also LeRobot's. A part of a run's name that
    no other run here has is enough. Episodes that both ran
    (same task, episode, seed) are compared in pairs; if there are none, the two are independent samples.

    Parameters
    ----------
    run_dirs
        The evaluation with which the others are compared, and the others. Without any, the last two runs; with one, the
        last other run is compared with it.
    json
        Print the numbers of all tasks as JSON.
    anyway
        Compare although benchmark, protocol or environment differ.
    fail_if_worse
        End with status 6 if one is worse than the first over all tasks, at this level of significance, such as 0.05.
    markdown
        Append the comparison in Markdown to this file, for example "$GITHUB_STEP_SUMMARY".
    """
    from proctor.reports.comparison import print_comparison, print_first
    from proctor.reports.markdown import comparison_markdown
    from proctor.results.compare import Verdict, compare, tasks_without_rate
    from proctor.results.measured import read_measured

    if fail_if_worse is not None and not 0 < fail_if_worse < 1:
        raise ConfigError(f"--fail_if_worse is {fail_if_worse}; it is a level of significance, such as 0.05.")
    evaluations = [read_measured(path) for path in compared_runs(run_dirs)]
    remarks = [_remarks(evaluations[0], other, anyway=anyway) for other in evaluations[1:]]
    if not json:
        print_first(Console(), evaluations[0].path)  # before the tests, whose library takes half a second to import
    compared = compare(evaluations)
    if fail_if_worse is not None and any(tasks_without_rate(evaluations[0], other) for other in evaluations[1:]):
        raise ConfigError(
            "--fail_if_worse cannot be decided: a task that both have run has no success rate, because its environment "
            "did not report for every episode whether it succeeded. Evaluate with --env.success_key or "
            "--env.success_threshold, or compare without --fail_if_worse."
        )
    if json:
        print_json([_plain(comparison, sentences) for comparison, sentences in zip(compared, remarks, strict=True)])
    else:
        print_comparison(Console(), compared, remarks)
    if markdown is not None:
        append_text(markdown, comparison_markdown(compared, remarks))
    level = fail_if_worse
    failed = level and any(comparison.overall.verdict_at(level) is Verdict.WORSE for comparison in compared)
    return WORSE if failed else 0


def _remarks(a: MeasuredRun, b: MeasuredRun, *, anyway: bool) -> list[str]:
    """Give sentences on how two evaluations came about that a reader of their comparison needs.

    Raises:
        ConfigError: the evaluations are different exams, and the user did not ask to compare them anyway.
    """
    from proctor.results.compare import circumstances, different_exams

    differences = different_exams(a, b)
    if differences and not anyway:
        raise ConfigError(
            f"{a.path} and {b.path} are not the same exam:\n  "
            + "\n  ".join(differences)
            + "\nTheir rates mean different things; compare them nevertheless with --anyway."
        )
    return circumstances(a, b)


def _plain(comparison: RunComparison, remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "a": str(comparison.a.path),
        "b": str(comparison.b.path),
        "paired": comparison.overall.paired,
        "overall": _numbers(comparison.overall),
        "per_task": [{"task": task.name, **_numbers(task)} for task in comparison.tasks],
        "n_tasks_left_out": comparison.n_tasks_left_out,
        "remarks": remarks,
    }


def _numbers(comparison: Comparison) -> dict[str, Any]:
    contrast, bounds = comparison.contrast, comparison.bounds
    interval = comparison.interval
    return {
        **{
            side: {**score._asdict(), "n_errors": counts.n_errors, "n_missing": counts.n_missing}
            for side, score, counts in zip("ab", contrast.scores, (comparison.a, comparison.b), strict=True)
        },
        "difference": contrast.difference,
        "interval": [interval.low, interval.high],
        "interval_level": 1 - comparison.error,
        "bounds": None if bounds is None else [bounds.low, bounds.high],
        "test": contrast.test,
        "p_value": comparison.p_value,
        "adjusted_p": comparison.adjusted_p,
        "adjustment": {"method": "Holm", "n_comparisons": comparison.n_comparisons},
        "verdict": comparison.verdict.value,
        "more_episodes": comparison.more_episodes,
    }
