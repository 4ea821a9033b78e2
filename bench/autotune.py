"""Compare autotune's prediction with a measurement, and its choice with a sweep of workers and shards.

    python bench/autotune.py [--episodes 10] [--steps 200] [--seconds 20] [--workers 1 2 3 4] [--shards 1 2]
                             [--repeats 1]

The script uses the bundled ACT on its three Meta-World tasks. In every repeat autotune measures anew, then each choice
of the sweep runs the same evaluation, without videos, in clean processes; several shards are several processes that run
at the same time. The compared time is from the moment at which episodes can begin to the last result. So the start-up,
which consists almost only of imports, is left out on both sides. A ratio of 1.10 means that the prediction is 10 % too
long. Chunks per second are counted while all workers run episodes; the time also depends on building, on the end, and
on the actual lengths of episodes.

Nothing else should use the machine. Autotune prints the load of other programs; if it is high, prediction and
measurement need not agree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import loaded, machine

from proctor.config import EvalConfig, RunConfig
from proctor.tuning import AutotuneRecommendation, recommend
from proctor.tuning.model import Choice, Model, Prediction
from proctor.types import TIME_PARTS

CHECKPOINT = Path(__file__).parents[1] / "examples" / "metaworld_act"
TASKS = "reach-v3,button-press-topdown-v3,coffee-button-v3"


class Setting(NamedTuple):
    """One point of the sweep."""

    shards: int
    workers: int


@dataclass(frozen=True)
class Measured:
    """The measurement of a setting: seconds from the moment at which episodes could begin to the last result, episodes,
    their looks, and the seconds, summed over the workers, in which episodes ran (not started, built for, or waited
    for).
    """

    seconds: float
    n_episodes: int
    n_looks: int
    running_s: float

    def chunks_per_second(self, n_workers: int) -> float:
        """Return the chunks per second while all ``n_workers`` run episodes."""
        return n_workers * self.n_looks / self.running_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10, help="per task")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long autotune measures")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    config = RunConfig(
        policy={"path": str(CHECKPOINT)},
        env={"type": "metaworld", "task": TASKS, "episode_length": options.steps},
        eval=EvalConfig(n_episodes=options.episodes),
    )
    settings = [Setting(shards, workers) for shards in options.shards for workers in options.workers]
    print(machine())
    ratios, shares = [], []
    for _ in range(options.repeats):
        ratio, share = compare(config, settings, options.seconds)
        ratios.append(ratio)
        shares.append(share)
    print(f"predicted over measured seconds of the choice: median {statistics.median(ratios):.2f} ({_all(ratios)})")
    print(f"speed of the choice over the best of the sweep: median {statistics.median(shares):.1%} ({_all(shares)})")


def compare(config: RunConfig, settings: list[Setting], seconds: float) -> tuple[float, float]:
    """Predict once and sweep once; return predicted over measured seconds of the choice, and its relative speed."""
    found = recommend(config, seconds=seconds)
    chosen = Setting(found.num_shards, found.batch_size)
    print(
        f"autotune: {chosen.shards} shard(s) of {chosen.workers}, {found.episodes_per_hour:.0f} episodes/h; other "
        f"programs took {found.costs.cores_taken:.2f} cores\n"
        "shards workers   predicted   measured  ratio   chunks/s predicted  measured  ratio",
        flush=True,
    )
    took = {}
    for setting in dict.fromkeys([*settings, chosen]):
        took[setting] = run(config, setting)
        report(found, setting, took[setting])
    best = min(measured.seconds for measured in took.values())
    return predicted_seconds(found, chosen) / took[chosen].seconds, best / took[chosen].seconds


def report(found: AutotuneRecommendation, setting: Setting, measured: Measured) -> None:
    predicted = predicted_seconds(found, setting)
    rate = prediction(found, setting).chunks_per_second
    chunks = measured.chunks_per_second(setting.shards * setting.workers)
    print(
        f"{setting.shards:6} {setting.workers:7} {predicted:9.1f} s {measured.seconds:8.1f} s "
        f"{predicted / measured.seconds:6.2f} {rate:18.2f} {chunks:11.2f} {rate / chunks:6.2f}",
        flush=True,
    )


def prediction(found: AutotuneRecommendation, setting: Setting) -> Prediction:
    """Return the model's prediction for a setting, with the current size of passes and renderer."""
    costs = found.costs
    model = Model(found.hardware, costs, found.n_episodes, n_tasks=len(TASKS.split(",")))
    return model.predict(Choice(setting.shards, setting.workers, costs.passes[0], costs.drawings[0]))


def predicted_seconds(found: AutotuneRecommendation, setting: Setting) -> float:
    predicted = prediction(found, setting)
    return predicted.seconds - predicted.start_seconds


# -------------------------------------------------------------------------------------------------- what is measured


def run(config: RunConfig, setting: Setting) -> Measured:
    """Run the evaluation in one process per shard; all of them begin after every policy is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        shards = [_start_shard(config, setting, number, folder) for number in range(setting.shards)]
        for shard in shards:
            if _read_line(shard) != "loaded":
                raise SystemExit(f"a shard ended with status {shard.wait()}")
        for shard in shards:
            assert shard.stdin is not None
            shard.stdin.write("go\n")
            shard.stdin.flush()
        parts = [Measured(**json.loads(_read_line(shard))) for shard in shards]
        for shard in shards:
            shard.wait()
    return Measured(
        max(part.seconds for part in parts),
        *(sum(getattr(part, name) for part in parts) for name in ("n_episodes", "n_looks", "running_s")),
    )


def _start_shard(config: RunConfig, setting: Setting, number: int, folder: str) -> subprocess.Popen[str]:
    evaluation = {"batch_size": setting.workers, "num_shards": setting.shards, "shard_id": number}
    evaluation["n_episodes"] = config.eval.n_episodes
    what = {"env": config.env, "output_dir": f"{folder}/{number}", **evaluation}
    return subprocess.Popen(
        [sys.executable, __file__, "--shard", json.dumps(what)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _read_line(shard: subprocess.Popen[str]) -> str:
    """Return the next line that belongs to the protocol; libraries may print other lines."""
    assert shard.stdout is not None
    return next((line.strip() for line in shard.stdout if line.startswith(("loaded", "{"))), "")


def be_a_shard(what: dict[str, Any]) -> None:
    """Run in a process of its own: load, wait for the start, evaluate, print the result."""
    from proctor import evaluate

    policy = loaded({"path": str(CHECKPOINT), "device": "cpu"})
    print("loaded", flush=True)
    sys.stdin.readline()
    info = evaluate(policy, what.pop("env"), **what).info
    overall, episodes = info["overall"], info["per_episode"]
    seconds = overall["eval_s"] - overall["startup_s"]
    parts = set(TIME_PARTS) - {"construct", "startup", "idle"}
    running = sum(e["timings"][part] for e in episodes for part in parts)
    measured = Measured(seconds, len(episodes), sum(e["n_looks"] for e in episodes), running)
    print(json.dumps(asdict(measured)), flush=True)


def _all(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--shard"]:
        be_a_shard(json.loads(sys.argv[2]))
    else:
        main()
