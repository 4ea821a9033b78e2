"""LeRobot's functions under their names: ``make_env``, ``make_policy``, ``eval_policy``, ``eval_policy_all``.

LeRobot's training script evaluates with Proctor if it imports ``make_env`` and ``eval_policy_all`` from here.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from proctor.benchmarks.elsewhere import address_of
from proctor.compat.episode_data import EpisodeSteps, episode_data, replayed_steps
from proctor.compat.lockstep import Lockstep
from proctor.compat.vector_env import SharedEvaluator, TaskVectorEnv
from proctor.config import EnvConfig, EvalConfig, RunConfig
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.errors import ConfigError, note
from proctor.evaluation.arguments import env_fields, names, policy_of, switch, vector_env, whole_number
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.evaluation.evaluator import Evaluator
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.result import EvalResult
from proctor.policies.base import AnyPolicy, LocalPolicy, Policy
from proctor.rendering import choose_renderer
from proctor.results.journal import read_actions
from proctor.results.journal_records import key_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RunDirectory
from proctor.streams import global_generators_restored
from proctor.types import EpisodeSpec, Outcome

_USUAL_SEED = 1000
_DONE_BY_US = frozenset({"LiberoProcessorStep"})
"""Steps of LeRobot's processors of environments that Proctor's environments have done already."""


def make_env(  # noqa: PLR0913 - LeRobot's
    cfg: Any,
    n_envs: int = 1,
    use_async_envs: bool = True,  # noqa: FBT001, FBT002 - LeRobot's order
    hub_cache_dir: str | None = None,
    trust_remote_code: bool = False,  # noqa: FBT001, FBT002
    *,
    lerobot_names: bool = False,
) -> dict[str, dict[int, TaskVectorEnv]]:
    """The tasks of a benchmark as vector environments, ``{suite: {task_id: env}}``; none is built before its first use.

    ``cfg`` is a benchmark's name, the fields of ``--env.*``, a benchmark's configuration, an ``EnvConfig`` of LeRobot,
    or, as in LeRobot, a Hub repository (``user/repo``) whose code runs only with ``trust_remote_code``.
    Observations have the names of LeRobot's features (``observation.image``), or with ``lerobot_names`` those that
    LeRobot's ``preprocess_observation`` takes (``pixels``, ``agent_pos``).

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
    """
    n_envs, use_async_envs = whole_number("n_envs", n_envs, 1), switch("use_async_envs", use_async_envs)
    consent, theirs = switch("trust_remote_code", trust_remote_code), switch("lerobot_names", lerobot_names)
    if hub_cache_dir is not None:
        raise ConfigError("hub_cache_dir is not supported: set HF_HUB_CACHE, the directory of the Hub's cache.")
    fields = env_fields(cfg)
    benchmark, _ = make_benchmark(fields, trust_remote_code=consent)
    choose_renderer(benchmark)
    shared = SharedEvaluator(partial(Evaluator, fields, trust_remote_code=consent))
    envs: dict[str, dict[int, TaskVectorEnv]] = {}
    for task in plan_tasks(benchmark):
        env = TaskVectorEnv(benchmark, task, n_envs, shared, use_async_envs=use_async_envs, lerobot_names=theirs)
        envs.setdefault(task.suite, {})[task.task_id] = env
    return envs


def make_policy(
    cfg: Any,
    env_cfg: str | Mapping[str, Any] | EnvConfig | None = None,
    rename_map: Mapping[str, str] | None = None,
    *,
    trust_remote_code: bool = False,
) -> Policy | LocalPolicy:
    """A loaded policy: ``cfg`` is whatever :func:`proctor.evaluate` takes as a policy, such as a ``PreTrainedConfig``
    of LeRobot that names a checkpoint.

    ``env_cfg`` is checked for being a benchmark; that the policy fits it is checked when the two meet. A LeRobot policy
    object is evaluated as it is when an evaluation begins, not as it was here. ``trust_remote_code`` is the consent to
    run the code of models that a checkpoint is built around.

    Raises:
        ConfigError: ``cfg`` does not describe a policy, or ``env_cfg`` a benchmark; the message says what to give.
    """
    if env_cfg is not None:
        make_benchmark(env_fields(env_cfg))
    rename_map = names("rename_map", rename_map)
    given = policy_of(cfg, rename_map=rename_map)
    consent = switch("trust_remote_code", trust_remote_code)
    policy = load_policy(given, rename_map, trust_remote_code=consent) if isinstance(given, dict) else given
    return policy if isinstance(policy, LocalPolicy) else policy.open(EvalConfig().inference_threads)


def eval_policy(  # noqa: PLR0913 - LeRobot's
    env: VectorEnv,
    policy: Any,
    n_episodes: int,
    *,
    start_seed: int | None = _USUAL_SEED,
    preprocessor: Any = None,
    postprocessor: Any = None,
    env_preprocessor: Any = None,
    env_postprocessor: Any = None,
    max_episodes_rendered: int = 0,
    videos_dir: str | Path | None = None,
    return_episode_data: bool = False,
    recording_dir: str | Path | None = None,
    env_features: Any = None,
    recording_repo_id: str | None = None,
    recording_private: bool = False,
    save_predicted_video: bool = False,
) -> dict[str, Any]:
    """Evaluate a policy, whatever :func:`proctor.evaluate` takes as one, on one task.

    An environment of :func:`make_env` determines the task and how many simulators run side by side; the engine
    runs the episodes, and keeps the simulators until the environment is closed. Any other vector environment is stepped
    in lockstep, row *i* of batch *k* seeded with ``start_seed + k * num_envs + i``, and its success read from
    ``info["is_success"]``, else ``info["success"]``.

    Args:
        env: a vector environment.
        policy: the policy; a ``PreTrainedPolicy`` with its ``preprocessor`` and ``postprocessor``.
        n_episodes: the number of episodes.
        start_seed: the seed of the first episode; None means 1000.
        preprocessor: what observations pass before the policy.
        postprocessor: what the policy's actions pass.
        env_preprocessor: LeRobot's processor of the environment's observations. Proctor's environments have done what
            that of LIBERO does; another one with any step is refused for them.
        env_postprocessor: LeRobot's processor of actions on their way to the environment.
        max_episodes_rendered: the number of episodes of which there is a video ``videos_dir/eval_episode_<n>.mp4``.
        videos_dir: the folder of the videos.
        return_episode_data: whether ``episodes`` has all steps: see :mod:`proctor.compat.episode_data`.
        recording_dir: refused if it is given, as is ``recording_repo_id``.
        env_features: has no effect without recording.
        recording_repo_id: refused if it is given.
        recording_private: has no effect without recording.
        save_predicted_video: refused if it is true.

    Returns:
        ``per_episode`` (a list), ``aggregated`` with ``avg_sum_reward``, ``avg_max_reward``, ``pc_success`` in percent,
        ``n_episodes``, ``eval_s`` and ``eval_ep_s`` in seconds; the aggregated values also at the top; ``video_paths``
        and ``episodes`` if they were asked for. ``success`` is None for an episode whose success the environment did
        not report (its ``outcome`` is unknown), and ``pc_success`` is None if there is one. Rewards that are not finite
        are None, and the averages are over the others.

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
        NoResultError: every episode ended in an error; the cause holds the first traceback.
        ValueError: a vector environment that is stepped in lockstep returned a success, an end or a reward that is
            none.
    """
    began = monotonic()
    _refuse_recording(recording_dir, recording_repo_id, save_predicted_video=save_predicted_video)
    wanted = _Wanted.checked(n_episodes, start_seed, max_episodes_rendered, videos_dir, return_episode_data)
    wanted = replace(wanted, before=env_preprocessor, after=env_postprocessor)
    given = policy_of(policy, preprocessor, postprocessor)
    chosen = load_policy(given) if isinstance(given, dict) else given
    task = _evaluate_tasks({("", 0): vector_env(env)}, chosen, wanted, {("", 0): wanted.videos_dir})["", 0]
    aggregated = _aggregated(task.done, None) | _durations(began, len(task.done))
    found = {"per_episode": task.episodes, "aggregated": aggregated, **aggregated}
    if wanted.n_videos:
        found["video_paths"] = task.video_paths
    if wanted.keeps_steps:
        found["episodes"] = episode_data(task.steps, task.fps)
    return found


def eval_policy_all(  # noqa: PLR0913, PLR0917 - LeRobot's
    envs: Mapping[str, Mapping[int, Any]],
    policy: Any,
    env_preprocessor: Any,
    env_postprocessor: Any,
    preprocessor: Any,
    postprocessor: Any,
    n_episodes: int,
    *,
    max_episodes_rendered: int = 0,
    recording_dir: str | Path | None = None,
    env_features: Any = None,
    recording_repo_id: str | None = None,
    recording_private: bool = False,
    videos_dir: str | Path | None = None,
    return_episode_data: bool = False,
    start_seed: int | None = None,
    max_parallel_tasks: int = 1,
) -> dict[str, Any]:
    """Evaluate a policy on several tasks, with the arguments and the result of LeRobot's function of this name.

    Environments of :func:`make_env` are evaluated by the engine, all tasks together, in as many simulators as LeRobot
    would have: those of one environment, times ``max_parallel_tasks``. The engine keeps the simulators until the
    environments are closed, which is left to the caller. Other environments, such as LeRobot's own, are stepped in
    lockstep, one task after another, and a note says so.

    Args:
        envs: ``{suite: {task_id: vector environment}}``.
        policy: see :func:`eval_policy`, which also describes the arguments that are not described here.
        env_preprocessor: see there.
        env_postprocessor: see there.
        preprocessor: see there.
        postprocessor: see there.
        n_episodes: the number of episodes of each task.
        max_episodes_rendered: the number of videos of each task,
            ``videos_dir/<suite>_<task_id>/eval_episode_<n>.mp4``.
        recording_dir: refused if it is given, as is ``recording_repo_id``.
        env_features: has no effect without recording.
        recording_repo_id: refused if it is given.
        recording_private: has no effect without recording.
        videos_dir: the folder of the videos.
        return_episode_data: has no effect, as in LeRobot.
        start_seed: the seed of the first episode of each task; None means 1000.
        max_parallel_tasks: the number of tasks that have simulators at a time, in LeRobot.

    Returns:
        ``per_task``, a list of ``task_group``, ``task_id`` and ``metrics`` (lists with an entry for each completed
        episode: ``sum_rewards``, ``max_rewards``, ``successes``; ``video_paths``, ``predicted_video_paths``);
        ``per_group`` and ``overall`` with ``avg_sum_reward``, ``avg_max_reward``, ``pc_success`` in percent,
        ``n_episodes`` and the paths, and overall ``eval_s`` and ``eval_ep_s`` in seconds. What is unknown is NaN.

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
        NoResultError: every episode ended in an error; the cause holds the first traceback.
    """
    began = monotonic()
    _refuse_recording(recording_dir, recording_repo_id, save_predicted_video=False)
    wanted = _Wanted.checked(n_episodes, start_seed, max_episodes_rendered, videos_dir, keeps_steps=False)
    n_parallel = whole_number("max_parallel_tasks", max_parallel_tasks, 0)
    wanted = replace(wanted, before=env_preprocessor, after=env_postprocessor, n_parallel=max(1, n_parallel))
    given = policy_of(policy, preprocessor, postprocessor)
    chosen = load_policy(given) if isinstance(given, dict) else given
    tasks = {(suite, task_id): vector_env(env) for suite, group in envs.items() for task_id, env in group.items()}
    folders = {key: wanted.videos_dir and wanted.videos_dir / f"{key[0]}_{key[1]}" for key in tasks}
    if not all(isinstance(env, TaskVectorEnv) for env in tasks.values()):
        note(
            "These environments were not made by proctor.make_env: they are stepped in lockstep, one task after "
            "another, as LeRobot does, and not by the engine."
        )
    found = _evaluate_tasks(tasks, chosen, wanted, folders)
    per_group = {suite: _group([found[key] for key in tasks if key[0] == suite]) for suite in envs}
    overall = _group(found.values())
    return {
        "per_task": [
            {"task_group": suite, "task_id": task_id, "metrics": found[suite, task_id].metrics}
            for suite, task_id in tasks
        ],
        "per_group": per_group,
        "overall": overall | _durations(began, overall["n_episodes"]),
    }


# --------------------------------------------------------------------------------------------------- what is asked for


_Key = tuple[str, int]
"""A suite and the number of a task in it, as in the dictionary of environments."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The episodes, videos and steps that are asked for, and the processors of the environment."""

    n_episodes: int
    seed: int
    n_videos: int
    videos_dir: Path | None
    keeps_steps: bool
    before: Any = None
    after: Any = None
    n_parallel: int = 1

    @classmethod
    def checked(cls, n_episodes: Any, seed: Any, n_videos: Any, videos_dir: Any, keeps_steps: Any) -> _Wanted:
        n_videos = whole_number("max_episodes_rendered", n_videos, 0)
        if n_videos and not videos_dir:
            raise ConfigError(f"max_episodes_rendered is {n_videos}, but videos_dir is missing: give a folder.")
        return cls(
            n_episodes=whole_number("n_episodes", n_episodes, 1),
            seed=_USUAL_SEED if seed is None else whole_number("start_seed", seed, 0),
            n_videos=n_videos,
            videos_dir=Path(videos_dir) if videos_dir else None,
            keeps_steps=switch("return_episode_data", keeps_steps),
        )


