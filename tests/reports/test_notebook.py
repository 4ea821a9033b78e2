"""Evaluations in a notebook that is really run: what its cells show, and environments that it registers itself."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

import proctor
from proctor.engine.load import Load
from proctor.reports.display import PlainDisplay, make_display
from proctor.reports.notebook import NotebookDisplay, in_notebook
from proctor.reports.progress import Progress, Stage, TaskProgress
from proctor.statistics.counts import Counts
from proctor.testing.fakes import FAKE_BENCHMARK

CELLS = [
    """
import proctor

env = {"type": "%s", "max_steps": 12, "image_size": 32, "step_seconds": 0.1}
result = proctor.evaluate(lambda observation: [1.0, 1.0], env, n_episodes=2, batch_size=2, video="all")
""",
    "result",
    """
import gymnasium
import numpy as np

class Tiny(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, True, False, {"is_success": True}

gymnasium.register("Tiny-v0", Tiny, max_episode_steps=10)
tiny = proctor.evaluate({"type": "zero"}, {"type": "gymnasium", "task": "Tiny-v0"}, n_episodes=2)
print(tiny.pc_success, tiny.interval)
""",
    """
with proctor.Evaluator(env, n_episodes=1) as evaluator:
    print(evaluator({"type": "zero"}, wait=False).result().n_errors)
""",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(CELLS[0] % FAKE_BENCHMARK), *map(nbformat.v4.new_code_cell, CELLS[1:])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    source = str(Path(proctor.__file__).parents[1])
    updates: list[str] = []

    class Watching(nbclient.NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] == "update_display_data":
                updates.append(msg["content"]["data"]["text/html"])
            return super().process_message(msg, cell, cell_index)

    client = Watching(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, "PYTHONPATH": source})
    return [cell.outputs for cell in notebook.cells], updates


def test_the_progress_is_one_output_that_is_replaced(outputs):
    """There is one for the episodes and one for the videos; at the end they say that everything is done."""
    (cell, *_), updates = outputs

    episodes, videos = (output["data"]["text/html"] for output in cell if output.output_type == "display_data")
    assert '<progress value="4" max="4"' in episodes
    assert "4/4 episodes" in episodes
    assert "videos 4/4" in videos
    assert len({text for text in updates if "episodes" in text}) > 2
    assert [output for output in cell if output.output_type == "stream"] == []


def test_a_result_at_the_end_of_a_cell_is_a_table_with_videos(outputs):
    """A notebook without HTML shows one line."""
    (_, (shown,), *_), _ = outputs

    assert shown["data"]["text/html"].count("<video") == 4
    assert shown["data"]["text/plain"].startswith("EvalResult(pc_success=")


def test_an_environment_that_the_notebook_registers_is_evaluated_with_a_note(outputs):
    """Its class exists in the kernel's process alone, so the simulators run there."""
    (*_, cell, _), _ = outputs
    texts = {output["name"]: output["text"] for output in cell if output.output_type == "stream"}

    assert texts["stdout"].startswith("100.0 (")
    assert "Tiny-v0 is registered with objects that only this process has" in texts["stderr"]


def test_an_evaluation_in_the_background_shows_nothing(outputs):
    """Other cells run meanwhile."""
    (*_, (shown,)), _ = outputs

    assert shown["text"] == "0\n"


def test_elsewhere_a_display_is_no_notebooks():
    """Also if IPython is installed."""
    assert not in_notebook()
    assert isinstance(make_display(_console(), "auto"), PlainDisplay)


def _console():
    from rich.console import Console

    return Console(force_terminal=False)


class Handle:
    """Stands for an output of a cell."""

    def __init__(self):
        self.shown = []

    def update(self, html):
        self.shown.append(html.data)


def test_an_output_is_replaced_twice_a_second_and_at_the_end(monkeypatch):
    """However often the progress changes. Names are text."""
    handle, times = Handle(), iter([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9])
    monkeypatch.setattr("IPython.display.display", lambda html, display_id: handle)
    tasks = (TaskProgress("<b>", 4, Counts()),)

    with NotebookDisplay("<run>", lambda: next(times)) as display:
        for _ in range(3):
            display.update(Progress(tasks, 1.0, load=Load(loading_policy=True)))
        display.update(Stage("videos", 3, 4, 1.0))

    assert len(handle.shown) == 3
    assert "loading the policy" in handle.shown[0]
    assert "videos 3/4" in handle.shown[-1]
    assert all("&lt;run&gt;" in text and "<run>" not in text for text in handle.shown)
