"""Measure the speed of recording a dataset by replay: the share of what the workers' drawing allows; and memory.

    python bench/record.py [--task drawer-open-v3] [--episodes 8] [--steps 100] [--workers 2] [--pairs 3]

The bound is the same replay by the same workers, in which each observation is drawn and nothing is counted, encoded or
written. Both begin with workers that have built their simulators. The dataset is written afterwards, by the main
process; its time is given apart. On a machine that others use too, the ratio of CPU is the one to look at: if drawing
keeps every core busy, the two are the same. Then the script measures the PSNR of the recorded images, and the peak
memory of the main process and of its largest worker while few and ten times as many PushT episodes are recorded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from common import descendants, machine

import proctor
from proctor.engine import EngineSetup, Replayer, RolloutTask, Workers
from proctor.engine.worker.messages import Act, Start
from proctor.engine.workers import TICK_S, EnvBuilt, EpisodeObserved, repeat
from proctor.evaluation.recording import Staging, staging_of
from proctor.evaluation.recording.dataset import RecordedEpisode, write_dataset
from proctor.evaluation.videos import replay_setup
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.results.summary import load_summary
from proctor.types import Array, ArrayBytes

PEAK = """
import resource, sys
from proctor.cli import main
status = main(sys.argv[1:])
who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print("peak", *(resource.getrusage(each).ru_maxrss for each in who))
sys.exit(status)
"""


class Drawing:
    """Executes the actions of episodes and draws each observation, and does nothing else."""

    def __init__(self, setup: EngineSetup, tasks: list[RolloutTask], workers: Workers) -> None:
        self._setup, self._workers = setup, workers
        self._actions = {task.result.spec: task.actions for task in tasks}
        self._max_steps = {spec: setup.tasks[spec.task].max_episode_steps for spec in self._actions}
        workers.begin(setup, self._actions)

    def run(self) -> None:
        """Draw all observations that a recording would hold."""
        repeat(self._step, lambda: self._workers.done, lambda: None)

    def _step(self) -> None:
        for worker_id, spec in self._workers.assign():
            self._workers.send(worker_id, Start(spec, self._max_steps[spec]))
        for event in self._workers.receive(TICK_S):
            if isinstance(event, EnvBuilt):
                self._workers.send(event.worker_id, Start(event.spec, self._max_steps[event.spec]))
            elif isinstance(event, EpisodeObserved):
                actions = self._actions[event.spec]
                looks = (True,) * (len(actions) - 1) + (False,)
                self._workers.send(event.worker_id, Act(ArrayBytes.pack(actions), looks))


class Cost(NamedTuple):
    """The seconds that a call took, and the seconds of CPU that the processes below this one spent meanwhile."""

    wall: float
    cpu: float


def cost_of(run: Callable[[], object]) -> Cost:
    """Measure what a call costs."""
    started, before = perf_counter(), cpu_below()
    run()
    return Cost(perf_counter() - started, cpu_below() - before)


def cpu_below() -> float:
    """Return the seconds of CPU that the processes below this one have spent."""
    ticks = 0
    for pid in descendants(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def record(setup: EngineSetup, tasks: list[RolloutTask], workers: Workers) -> None:
    """Record all episodes, by workers that remain."""
    problems: dict[object, str] = {}
    with closing(Replayer(setup, tasks, workers)) as replayer:
        replayer.run(problems.__setitem__)
    assert not any(problems.values()), problems


def evaluated(folder: Path, task: str, episodes: int, steps: int) -> tuple[EngineSetup, list[RolloutTask], Staging]:
    """Run the scripted expert, and prepare to record its episodes."""
    env = {"type": "metaworld", "task": task, "episode_length": steps}
    proctor.evaluate({"type": "expert"}, env, n_episodes=episodes, output_dir=folder)
    run, summary = load_summary(folder)
    setup, _ = replay_setup(folder, run, episodes, "", trust_remote_code=False)
    staging = staging_of(folder / "recording", run)
    records = RunDirectory(folder).records_of(summary.episodes)
    tasks = [RolloutTask(r.result, read_actions(r), staging.rollout_spec(r.result.spec)) for r in records]  # type: ignore[arg-type]
    return setup, tasks, staging


def psnr_db(setup: EngineSetup, task: RolloutTask, folder: Path) -> float:
    """Compare the recorded images of an episode with those that are drawn here, in decibels."""
    import av

    from proctor.plugins import load_object

    benchmark_class = load_object(setup.benchmark)
    config = {name: value for name, value in setup.env.items() if name != "type"}
    env = benchmark_class(benchmark_class.config_class(**config)).make_env(setup.tasks[task.result.spec.task])
    seen = env.reset(task.result.spec.seed, task.result.spec.init_state_id, look=True)
    drawn: list[Array] = []
    for action in task.actions:
        drawn.append(seen["observation.image"].copy())
        seen = env.step(action, look=True).observation or {}
    env.close()
    with av.open(str(folder / "observation.image.mp4")) as video:
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    error = np.mean((np.stack(drawn).astype(float) - np.stack(shown)) ** 2)
    return float(10 * np.log10(255**2 / error))


def peaks_mb(episodes: int) -> tuple[float, float]:
    """Return the peak memory in MB of the main process and of its largest child while PushT episodes are recorded."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--policy.type=random", "--env.type=pusht", "--env.episode_length=100", "--eval.video=none"]
        flags += [f"--eval.n_episodes={episodes}", "--eval.batch_size=2", "--eval.recording=true"]
        command = [sys.executable, "-P", "-c", PEAK, "eval", *flags, f"--output_dir={folder}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    main_kb, child_kb = done.stdout.split()[-2:]
    return int(main_kb) / 1024, int(child_kb) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer-open-v3")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setup, tasks, staging = evaluated(Path(folder) / "run", options.task, options.episodes, options.steps)
        setup = replace(setup, batch_size=options.workers)
        print(machine())
        n_frames = sum(len(task.actions) for task in tasks)
        print(f"{options.task}, {len(tasks)} episodes, {n_frames} frames, {options.workers} workers", flush=True)
        costs: list[tuple[Cost, Cost]] = []
        with closing(Workers(setup)) as workers:
            Drawing(setup, tasks[: options.workers], workers).run()  # builds the simulators
            for _ in range(options.pairs):
                drawn = cost_of(Drawing(setup, tasks, workers).run)
                recorded = cost_of(lambda: record(setup, tasks, workers))
                costs.append((drawn, recorded))
                print(f"  drawing alone {drawn.wall:.1f} s, recording {recorded.wall:.1f} s", end="")
                print(f" (CPU of the workers {drawn.cpu:.1f} s, {recorded.cpu:.1f} s)", flush=True)
        for what, name in ((0, "time"), (1, "CPU of the workers")):
            ratios = [drawn[what] / recorded[what] for drawn, recorded in costs]
            low, high = min(ratios), max(ratios)
            print(f"recording runs at {statistics.median(ratios):.1%} of drawing ({low:.1%}-{high:.1%}), by {name}")
        results = [task.result for task in tasks]
        episodes = [RecordedEpisode(staging.folder(r.spec), r, setup.tasks[r.spec.task]) for r in results]
        written = cost_of(lambda: write_dataset(staging.dataset, episodes, "bench/record")).wall
        print(f"the dataset of them is written in {written:.1f} s, the import of LeRobot included")
        print(f"PSNR of recorded images {psnr_db(setup, tasks[0], episodes[0].folder):.1f} dB")
    for n_episodes in (20, 200):
        own, child = peaks_mb(n_episodes)
        print(f"peak memory with {n_episodes} episodes: main process {own:.0f} MB, largest worker {child:.0f} MB")


if __name__ == "__main__":
    main()