def _refuse_recording(directory: Any, repo_id: Any, *, save_predicted_video: bool) -> None:
    if directory is not None or repo_id is not None:
        raise ConfigError(
            "recording_dir and recording_repo_id are not supported here: leave them out, and record one dataset with "
            "proctor.evaluate(…, recording=True)."
        )
    if save_predicted_video:
        raise ConfigError("save_predicted_video is not supported; leave it out.")


# ------------------------------------------------------------------------------------------------------ what was found


@dataclass
class _TaskResult:
    """The results of a task: entries of ``per_episode``, the videos, and all steps if they were asked for."""

    episodes: list[dict[str, Any]]
    video_paths: list[str]
    steps: list[EpisodeSteps]
    fps: float = 1.0

    @property
    def done(self) -> list[dict[str, Any]]:
        """The episodes that did not end in an error."""
        return [episode for episode in self.episodes if episode["outcome"] != Outcome.ERROR]

    @property
    def metrics(self) -> dict[str, Any]:
        """LeRobot's metrics of a task; what is not known is NaN."""
        names = {"sum_rewards": "sum_reward", "max_rewards": "max_reward", "successes": "success"}
        lists = {
            name: [math.nan if episode[each] is None else episode[each] for episode in self.done]
            for name, each in names.items()
        }
        return {**lists, "video_paths": self.video_paths, "predicted_video_paths": []}


