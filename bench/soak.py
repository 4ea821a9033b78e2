"""Evaluates the fake benchmark while something is killed every few seconds, and resumes it until it is complete.

    python bench/soak.py [--episodes 100000] [--tasks 20] [--workers 2] [--every 3] [--seed 0]

At random moments the command is sent SIGKILL, SIGTERM, SIGINT or SIGHUP, and one of its processes (the fork server, a
worker) SIGKILL, SIGSEGV, SIGABRT or SIGSTOP. When all episodes have a result, the canonical results must equal, byte
for byte, those of a run that nothing happened to, and no process, temporary file or name in /dev/shm may be left. The
last line is ``ok``, or says what differs or is left. The exit status is 0 if nothing does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))
from common import descendants

from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK

TO_COMMAND = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TO_PROCESS = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP)
PROCESSES_PER_COMMAND = 4
"""How often one of the command's processes is killed for each time that the command is."""
ENDS_WITHIN_S = 60


def command(directory: Path, options: argparse.Namespace) -> list[str]:
    """Return the command that evaluates, and that resumes."""
    return [
        sys.executable,
        *("-P", "-m", "proctor", "eval", "--policy.type=random", f"--env.type={FAKE_BENCHMARK}"),
        *(f"--env.n_tasks={options.tasks}", "--env.max_steps=20", f"--eval.batch_size={options.workers}"),
        *(f"--eval.n_episodes={options.episodes // options.tasks}", "--eval.video=none", "--eval.display=none"),
        *("--eval.step_timeout_s=5", "--eval.reset_timeout_s=10", f"--output_dir={directory}"),
    ]


def harass(process: subprocess.Popen[bytes], generator: Random, every: float, sent: Counter[str]) -> set[int]:
    """Send signals to a command's processes and finally to the command, unless it ends before.

    Returns the processes that it had.
    """
    seen = set[int]()
    for _ in range(generator.randint(1, 2 * PROCESSES_PER_COMMAND)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(generator.uniform(0.5, 1.5) * every)
            return seen
        below = descendants(process.pid)
        seen.update(below)
        if below:
            number = generator.choice(TO_PROCESS)
            with suppress(ProcessLookupError):
                os.kill(generator.choice(below), number)
                sent[f"a process {number.name}"] += 1
    number = generator.choice(TO_COMMAND)
    seen.update(descendants(process.pid))
    process.send_signal(number)
    sent[f"the command {number.name}"] += 1
    return seen


def still_running(processes: set[int]) -> set[int]:
    """Return the processes that have not ended five seconds from now."""
    until = time.monotonic() + 5
    while time.monotonic() < until and (processes := {pid for pid in processes if Path(f"/proc/{pid}/exe").exists()}):
        time.sleep(0.1)
    return processes


def soaked(directory: Path, options: argparse.Namespace) -> tuple[Counter[str], Counter[int], set[int]]:
    """Run the command until it ends by itself with status 0; returns signals, exit statuses and processes left."""
    generator, sent, statuses, left = Random(options.seed), Counter[str](), Counter[int](), set[int]()
    while not statuses[0]:
        with subprocess.Popen(
            command(directory, options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            below = harass(process, generator, options.every, sent)
            try:
                _, printed = process.communicate(timeout=ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                sys.exit("the command did not end within a minute of its signal")
        left |= still_running(below)
        statuses[process.returncode] += 1
        if process.returncode == 1 or b"Traceback" in printed:
            sys.exit(f"a traceback:\n{printed.decode(errors='replace')}")
        journal = directory / "journal.jsonl"
        size = journal.stat().st_size if journal.exists() else 0
        print(f"{sum(sent.values())} signals, last status {process.returncode}, journal {size >> 10} KiB", flush=True)
    return sent, statuses, left


def results(directory: Path) -> str:
    """Return the canonical results as text."""
    info = canonical_info(json.loads((directory / "eval_info.json").read_bytes()))
    return json.dumps({**info, "config": None}, indent=1)


def main() -> None:
    """Run it clean, soak it, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between signals, on average")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names_before = set(Path("/dev/shm").iterdir())
    with tempfile.TemporaryDirectory() as folder:
        clean, soak = Path(folder, "clean"), Path(folder, "soak")
        began = time.monotonic()
        subprocess.run(command(clean, options), check=True, stdout=subprocess.DEVNULL)
        middle = time.monotonic()
        sent, statuses, left = soaked(soak, options)
        took = time.monotonic() - middle
        wrong = ["results"] if results(clean) != results(soak) else []
        wrong += [f"processes {left}"] if left else []
        files = {path.name for path in soak.rglob("*")} - {path.name for path in clean.rglob("*")}
        wrong += [f"files {files}"] if files else []
        wrong += ["names in /dev/shm"] if set(Path("/dev/shm").iterdir()) - names_before else []
    print(f"{options.episodes} episodes: clean {middle - began:.0f} s, with {sum(sent.values())} signals {took:.0f} s")
    print(f"signals {dict(sent)}; exit statuses {dict(statuses)}")
    print("differs or is left: " + ", ".join(wrong) if wrong else "ok")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
