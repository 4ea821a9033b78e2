"""Measure how soon the viewer's pages are painted in Chromium: an index of 300 runs, a run of 10 000 episodes.

    python bench/viewer.py [--runs 300] [--episodes 10000] [--loads 5]

The runs are synthetic (``bench/results.py`` writes them, 100 episodes each); ``proctor view`` serves them in a process
of its own. Times are the browser's own: from the start of the navigation to the first byte of the answer, to the first
paint with content, and to the end of the page's script. The first load of the index is stated apart, because the server
then reads every run for the first time; a run that has not changed is not read again, and its page is kept. The seconds
of a core are the server's, and do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import machine

from proctor.results.run_dir import RunDirectory
from results import write_run_directory

TIMES = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const { responseStart: answer, domContentLoadedEventEnd: script, decodedBodySize: bytes } = page;
  return { answer, paint: paint.startTime, script, bytes };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        many, large = Path(temporary, "many"), Path(temporary, "large")
        for number in range(options.runs):
            write_named_run(many / f"2026-11-{1 + number % 28:02d}" / f"run_{number:03d}", number, 100, 10)
        write_named_run(large / "run", 0, options.episodes, 10)
        with chromium() as browser:
            with served(many) as (url, pid):
                report(f"index of {options.runs} runs, first load", [load(browser, url, pid)])
                page = browser.new_page()
                page.goto(url)
                page.wait_for_function("() => !document.querySelector('[data-state=unread]')")  # it asks for the rest
                page.close()
                report(f"index of {options.runs} runs", [load(browser, url, pid) for _ in range(options.loads)])
            with served(large) as (url, pid):
                page = browser.new_page()
                page.goto(url)
                address = url + page.locator("a[href^='/runs/']").first.get_attribute("href").lstrip("/")
                page.close()
                report(f"run of {options.episodes} episodes, first load", [load(browser, address, pid)])
                loads = [load(browser, address, pid) for _ in range(options.loads)]
                report(f"run of {options.episodes} episodes", loads)


def write_named_run(folder: Path, number: int, n_episodes: int, n_tasks: int) -> None:
    """Write a run as one of a training's checkpoints."""
    write_run_directory(folder, n_episodes, n_tasks, 1)
    run = RunDirectory(folder).require_run()
    path = f"outputs/train/run_{number // 20}/checkpoints/{1000 * (number % 20):06d}/pretrained_model"
    config = {
        "policy": {"path": path},
        "env": {"type": "synthetic", "task": "all"},
        "seed": 1000 + number % 3,
        "eval": {},
    }
    opened = {"type": "act", "n_action_steps": 5 * (1 + number % 4)}
    RunDirectory(folder).write_run(replace(run, config=config, opened_policy=opened))


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a folder, and give its address and the id of the server's process."""
    command = [sys.executable, "-P", "-m", "proctor", "view", str(folder), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        try:
            yield found[0], server.pid
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def load(browser: Any, url: str, pid: int) -> dict[str, float]:
    """Load a page in a browser context of its own, and return its times in ms, and its size in bytes."""
    before = core_s(pid)
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    times: dict[str, float] = page.evaluate(TIMES)
    times["core"] = core_s(pid) - before
    context.close()
    return times


def core_s(pid: int) -> float:
    """Return the seconds of a core that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def report(name: str, loads: list[dict[str, float]]) -> None:
    """Print the medians of some loads."""
    middle = {key: median(times[key] for times in loads) for key in loads[0]}
    print(
        f"{name}: server {middle['core']:.2f} s of a core, first byte {middle['answer']:.0f} ms, "
        f"first paint {middle['paint']:.0f} ms, script done {middle['script']:.0f} ms, {middle['bytes'] / 1000:.0f} kB",
        flush=True,
    )


if __name__ == "__main__":
    main()