def _group(tasks: Iterable[_TaskResult]) -> dict[str, Any]:
    tasks = list(tasks)
    paths = [path for task in tasks for path in task.video_paths]
    done = [episode for task in tasks for episode in task.done]
    return {**_aggregated(done, math.nan), "video_paths": paths, "predicted_video_paths": []}


def _aggregated(done: Sequence[Mapping[str, Any]], unknown: float | None) -> dict[str, Any]:
    """Average over completed episodes; ``unknown`` stands for what cannot be averaged."""
    successes = [episode["success"] for episode in done]
    return {
        "avg_sum_reward": _mean([episode["sum_reward"] for episode in done], unknown),
        "avg_max_reward": _mean([episode["max_reward"] for episode in done], unknown),
        "pc_success": 100 * float(np.mean(successes)) if successes and None not in successes else unknown,
        "n_episodes": len(done),
    }


def _mean(rewards: Sequence[float | None], unknown: float | None) -> float | None:
    known = [reward for reward in rewards if reward is not None]
    return float(np.mean(known)) if known else unknown


def _durations(began: float, n_episodes: int) -> dict[str, float]:
    seconds = monotonic() - began
    return {"eval_s": seconds, "eval_ep_s": seconds / max(1, n_episodes)}


# -------------------------------------------------------------------------------------------------------- how it is run


