"""LeRobot's three functions under their names: ``make_env``, ``make_policy``, ``eval_policy``."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from proctor.benchmarks.base import features_of
from proctor.benchmarks.elsewhere import address_of
from proctor.benchmarks.gymnasium_spaces import ObservationNames, action_box
from proctor.benchmarks.returns import (
    USUAL_SUCCESS_KEYS,
    decided,
    if_finite,
    latched,
    real_number,
    shown,
    success_in,
)
from proctor.compat.vector_env import TaskVectorEnv
from proctor.config import EnvConfig, EvalConfig, RunConfig
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.engine.policy_failures import require_result
from proctor.errors import ConfigError
from proctor.evaluation.arguments import env_fields, names, policy_of, switch, vector_env, whole_number
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.run import run
from proctor.policies.base import EpisodeMemory, LocalPolicy, Policy
from proctor.rendering import choose_renderer
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Observation, Outcome


def make_env(
    cfg: str | Mapping[str, Any] | EnvConfig,
    n_envs: int = 1,
    *,
    use_async_envs: bool = True,
    trust_remote_code: bool = False,
) -> dict[str, dict[int, TaskVectorEnv]]:
    """The tasks of a benchmark as vector environments, ``{suite: {task_id: env}}``; none is built before its first use.

    ``cfg`` is a benchmark's name, the fields of ``--env.*``, a benchmark's configuration, or, as in LeRobot, a Hub
    repository (``user/repo``) whose code runs only with ``trust_remote_code``.
    """
    n_envs, use_async_envs = whole_number("n_envs", n_envs, 1), switch("use_async_envs", use_async_envs)
    consent = switch("trust_remote_code", trust_remote_code)
    benchmark, _ = make_benchmark(env_fields(cfg), trust_remote_code=consent)
    choose_renderer(benchmark)
    envs: dict[str, dict[int, TaskVectorEnv]] = {}
    for task in plan_tasks(benchmark):
        env = TaskVectorEnv(benchmark, task, n_envs, use_async_envs=use_async_envs)
        envs.setdefault(task.suite, {})[task.task_id] = env
    return envs


def make_policy(
    cfg: Any,
    env_cfg: str | Mapping[str, Any] | EnvConfig | None = None,
    rename_map: Mapping[str, str] | None = None,
    *,
    trust_remote_code: bool = False,
) -> Policy | LocalPolicy:
    """A loaded policy: ``cfg`` is whatever :func:`proctor.evaluate` takes as a policy.

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


def eval_policy(  # noqa: PLR0913 - LeRobot's, and the processors
    env: VectorEnv,
    policy: Any,
    n_episodes: int,
    *,
    start_seed: int = 1000,
    preprocessor: Any = None,
    postprocessor: Any = None,
) -> dict[str, Any]:
    """Evaluate a policy, whatever :func:`proctor.evaluate` takes as one, on one task.

    An environment of :func:`make_env` determines the task and how many simulators run side by side; the engine
    runs the episodes. Any other vector environment is stepped in lockstep, row *i* of batch *k* seeded with
    ``start_seed + k * num_envs + i``, and its success read from ``info["is_success"]``, else ``info["success"]``.

    Returns:
        ``per_episode`` (a list), ``aggregated`` with ``avg_sum_reward``, ``avg_max_reward``, ``pc_success`` in percent
        and ``n_episodes``; the aggregated values also at the top. ``success`` is None for an episode whose success
        the environment did not report (its ``outcome`` is unknown), and ``pc_success`` is None if there is one.
        Rewards that are not finite are None, and the averages are over the others.

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
        NoResultError: every episode ended in an error; the cause holds the first traceback.
        ValueError: a vector environment that is stepped in lockstep returned a success, an end or a reward that is
            none.
    """
    env = vector_env(env)
    n_episodes, start_seed = whole_number("n_episodes", n_episodes, 1), whole_number("start_seed", start_seed, 0)
    given = policy_of(policy, preprocessor, postprocessor)
    chosen = load_policy(given) if isinstance(given, dict) else given
    if isinstance(env, TaskVectorEnv):
        episodes = _run_in_engine(env, chosen, n_episodes, start_seed)
    elif not isinstance(chosen, LocalPolicy):
        episodes = _run_in_lockstep(env, chosen.open(EvalConfig().inference_threads), n_episodes, start_seed)
    else:
        raise ConfigError("A policy that lives in the workers needs an environment of proctor.make_env.")
    done = [episode for episode in episodes if episode["outcome"] != Outcome.ERROR]
    successes = [episode["success"] for episode in done]
    aggregated = {
        "avg_sum_reward": _mean([episode["sum_reward"] for episode in done]),
        "avg_max_reward": _mean([episode["max_reward"] for episode in done]),
        "pc_success": 100 * float(np.mean(successes)) if successes and None not in successes else None,
        "n_episodes": len(done),
    }
    return {"per_episode": episodes, "aggregated": aggregated, **aggregated}


def _mean(rewards: Sequence[float | None]) -> float | None:
    known = [reward for reward in rewards if reward is not None]
    return float(np.mean(known)) if known else None


