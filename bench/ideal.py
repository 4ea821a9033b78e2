"""Measure the share of the ideal that the engine reaches: only necessary work, on all cores, without a gap.

    python bench/ideal.py [act] [k1] [diffusion] [experts] [startup] [--repeats 3]     (the default is all of them)

act: ACT on a Meta-World task, with the policy loaded and a simulator built beforehand. First the script measures the
cost of a reset, a physics step, a look and an inference, one at a time on one core; the ideal is the sum of the
necessary work divided by the cores. k1: the same with a look and a pass at every step. diffusion: Diffusion on PushT,
a U-Net denoised in ten steps, four episodes to a pass. Of these two the script also prints the share of a second ideal,
whose costs are measured while the other cores do the same work: cores share memory and its caches, so that no engine
can use them all at the price of one. experts: all 50 tasks of Meta-World with their experts, which neither look nor
infer; the ideal contains one construction for each task and one start of each worker, imports included. startup:
``proctor eval`` of about a minute from the command on; the ideal also contains one load of the policy, imports
included, and for each worker its start and one construction. The result is a share and not a time: both sides are
measured in the same minute on the same machine, which nothing else should use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case, metaworld
from common import loaded, machine

if TYPE_CHECKING:
    from proctor.benchmarks.base import SimEnv

CORES = len(os.sched_getaffinity(0))
LOAD = "import json, sys; from proctor.compat import make_policy; make_policy(json.loads(sys.argv[1]))"
CONSTRUCT = """
import sys
from proctor.evaluation.components import make_benchmark
benchmark, _ = make_benchmark({"type": "metaworld", "task": sys.argv[1]})
env = benchmark.make_env(benchmark.tasks()[0])
"""
CONSTRUCT_TO_LOOK = CONSTRUCT + "env.prepare_to_look()"


def act(options: argparse.Namespace) -> float:
    """Measure from the first episode on."""
    return measured("act", act_case(options))


def k1(options: argparse.Namespace) -> float:
    """Measure a look and a pass at every step, from the first episode on."""
    return measured("k1", metaworld(1, options.task, episodes=8, steps=50), crowded=True)


def diffusion(options: argparse.Namespace) -> float:
    """Measure Diffusion on PushT from the first episode on."""
    return measured("diffusion", replace(CASES["pusht-diffusion"], episodes=32), crowded=True)


def measured(name: str, case: Case, *, crowded: bool = False) -> float:
    """Run a case with its policy loaded beforehand; return its share of the ideal, by costs of a core that is alone."""
    from proctor import evaluate

    policy = loaded(case.policy_fields())
    cost = bare_costs(policy, case.env)
    with tempfile.TemporaryDirectory() as folder:
        env = {**case.env, "episode_length": case.steps}
        info = evaluate(policy, env, n_episodes=case.episodes, output_dir=folder).info
    took = info["overall"]["eval_s"] - info["overall"]["startup_s"]
    if crowded:
        beside = costs_in_a_crowd(policy, case)
        said(f"{name}, costs beside {CORES - 1} of the same", necessary(info, case, beside), took, info, beside)
    return said(name, necessary(info, case, cost), took, info, cost)


def experts(options: argparse.Namespace) -> float:
    """Measure from the first worker's start on."""
    from proctor import evaluate

    cost = expert_costs(options.tasks)
    first = next(iter(cost))
    imports = max(0.0, elapsed([sys.executable, "-P", "-c", CONSTRUCT, first]) - cost[first]["construct"])
    with tempfile.TemporaryDirectory() as folder:
        env = {"type": "metaworld", "task": options.tasks}
        info = evaluate({"type": "expert"}, env, n_episodes=options.episodes_per_task, output_dir=folder).info
    work = sum(cost[e["task"]]["reset"] + e["length"] * cost[e["task"]]["step"] for e in info["per_episode"])
    work += sum(task["construct"] for task in cost.values()) + CORES * imports
    built = Counter(e["task"] for e in info["per_episode"] if e["timings"]["construct"])
    print(f"  {built.total()} constructions for {len(cost)} tasks, {CORES} worker starts of {imports:.2f} s")
    return said("experts", work, info["overall"]["eval_s"], info, {})