def _evaluate_tasks(
    tasks: Mapping[_Key, Any], policy: AnyPolicy, wanted: _Wanted, folders: Mapping[_Key, Path | None]
) -> dict[_Key, _TaskResult]:
    """Evaluate a policy on tasks: those of one :func:`make_env` together, others one by one."""
    together: dict[int, dict[_Key, TaskVectorEnv]] = {}
    found: dict[_Key, _TaskResult] = {}
    for key, env in tasks.items():
        if isinstance(env, TaskVectorEnv):
            together.setdefault(id(env.shared), {})[key] = env
        elif isinstance(policy, LocalPolicy):
            raise ConfigError("A policy that lives in the workers needs an environment of proctor.make_env.")
        else:
            found[key] = _in_lockstep(env, policy.open(EvalConfig().inference_threads), wanted, folders[key])
    for ours in together.values():
        found |= _in_engine(ours, policy, wanted, folders)
    return found


def _in_lockstep(env: Any, policy: Policy, wanted: _Wanted, folder: Path | None) -> _TaskResult:
    lockstep = Lockstep(env, policy, wanted.before, wanted.after, keeps_steps=wanted.keeps_steps)
    found = _TaskResult([], [], [], lockstep.fps)
    for row in lockstep.rows(wanted.n_episodes, wanted.seed, wanted.n_videos):
        found.episodes.append(row.result())
        if wanted.keeps_steps:
            found.steps.append(EpisodeSteps(row.seen, row.actions, row.rewards, row.successes))
        if row.pictures and folder is not None:
            file = folder / f"eval_episode_{row.spec.episode_index}.mp4"
            lockstep.write_video(row, file)
            found.video_paths.append(str(file))
    return found