def _run_in_engine(env: TaskVectorEnv, policy: Any, n_episodes: int, seed: int) -> list[dict[str, Any]]:
    env.close()  # never more simulators than asked for
    plan = plan_episodes(env.benchmark, [env.task], n_episodes, seed)
    evaluation = EvalConfig(
        n_episodes=n_episodes, batch_size=env.num_envs, use_async_envs=env.use_async_envs, display="none"
    )
    fields = asdict(env.benchmark.config)
    with tempfile.TemporaryDirectory(prefix="proctor-") as directory:
        config = RunConfig(policy={}, env=fields, eval=evaluation, seed=seed, output_dir=directory)
        address = address_of(env.benchmark.config.type, env.benchmark.config.python)
        result = run(PreparedRun(config, env.benchmark, address, policy, [env.task], plan, Path(directory)))
        require_result(result.summary.overall.n_completed, result.summary.first_error)
    names = ("sum_reward", "max_reward", "success", "seed", "outcome")
    return [
        {"episode_ix": episode["episode_index"]} | {name: episode[name] for name in names}
        for episode in result.info["per_episode"]
    ]


@dataclass
class _Row:
    """One environment of a lockstep batch, and the episode in it."""

    spec: EpisodeSpec
    history: deque[Mapping[str, Array]]
    memory: EpisodeMemory
    queue: deque[Array] = field(default_factory=deque)
    rewards: list[float] = field(default_factory=list)
    success: bool | None = None
    over: bool = False

    def observation(self, offsets: tuple[int, ...]) -> Observation:
        frames = [self.history[max(offset - 1, -len(self.history))] for offset in offsets]
        return Observation({key: np.stack([frame[key] for frame in frames]) for key in frames[-1]})


def _run_in_lockstep(env: VectorEnv, policy: Policy, n_episodes: int, seed: int) -> list[dict[str, Any]]:
    names = ObservationNames(env.single_observation_space, "the environment")
    policy.check_contract(features_of(names.space, action_box(env.single_action_space, "the environment")))
    episodes: list[dict[str, Any]] = []
    for first in range(0, n_episodes, env.num_envs):
        rows = _lockstep_batch(env, policy, names, range(first, first + env.num_envs), seed)
        for row in rows:
            sum_reward, max_reward = if_finite(sum(row.rewards), max(row.rewards))
            episodes.append(
                {
                    "episode_ix": row.spec.episode_index,
                    "sum_reward": sum_reward,
                    "max_reward": max_reward,
                    "success": row.success,
                    "seed": row.spec.seed,
                    "outcome": Outcome.of_completed(row.success).value,
                }
            )
    return episodes[:n_episodes]


def _lockstep_batch(
    env: VectorEnv, policy: Policy, names: ObservationNames, indices: Sequence[int], seed: int
) -> list[_Row]:
    span = 1 - policy.look_offsets[0]
    specs = [EpisodeSpec("env", 0, index, seed + index) for index in indices]
    rows = [_Row(spec, deque(maxlen=span), EpisodeMemory(RandomStream(spec))) for spec in specs]
    seen, _ = env.reset(seed=[spec.seed for spec in specs])
    while not all(row.over for row in rows):
        frames = names.of(seen)
        for i, row in enumerate(rows):
            row.history.append({name: frame[i].copy() for name, frame in frames.items()})
        _refill(policy, [row for row in rows if not row.over and not row.queue])
        actions = [row.queue.popleft() if not row.over else np.zeros(env.single_action_space.shape) for row in rows]
        seen, rewards, terminated, truncated, info = env.step(np.stack(actions).astype(env.single_action_space.dtype))
        for i, row in enumerate(rows):
            if not row.over:
                row.rewards.append(real_number(rewards[i], "the reward"))
                row.success = latched(row.success, success_in(_info_of(i, info)))
                row.over = decided(terminated[i], "terminated") or decided(truncated[i], "truncated")
    return rows


def _refill(policy: Policy, rows: Sequence[_Row]) -> None:
    """Ask the policy for those that have no action left."""
    if policy.runs_alone:
        for row in rows:
            with row.memory.stream.swapped_in():
                (chunk,) = policy.predict([row.observation(policy.look_offsets)], [row.memory])
            row.queue.extend(chunk[: policy.n_action_steps])
    elif rows:
        observations = [row.observation(policy.look_offsets) for row in rows]
        chunks = policy.predict(observations, [row.memory for row in rows])
        for row, chunk in zip(rows, chunks, strict=True):
            row.queue.extend(chunk[: policy.n_action_steps])


def _info_of(i: int, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the part of a vector environment's info that holds the success of its environment number ``i``.

    Gymnasium gives an array for each key, and under ``_key`` for which environments it holds. If environments begin
    their next episode in the same step, ``final_info`` is such a dictionary of those whose episode has just ended.
    """
    final = info.get("final_info")
    if isinstance(final, Mapping) and _holds(i, info, "final_info"):
        info = final
    there = [key for key in USUAL_SUCCESS_KEYS if info.get(key) is not None and _holds(i, info, key)]
    return {key: _value_of(i, info[key], key) for key in there}


def _value_of(i: int, values: Any, key: str) -> Any:
    if isinstance(values, Mapping):  # each environment's value was a dictionary
        return values
    try:
        return values[i]
    except (TypeError, LookupError):
        raise ValueError(f"info['{key}'] is {shown(values)}; expected a value for each environment") from None


def _holds(i: int, info: Mapping[str, Any], key: str) -> bool:
    return f"_{key}" not in info or bool(info[f"_{key}"][i])
