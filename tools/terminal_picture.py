"""Draw ``docs/images/terminal.svg``: a real evaluation's live display during the run, and the block at its end.

    python tools/terminal_picture.py [OPTIONS OF proctor eval]

The picture is authentic: the evaluation runs while it is taken.
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import run
from proctor.reports.display import SilentDisplay
from proctor.reports.live import LiveView
from proctor.reports.progress import Progress, Stage
from proctor.reports.terminal import print_summary
from proctor.results.run_status import RunStatus

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "terminal.svg"
OPTIONS = ["--policy.path=examples/metaworld_act", "--env.type=metaworld"]
OPTIONS += ["--env.task=reach-v3,button-press-topdown-v3,coffee-button-v3", "--env.episode_length=200"]
OPTIONS += ["--eval.n_episodes=20", "--eval.video=none"]
WIDTH, HEIGHT = 124, 50
PART_DONE = 0.6


class Photographer(SilentDisplay):
    """Store the first progress at which enough episodes are done."""

    def __init__(self, title: str) -> None:
        self.view = LiveView(title)

    def update(self, progress: Progress | Stage) -> None:
        before = self.view.progress
        if isinstance(progress, Progress) and not (isinstance(before, Progress) and _is_far(before)):
            self.view.progress = progress


def main() -> None:
    """Run the evaluation and draw the picture."""
    options = sys.argv[1:] or OPTIONS
    displays: list[Photographer] = []

    def make_display(_console: Console, _mode: str, title: str) -> Photographer:
        displays.append(Photographer(title))
        return displays[-1]

    _, bound, _, _ = app.parse_known_args(expand(["eval", *options]))
    os.chdir(ROOT)
    with patch("proctor.evaluation.terminal.make_display", make_display):
        result = run(prepare(bound.arguments["config"]))

    console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "green"), ("proctor eval " + " ".join(options), "bold")))
    console.print(displays[0].view)
    console.print()
    print_summary(console, result.summary, RunStatus.of(result.directory))
    svg = console.export_svg(title="proctor eval", theme=MONOKAI)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    # The picture uses the reader's own monospaced font, so nothing is downloaded.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size} bytes\n")


def _is_far(progress: Progress) -> bool:
    return progress.overall.done >= PART_DONE * progress.overall.total


if __name__ == "__main__":
    main()
