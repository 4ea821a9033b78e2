"""Draw a real evaluation in a terminal: ``terminal.svg`` (still) and ``terminal.webp`` (moving) in ``docs/images``.

    python tools/terminal_picture.py [OPTIONS OF proctor eval]

The pictures are authentic: the evaluation runs while they are taken. The moving one shows the states of the live
display at evenly spaced moments, faster than they happened, and then the block at the end.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from moving_picture import IMAGES, MovingPicture, chromium_page, evenly
from playwright.sync_api import Page
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.result import EvalResult
from proctor.evaluation.run import run
from proctor.reports.display import SilentDisplay
from proctor.reports.live import LiveView
from proctor.reports.progress import Progress, Stage
from proctor.reports.terminal import print_summary
from proctor.results.run_status import RunStatus

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ["--policy.path=examples/metaworld_act", "--env.type=metaworld"]
OPTIONS += ["--env.task=reach-v3,button-press-topdown-v3,coffee-button-v3", "--env.episode_length=200"]
OPTIONS += ["--eval.n_episodes=10", "--eval.video=none"]
WIDTH, PICTURE_WIDTH = 108, 900
PART_DONE = 0.6
LIVE_FRAMES, LIVE_MS, TYPED_MS, END_MS = 30, 200, 90, 5000


class Photographer(SilentDisplay):
    """Store every state of the progress that the live display could have drawn."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.states: list[Progress] = []

    def update(self, progress: Progress | Stage) -> None:
        if isinstance(progress, Progress):
            self.states.append(progress)

    def view_of(self, state: Progress) -> LiveView:
        """Return what the live display draws in a state."""
        view = LiveView(self.title)
        view.progress = state
        return view


def main() -> None:
    """Run the evaluation and draw the pictures."""
    options = [*OPTIONS, *sys.argv[1:]]
    displays: list[Photographer] = []

    def make_display(_console: Console, _mode: str, title: str) -> Photographer:
        displays.append(Photographer(title))
        return displays[-1]

    _, bound, _, _ = app.parse_known_args(expand(["eval", *options]))
    os.chdir(ROOT)
    with patch("proctor.evaluation.terminal.make_display", make_display):
        result = run(prepare(bound.arguments["config"]))
    command = Text.assemble(("$ ", "green"), ("proctor eval " + " ".join(OPTIONS), "bold"))
    sys.stdout.write(_still(displays[0], command, result))
    sys.stdout.write(_moving(displays[0], command, result))


def _still(display: Photographer, command: Text, result: EvalResult) -> str:
    state = next(state for state in display.states if state.overall.done >= PART_DONE * state.overall.total)
    console = _console()
    _print(console, [command, display.view_of(state), "", result])
    picture = IMAGES / "terminal.svg"
    picture.write_text(_svg(console))
    return f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB\n"


def _moving(display: Photographer, command: Text, result: EvalResult) -> str:
    moments = [state.elapsed_s for state in display.states]
    states = [display.states[index] for index in evenly(moments, LIVE_FRAMES)]
    scenes: list[tuple[list[object], int]]
    scenes = [([command, "", result], END_MS)]  # first, because some readers show the first frame alone
    scenes += [([command[:length]], TYPED_MS) for length in range(2, len(command.plain) + 1, 12)]
    scenes += [([command, display.view_of(state)], LIVE_MS) for state in states]
    n_rows = max(_rows(contents) for contents, _ in scenes)
    picture = MovingPicture(PICTURE_WIDTH)
    with chromium_page(PICTURE_WIDTH, 800, scale=1.5) as page:
        for contents, milliseconds in scenes:
            picture.add(_photograph(page, contents, n_rows), milliseconds)
    return picture.save(IMAGES / "terminal.webp")


def _photograph(page: Page, contents: Sequence[object], n_rows: int) -> bytes:
    console = _console()
    _print(console, [*contents, *[""] * (n_rows - _rows(contents))])
    page.set_content(f"<body style='margin:0'>{_svg(console)}</body>")
    return page.locator("svg").first.screenshot()


def _console() -> Console:
    return Console(record=True, width=WIDTH, height=50, file=io.StringIO(), force_terminal=True)


def _print(console: Console, contents: Sequence[object]) -> None:
    for content in contents:
        if isinstance(content, EvalResult):
            print_summary(console, content.summary, RunStatus.of(content.directory))
        else:
            console.print(content)


def _rows(contents: Sequence[object]) -> int:
    console = _console()
    _print(console, contents)
    return console.export_text().count("\n")


def _svg(console: Console) -> str:
    """Export what was printed. The picture uses the reader's own monospaced font, so nothing is downloaded."""
    svg = console.export_svg(title="proctor eval", theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
