"""Compare Proctor with ``lerobot-eval``: the same checkpoint, task and seeds, in turn; prints the ratios of wall time.

    python bench/vs_lerobot.py [CASE…] [--episodes N] [--steps N] [--pairs 3]    (cases: bench/cases.py; default: all)

lerobot-eval runs as shipped (it renders its first ten episodes a second time, for video) and with videos patched off.
Pilot runs of a few steps find its fastest batch sizes and modes here. Times are compared with the fastest of those that
are within a tenth of the best pilot, each of which runs in every pair; numbers are compared with its ``batch_size=1``.
Proctor runs with its defaults, but without videos (``bench/videos.py`` measures those). Both end episodes at the same
number of steps, lower than the benchmark's, so that a pair takes minutes. Results are medians of alternating pairs;
nothing else should run on the machine. If the policy draws no random numbers, the episodes' numbers are compared, too.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case, case_parser, chosen
from common import loaded, machine

PILOT_STEPS = 12
CLOSE = 1.1
"""A pilot that takes so many times the shortest one may be of the fastest mode."""

Mode = tuple[int, bool]
"""A batch size, and True if environments are asynchronous."""


@dataclass(frozen=True)
class Timed:
    """One run: seconds from the first reset to the last result, total seconds, and its episodes."""

    inner: float
    total: float
    episodes: list[dict[str, Any]]


def run_peer(case: Case, mode: Mode, *, videos: bool, threads: int | None = None) -> Timed:
    batch_size, use_async = mode
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, str(Path(__file__).parent / "lerobot_peer.py"), str(record), str(case.steps)]
        command += [] if videos else ["--no-videos"]
        command += ["--", *case.flags(), f"--eval.batch_size={batch_size}", f"--output_dir={folder}/out"]
        command += [f"--eval.use_async_envs={str(use_async).lower()}"]
        total = _time(command, environment)
        found = json.loads(record.read_text())
    return Timed(found["seconds"], total, found["episodes"])


def time_proctor(case: Case, *flags: str, folder: str | None = None) -> float:
    """Return the total seconds of ``proctor eval``, including videos if ``flags`` request them."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "proctor",
        "eval",
        *case.flags(),
        f"--env.episode_length={case.steps}",
        *flags,
    ]
    with tempfile.TemporaryDirectory() as temporary:
        output = f"--output_dir={folder or temporary}/out"
        return _time([*command, "--eval.display=none", output], dict(os.environ))


def run_proctor(case: Case) -> Timed:
    """Return the total time of the command, and the inner time with the policy loaded before, as in lerobot-eval."""
    from proctor import evaluate

    with tempfile.TemporaryDirectory() as folder:
        total = time_proctor(case, "--eval.video=none", folder=folder)
        cold = json.loads((Path(folder) / "out/eval_info.json").read_text())
        policy, env = loaded(case.policy_fields()), {**case.env, "episode_length": case.steps}
        warm = evaluate(policy, env, n_episodes=case.episodes, output_dir=f"{folder}/warm").info
    if _outcomes(cold["per_episode"]) != _outcomes(warm["per_episode"]):
        raise SystemExit("Two runs of Proctor differ; stopped.")
    return Timed(warm["overall"]["eval_s"] - warm["overall"]["startup_s"], total, warm["per_episode"])


def fastest_modes(case: Case) -> list[Mode]:
    """Return the modes with which lerobot-eval may be fastest here, that of the shortest pilot first."""
    pilot = replace(case, steps=min(PILOT_STEPS, case.steps))
    seconds = {mode: run_peer(pilot, mode, videos=False).inner for mode in case.peer_modes}
    for (batch_size, use_async), s in seconds.items():
        print(f"  pilot: lerobot-eval batch_size={batch_size} async={use_async}: {s:.1f} s", flush=True)
    return [mode for mode in sorted(seconds, key=seconds.__getitem__) if seconds[mode] <= CLOSE * min(seconds.values())]


def compare(case: Case, modes: list[Mode], pairs: int, *, videos: bool) -> None:
    inner, total, ours, theirs = [], [], [], []
    for _ in range(pairs):
        peers = [run_peer(case, mode, videos=videos) for mode in modes]
        peer, proctor = min(peers, key=lambda peer: peer.inner), run_proctor(case)
        inner.append(peer.inner / proctor.inner)
        total.append(peer.total / proctor.total)
        ours.append(proctor.inner)
        theirs.append(peer.inner)
    print(
        f"{case.name:<16} lerobot-eval {'as shipped   ' if videos else 'without video'}  "
        f"{statistics.median(inner):5.1f}x ({min(inner):.1f}-{max(inner):.1f}) first reset to last result, "
        f"{statistics.median(total):.1f}x ({min(total):.1f}-{max(total):.1f}) with start-up;  "
        f"medians {statistics.median(theirs):.1f} s and {statistics.median(ours):.2f} s",
        flush=True,
    )


def agree(case: Case) -> None:
    """Compare every episode's numbers with lerobot-eval's at ``batch_size=1``, both with one CPU thread."""
    peer = run_peer(case, (1, False), videos=False, threads=1).episodes
    ours = run_proctor(case).episodes
    for ep, theirs in zip(ours, peer, strict=True):
        print(
            f"  seed {ep['seed']}: sum_reward {ep['sum_reward']:.9f} / {theirs['sum_reward']:.9f}, "
            f"max_reward {ep['max_reward']:.9f} / {theirs['max_reward']:.9f}, length {ep['length']} / "
            f"{theirs['length']}, success {ep['success']} / {theirs['success']}"
        )
    same = [
        ep["success"] == theirs["success"]
        and ep["length"] == theirs["length"]
        and all(math.isclose(ep[name], theirs[name], rel_tol=1e-6) for name in ("sum_reward", "max_reward"))
        for ep, theirs in zip(ours, peer, strict=True)
    ]
    print(f"  {sum(same)} of {len(same)} episodes agree with lerobot-eval (success, length, rewards to six digits)")


def main() -> None:
    parser = case_parser(__doc__, list(CASES))
    options = parser.parse_args()
    print(machine())
    for case in chosen(parser, options, list(CASES)):
        print(case, flush=True)
        modes = fastest_modes(case)
        for videos in (True, False):
            compare(case, modes, options.pairs, videos=videos)
        if not case.draws:
            agree(case)


def _outcomes(episodes: list[dict[str, Any]]) -> list[Any]:
    return [(ep["seed"], ep["sum_reward"], ep["max_reward"], ep["final_state_hash"]) for ep in episodes]


def _time(command: list[str], environment: dict[str, str]) -> float:
    began = perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return perf_counter() - began


if __name__ == "__main__":
    main()
