"""``eval_info.json``: the results in LeRobot's form, and what Proctor adds to it.

LeRobot's readers find ``per_task``, ``per_group`` and ``overall`` with the names and units they know: rates in
percent, averages over completed episodes. Everything else is an addition. A number that does not exist (a rate of no
episodes) is null, never NaN, because JSON has no NaN.

The bytes depend on the results alone, apart from what :func:`without_timing` removes. What :func:`canonical_info`
leaves does not depend on crashes, workers and shards either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from proctor.results.headline import headline_of
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, TaskSummary
from proctor.statistics.bootstrap import RESAMPLES, MeanIntervals
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import EpisodeResult, Outcome

FORMAT_VERSION = 1

# These keys depend on how a run went, not on what it measured.
_TIMES = ("eval_s", "eval_ep_s", "startup_s", "worker_s")
_OF_THE_ATTEMPTS = ("attempts", "errors", "timings")
_OF_THE_RUN = ("config", "provenance", "errors")


def build_eval_info(summary: Summary, run: RunInfo) -> dict[str, Any]:
    """Make the whole structure, as plain JSON values."""
    return {
        name: msgspec.to_builtins(list(part)) if isinstance(part, Iterator) else part
        for name, part in stream_eval_info(summary, run).items()
    }


def stream_eval_info(summary: Summary, run: RunInfo) -> dict[str, Any]:
    """Make the structure with iterators over tasks and episodes, for a file that is written an element at a time.

    As dictionaries, a million episodes would take gigabytes of memory. An episode's ``errors`` and ``timings`` are
    dataclasses, which the file's encoder writes as objects.
    """
    return {
        "format_version": FORMAT_VERSION,
        "complete": summary.complete,
        "per_task": (_task(task, summary) for task in summary.tasks),
        "per_group": {suite: _group(suite, summary) for suite in summary.groups},
        "overall": _overall(summary),
        "macro": _macro(summary),
        "headline": _headline(summary),
        "intervals": _intervals(summary),
        "stopped_early": _stop(summary),
        "errors": _errors(summary),
        "per_episode": (
            _episode(result, task.task.name, summary.videos.get(spec))
            for task in summary.tasks
            for spec, result in zip(task.specs, task.episodes, strict=True)
        ),
        "fingerprint": msgspec.to_builtins(run.fingerprint),
        "config": msgspec.to_builtins(run.config),
        "provenance": msgspec.to_builtins(run.provenance),
    }


def without_timing(info: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the keys that carry time from ``info``, so that two runs of the same command give equal results."""
    return {
        **info,
        "overall": _without(info["overall"], _TIMES),
        "per_episode": [_without(episode, ("timings",)) for episode in info["per_episode"]],
        "provenance": _without(info["provenance"], ("date",)),
    }