def _in_engine(
    envs: Mapping[_Key, TaskVectorEnv], policy: AnyPolicy, wanted: _Wanted, folders: Mapping[_Key, Path | None]
) -> dict[_Key, _TaskResult]:
    _require_done_by_us(wanted)
    env = next(iter(envs.values()))
    for each in envs.values():
        each.stop_stepping()  # never more simulators than asked for
    with tempfile.TemporaryDirectory(prefix="proctor-") as directory:
        result = env.shared.evaluator.run(_prepared(envs, policy, wanted, Path(directory)))
        for problem in result.video_problems.values():
            note(f"There is no video of an episode: it {problem}.")
        return {key: _task_result(each, result, wanted, folders[key]) for key, each in envs.items()}


def _require_done_by_us(wanted: _Wanted) -> None:
    for name, pipeline in (("env_preprocessor", wanted.before), ("env_postprocessor", wanted.after)):
        unknown = [type(step).__name__ for step in getattr(pipeline, "steps", ())]
        if unknown := [step for step in unknown if step not in _DONE_BY_US]:
            raise ConfigError(
                f"{name} has {', '.join(unknown)}, which environments of proctor.make_env do not pass; leave it out, "
                "or give environments of LeRobot's make_env, which are stepped in lockstep."
            )


def _prepared(envs: Mapping[_Key, TaskVectorEnv], policy: AnyPolicy, wanted: _Wanted, directory: Path) -> PreparedRun:
    """Prepare an evaluation of all tasks of environments that were made together."""
    env = next(iter(envs.values()))
    tasks, benchmark = [each.task for each in envs.values()], env.benchmark
    n_parallel = min(wanted.n_parallel, len(tasks))
    evaluation = EvalConfig(
        n_episodes=wanted.n_episodes,
        batch_size=env.num_envs * n_parallel,
        use_async_envs=env.use_async_envs or n_parallel > 1,
        display="none",
        video="first" if wanted.n_videos else "none",
        n_episodes_to_render=wanted.n_videos,
    )
    config = RunConfig(
        policy={}, env=asdict(benchmark.config), eval=evaluation, seed=wanted.seed, output_dir=str(directory)
    )
    plan = plan_episodes(benchmark, tasks, wanted.n_episodes, wanted.seed)
    address = address_of(benchmark.config.type, benchmark.config.python)
    return PreparedRun(config, benchmark, address, policy, tasks, plan, directory, from_fields=False)


def _task_result(env: TaskVectorEnv, result: EvalResult, wanted: _Wanted, folder: Path | None) -> _TaskResult:
    names = ("sum_reward", "max_reward", "success", "seed", "outcome")
    specs = [episode.spec for episode in result.summary.episodes if episode.spec.task == env.task.key]
    episodes = [
        {"episode_ix": episode["episode_index"]} | {name: episode[name] for name in names}
        for episode in result.info["per_episode"]
        if (episode["suite"], episode["task_id"]) == (env.task.suite, env.task.task_id)
    ]
    videos = _moved_videos(result, specs, folder) if folder is not None else []
    if not wanted.keeps_steps:
        return _TaskResult(episodes, videos, [])
    return _TaskResult(episodes, videos, *_replayed(env, result, specs))


def _moved_videos(result: EvalResult, specs: Sequence[EpisodeSpec], folder: Path) -> list[str]:
    """Move the videos of a task out of the run directory."""
    made = {RunDirectory(result.directory).video_file(spec): spec.episode_index for spec in specs}
    moved = []
    for file, index in made.items():
        if file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            moved.append(str(folder / f"eval_episode_{index}.mp4"))
            shutil.move(file, moved[-1])
    return moved


def _replayed(env: TaskVectorEnv, result: EvalResult, specs: Sequence[EpisodeSpec]) -> tuple[list[EpisodeSteps], float]:
    """Run the completed episodes again, to see all that the engine did not look at."""
    records = merge_journals(RunDirectory(result.directory).read_journals())
    actions = {spec: read_actions(records[key_of(spec)]) for spec in specs}
    completed = {spec: each for spec, each in actions.items() if each is not None}
    with global_generators_restored():
        return replayed_steps(env.benchmark, env.task, completed)
