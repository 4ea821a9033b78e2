"""Measure the cost of a million finished episodes: merging shards' journals, statistics, eval_info.json.

    python bench/results.py [PART…] [--episodes 1000000] [--tasks 130] [--shards 16] [--folder DIR]

The journals are synthetic: results drawn at random, written in the journal's own format (without the sync of every
episode, which bench/overheads.py measures). Each part then runs in a process of its own and shows its own peak memory,
beside that of importing Proctor alone. ``--folder`` stores the journals for another time.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import machine

from proctor.results.eval_info import stream_eval_info
from proctor.results.journal_lines import to_line
from proctor.results.journal_records import FORMAT_VERSION, ArrayRef, EpisodeLine, Header, encode
from proctor.results.merge import merge_journals
from proctor.results.provenance import collect_provenance
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.run_info import RunInfo, plan_by_task
from proctor.results.summary import Summary, load_summary
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, Timings

ERROR_RATE = 1e-4
RETRY_RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(part.__name__ for part in PARTS)}; all if none")
    parser.add_argument("--episodes", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=130)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "run.json").exists():
            alone(write_run_directory, folder, options.episodes, options.tasks, options.shards)
        size = sum(path.stat().st_size for path in folder.glob("journal*.jsonl"))
        print(
            f"{options.episodes} episodes, {options.tasks} tasks, {options.shards} journals of together {size >> 20} MB"
        )
        for part in PARTS:
            if options.parts and part.__name__ not in options.parts:
                continue
            seconds, cpu_s, peak_mb = alone(part, folder)
            name = part.__name__.replace("_", " ")
            print(f"{name}: {seconds:.1f} s ({cpu_s:.1f} s of a core), peak {peak_mb:.0f} MB", flush=True)


def alone(work: Callable[..., None], *arguments: object) -> tuple[float, float, float]:
    """Run a part in a clean process; return its seconds, its CPU seconds, and that process's peak memory in MB."""
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(there, work, *arguments))
    process.start()
    there.close()
    seconds, cpu_s, peak_kb = here.recv()
    process.join()
    return float(seconds), float(cpu_s), peak_kb / 1024


def _measured(there: Connection, work: Callable[..., None], *arguments: object) -> None:
    began, cpu_began = perf_counter(), process_time()
    work(*arguments)
    took = perf_counter() - began, process_time() - cpu_began
    there.send((*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


# ------------------------------------------------------------------------------------------------------ what is timed


def imports_only(_folder: Path) -> None:
    """Import only what every other part imports."""


def merge(folder: Path) -> None:
    """Determine the record of each episode that counts."""
    merge_journals(RunDirectory(folder).read_journals())


def merge_and_statistics(folder: Path) -> None:
    """Merge, and compute all numbers: rates, intervals, resampled means."""
    load_statistics(folder)


def merge_statistics_and_file(folder: Path) -> None:
    """Merge, compute all numbers, and write ``eval_info.json``."""
    run, summary = load_statistics(folder)
    RunDirectory(folder).write_eval_info(stream_eval_info(summary, run))


def report(folder: Path) -> None:
    """Run ``proctor report``: it writes the page with its charts and as many episodes as it embeds."""
    from proctor.cli import main as proctor

    if proctor(["report", str(folder)]):
        raise SystemExit("no report was made")


PARTS = (imports_only, merge, merge_and_statistics, merge_statistics_and_file, report)


def load_statistics(folder: Path) -> tuple[RunInfo, Summary]:
    run, summary = load_summary(folder)
    suites = [summary.mean_intervals_of(suite) for suite in summary.groups]
    tasks = [(task.counts, task.mean_intervals) for task in summary.tasks]
    assert all((suites, tasks, summary.overall, summary.macro, summary.mean_intervals, summary.timings))
    return run, summary


# --------------------------------------------------------------------------------------------- what it is timed on


def write_run_directory(folder: Path, n_episodes: int, n_tasks: int, n_shards: int) -> None:
    """Write ``run.json`` and the shards' journals; a generator seeded by its position draws each episode's numbers."""
    tasks = [Task(f"suite_{number // 10}", number % 10, f"task-{number}", "do it", 500) for number in range(n_tasks)]
    per_task, more = divmod(n_episodes, n_tasks)
    specs = [
        EpisodeSpec(task.suite, task.task_id, index, 1000 + index, index % 50)
        for number, task in enumerate(tasks)
        for index in range(per_task + (number < more))
    ]
    fingerprint = {"policy": {"type": "synthetic"}, "seed": 1000}
    provenance = collect_provenance(["proctor"], 1)
    RunDirectory(folder).write_run(RunInfo({"eval": {}}, fingerprint, provenance, (), plan_by_task(tasks, specs)))
    for shard in range(n_shards):
        generator = random.Random(shard)
        with RunDirectory(folder, Shard(shard, n_shards)).journal_file.open("wb") as file:
            file.write(to_line(encode(Header(FORMAT_VERSION, fingerprint))))
            for position in range(shard, n_episodes, n_shards):
                result = random_result(specs[position], generator)
                assert result.length is not None
                ref = ArrayRef(position * 4000, (result.length, 4), "<f4", generator.getrandbits(32))
                file.write(to_line(encode(EpisodeLine(position * 0.1, result, ref))))


def random_result(spec: EpisodeSpec, generator: random.Random) -> EpisodeResult:
    retried = (AttemptError("crashed", "its process was ended by SIGKILL"),) * (generator.random() < RETRY_RATE)
    if generator.random() < ERROR_RATE:
        return EpisodeResult(spec, Outcome.ERROR, errors=(*retried, AttemptError("raised", "no", "Traceback")))
    success = generator.random() < spec.task_id / 10
    return EpisodeResult(
        spec,
        Outcome.SUCCESS if success else Outcome.FAILURE,
        sum_reward=generator.uniform(0, 500),
        max_reward=generator.uniform(0, 10),
        length=generator.randint(50, 500),
        n_looks=generator.randint(1, 50),
        final_state_hash=f"{generator.getrandbits(128):032x}",
        errors=retried,
        timings=Timings(0.0, *(generator.expovariate(1) for _ in range(5))),
    )


if __name__ == "__main__":
    main()