def canonical_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all that depends on how a run went from ``info``, so that crashes, workers and shards change nothing."""
    return {
        **_without(info, _OF_THE_RUN),
        "overall": _without(info["overall"], _TIMES),
        "per_episode": [_without(episode, _OF_THE_ATTEMPTS) for episode in info["per_episode"]],
    }


def _without(mapping: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _task(task_summary: TaskSummary, summary: Summary) -> dict[str, Any]:
    task = task_summary.task
    outcomes = [outcome for outcome in task_summary.outcomes if outcome is not Outcome.ERROR]
    sum_rewards, max_rewards, _ = task_summary.quantities.T.tolist()
    return {
        "task_group": task.suite,
        "task_id": task.task_id,
        "task": task.name,
        "instruction": task.instruction,
        "metrics": {
            "sum_rewards": [_number(reward) for reward in sum_rewards],
            "max_rewards": [_number(reward) for reward in max_rewards],
            "successes": [outcome.success for outcome in outcomes],
            "video_paths": _videos_of_completed(task_summary, summary),
        },
        **_rates(task_summary.counts, summary.interval(task_summary.counts)),
        "n_repeated": task_summary.n_repeated,
        **_means(task_summary.counts, task_summary.mean_intervals),
    }


def _videos_of_completed(task: TaskSummary, summary: Summary) -> list[str]:
    if not summary.videos:
        return []
    found = zip(task.specs, task.outcomes, strict=True)
    return [summary.videos[spec] for spec, outcome in found if outcome is not Outcome.ERROR and spec in summary.videos]


def _group(suite: str, summary: Summary) -> dict[str, Any]:
    counts = summary.groups[suite]
    return {
        **_means(counts, summary.mean_intervals_of(suite)),
        **_rates(counts, summary.pooled_interval(suite)),
        "video_paths": _videos(summary, suite),
    }


def _overall(summary: Summary) -> dict[str, Any]:
    return {
        **_means(summary.overall, summary.mean_intervals),
        **_rates(summary.overall, summary.pooled_interval()),
        "video_paths": _videos(summary),
        **_times(summary),
    }


def _videos(summary: Summary, suite: str | None = None) -> list[str]:
    """List the videos of all suites, or of one, in the order of the plan."""
    specs = (spec for task in summary.tasks if suite in (None, task.task.suite) for spec in task.specs)
    return [summary.videos[spec] for spec in specs if spec in summary.videos]


def _means(counts: Counts, intervals: MeanIntervals) -> dict[str, Any]:
    return {
        "n_rewards": counts.n_sum_rewards,
        "avg_sum_reward": counts.mean_sum_reward,
        "avg_sum_reward_interval": _ends(intervals.sum_reward),
        "avg_max_reward": counts.mean_max_reward,
        "avg_max_reward_interval": _ends(intervals.max_reward),
        "avg_length": counts.mean_length,
        "avg_length_interval": _ends(intervals.length),
    }


def _rates(counts: Counts, interval: Interval | None) -> dict[str, Any]:
    return {
        "pc_success": _percent(counts.rate),
        "pc_success_interval": _percents(interval),
        "pc_success_bounds": _percents(counts.bounds),
        "n_episodes": counts.n_completed,
        "n_successes": None if counts.n_unknown else counts.n_successes,
        "n_unknown": counts.n_unknown,
        "n_errors": counts.n_errors,
        "n_missing": counts.n_missing,
    }


def _times(summary: Summary) -> dict[str, Any]:
    """Give the times under LeRobot's names; the time per episode is over completed episodes, as in LeRobot."""
    n, wall_s = summary.overall.n_completed, summary.wall_s
    per_episode = wall_s / n if wall_s is not None and n else None
    return {"eval_s": wall_s, "eval_ep_s": per_episode, "startup_s": summary.startup_s, "worker_s": summary.worker_s}


def _macro(summary: Summary) -> dict[str, Any] | None:
    if (mean := summary.macro) is None:
        return None
    return {
        "pc_success": _percent(mean.rate),
        "pc_success_interval": _percents(mean.interval),
        "n_tasks": mean.n_tasks,
        "method": mean.method,
    }


def _headline(summary: Summary) -> dict[str, Any] | None:
    if (shown := headline_of(summary)) is None:
        return None
    return {
        "pc_success": _percent(shown.rate),
        "pc_success_interval": _percents(shown.interval),
        "method": shown.method,
        "basis": shown.basis.value,
    }


def _intervals(summary: Summary) -> dict[str, Any]:
    """Name the methods of the intervals; ``macro`` names the method of the mean over tasks itself."""
    return {"level": LEVEL, "pc_success": summary.method.value, "averages": f"bootstrap ({RESAMPLES} resamples)"}


def _stop(summary: Summary) -> dict[str, Any] | None:
    return None if summary.stop is None else asdict(summary.stop)


def _errors(summary: Summary) -> dict[str, Any]:
    """Count the episodes that remained errors, and by kind all attempts that failed, also if a later one succeeded."""
    attempts = sum((task.failed_attempts for task in summary.tasks), Counter[str]())
    return {
        "n_episodes": summary.overall.n_errors,
        "n_attempts": attempts.total(),
        "attempts_by_kind": dict(sorted(attempts.items())),
    }


def _episode(result: EpisodeResult, task_name: str, video: str | None) -> dict[str, Any]:
    spec = result.spec
    return {
        "suite": spec.suite,
        "task_id": spec.task_id,
        "task": task_name,
        "episode_index": spec.episode_index,
        "seed": spec.seed,
        "init_state_id": spec.init_state_id,
        "success": result.success,
        "sum_reward": _number(result.sum_reward),
        "max_reward": _number(result.max_reward),
        "length": result.length,
        "outcome": result.outcome.value,
        "n_looks": result.n_looks,
        "final_state_hash": result.final_state_hash,
        "attempts": len(result.errors) + (result.outcome is not Outcome.ERROR),
        "errors": result.errors,
        "timings": result.timings,
        "video": video,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


def _percents(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [100 * interval.low, 100 * interval.high]


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