def startup(options: argparse.Namespace) -> float:
    """Measure from the command to its end, for an evaluation of about a minute."""
    case = act_case(options)
    cost = bare_costs(loaded(case.policy_fields()), case.env)
    chunks = -(-case.steps // case.n_action_steps)
    episode = cost["reset"] + case.steps * cost["step"] + chunks * (cost["look"] + cost["inference"])
    case = replace(case, episodes=max(1, round(options.seconds * CORES / episode)))
    load = elapsed([sys.executable, "-P", "-c", LOAD, json.dumps(case.policy_fields())])
    construct = elapsed([sys.executable, "-P", "-c", CONSTRUCT_TO_LOOK, options.task])
    with tempfile.TemporaryDirectory() as folder:
        flags = [*case.flags(), f"--env.episode_length={case.steps}", f"--output_dir={folder}/run"]
        command = [sys.executable, "-P", "-m", "proctor", "eval", *flags, "--eval.video=none", "--eval.display=none"]
        took = elapsed(command)
        info = json.loads((Path(folder) / "run/eval_info.json").read_text())
    work = load + CORES * construct + necessary(info, case, cost)
    print(f"  loading the policy {load:.1f} s, starting and constructing a simulator {construct:.1f} s")
    return said("startup", work, took, info, cost)


def act_case(options: argparse.Namespace) -> Case:
    return metaworld(options.n_action_steps, options.task, episodes=options.episodes, steps=options.steps)


def necessary(info: Mapping[str, Any], case: Case, cost: Mapping[str, float]) -> float:
    """Return the seconds of resets, steps, looks and inference that every evaluation needs."""
    episodes = info["per_episode"]
    chunks = [-(-episode["length"] // case.n_action_steps) for episode in episodes]
    n_looks = sum(episode["n_looks"] for episode in episodes)
    needed = sum((count - 1) * case.frames_per_look + 1 for count in chunks)
    if n_looks != needed:
        raise SystemExit(f"{n_looks} looks were made, {needed} were needed")
    n_steps = sum(episode["length"] for episode in episodes)
    n_passes = -(-sum(chunks) // case.rows)
    simulated = len(episodes) * cost["reset"] + n_steps * cost["step"] + n_looks * cost["look"]
    return float(simulated + n_passes * cost["inference"])


def said(name: str, work: float, took: float, info: Mapping[str, Any], cost: Mapping[str, float]) -> float:
    bare = f"bare ms: {', '.join(f'{what} {1000 * s:.2f}' for what, s in cost.items())};  " if cost else ""
    print(
        f"  {name}: {bare}{len(info['per_episode'])} episodes, {sum(e['length'] for e in info['per_episode'])} steps;  "
        f"ideal {work / CORES:.2f} s, took {took:.2f} s, share {work / CORES / took:.1%}",
        flush=True,
    )
    return float(work / CORES / took)


def bare_costs(policy: Any, env_fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the median seconds of each kind of work on one core; a forward pass has all of its rows."""
    import numpy as np

    from proctor.evaluation.components import make_benchmark

    benchmark, _ = make_benchmark(dict(env_fields))
    task = benchmark.tasks()[0]
    env = benchmark.make_env(task)
    action = np.zeros(env.action_space.shape, np.float32)
    reset = _median(lambda: env.reset(1, None, look=False), 20)
    step = _median(lambda: env.step(action, look=False), 100)
    seen = env.reset(1, None, look=True)
    look = _median(lambda: env.step(action, look=True), 10) - step
    assert seen is not None
    inference = _median(a_pass(policy, seen, task.instruction), 10)
    env.close()
    return {"reset": reset, "step": step, "look": look, "inference": inference}


def a_pass(policy: Any, seen: Mapping[str, Any], instruction: str, rows: int | None = None) -> Callable[[], Any]:
    """Return a function that makes a forward pass of one observation, as often as the pass has rows."""
    import numpy as np

    from proctor.policies.base import EpisodeMemory
    from proctor.streams import RandomStream
    from proctor.types import EpisodeSpec, Observation

    history = {key: np.stack([array] * len(policy.look_offsets)) for key, array in seen.items()}
    rows = rows or policy.batch_size
    memories = [EpisodeMemory(RandomStream(EpisodeSpec("bench", 0, row, 0))) for row in range(rows)]
    return lambda: policy.predict([Observation(history, instruction)] * rows, memories)


def costs_in_a_crowd(policy: Any, case: Case) -> dict[str, float]:
    """Return the costs of a core while every other core looks and infers without a pause."""
    command = [sys.executable, "-P", __file__, "--keep-busy", case.name]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(CORES - 1)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        return bare_costs(policy, case.env)
    finally:
        for other in others:
            other.kill()
            other.wait()


def keep_busy(name: str) -> None:
    """Look and infer until the process is killed; print a line once the first round is done."""
    import numpy as np

    from proctor.evaluation.components import make_benchmark

    case = CASES[name]
    benchmark, _ = make_benchmark(dict(case.env))
    task = benchmark.tasks()[0]
    env, policy = benchmark.make_env(task), loaded(case.policy_fields())
    seen, action = env.reset(1, None, look=True), np.zeros(env.action_space.shape, np.float32)
    assert seen is not None
    infer, said = a_pass(policy, seen, task.instruction), False
    while True:
        for _ in range(case.rows * case.frames_per_look):
            env.step(action, look=True)
        infer()
        if not said:
            print("busy", flush=True)
        said = True


def expert_costs(tasks: str) -> dict[str, dict[str, float]]:
    """Return for each task the seconds of a construction, of a reset, and of a step including the expert's action."""
    from proctor.evaluation.components import make_benchmark

    benchmark, _ = make_benchmark({"type": "metaworld", "task": tasks})
    benchmark.make_env(benchmark.tasks()[0]).close()  # the first construction imports the simulator
    cost = {}
    for task in benchmark.tasks():
        began = perf_counter()
        env = benchmark.make_env(task)
        construct = perf_counter() - began
        cost[task.name] = {"construct": construct, **_costs_unseen(env, task.max_episode_steps)}
        env.close()
    return cost


def _costs_unseen(env: SimEnv, max_steps: int) -> dict[str, float]:
    """Return the costs over whole episodes, because steps with contacts take several times as long as others."""
    resets, steps = [], []
    for seed in range(4):
        resets.append(_elapsed(partial(env.reset, seed, None, look=False)))
        for _ in range(max_steps):
            began = perf_counter()
            step = env.step(env.expert_action(), look=False)
            steps.append(perf_counter() - began)
            if step.success or step.terminated or step.truncated:
                break
    return {"reset": statistics.median(resets), "step": statistics.mean(steps)}


def _median(work: Callable[[], Any], times: int) -> float:
    work()
    return statistics.median(_elapsed(work) for _ in range(times))


def _elapsed(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def elapsed(command: list[str]) -> float:
    return _elapsed(lambda: subprocess.run(command, check=True, capture_output=True))


PARTS = {"act": act, "k1": k1, "diffusion": diffusion, "experts": experts, "startup": startup}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; the default is all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", default="reach-v3", help="of act and startup")
    parser.add_argument("--n-action-steps", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=12, help="of act")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=45.0, help="duration of startup's evaluation after its start")
    parser.add_argument("--tasks", default="MT50", help="of experts")
    parser.add_argument("--episodes-per-task", type=int, default=10)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    print(machine())
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            shares = [part(options) for _ in range(options.repeats)]
            print(f"{name}: {statistics.median(shares):.1%} of the ideal ({min(shares):.1%} to {max(shares):.1%})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--keep-busy"]:
        keep_busy(sys.argv[2])
    main()
