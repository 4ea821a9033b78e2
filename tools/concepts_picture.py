"""Draw ``docs/images/concepts.svg``: suite, task, episode, step and chunk; run, shard and sweep.

python tools/concepts_picture.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "concepts.svg"
WIDTH, HEIGHT = 920, 560
PALE, BLUE, ORANGE, GREEN, GREY = "#f4f6f8", "#1e88e5", "#fb8c00", "#43a047", "#9aa5b1"
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.b { font-weight: 600 } .s { font-size: 11.5px; fill: #52606d }
"""


def drawing() -> str:
    """Return the picture as SVG."""
    parts = [*_suite(), *_episode(), *_run()]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    title = "<title>A suite has tasks, a task episodes, an episode steps in chunks; a run does all of them</title>"
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, title, f"<style>{_STYLE}</style>", background, *parts, "</svg>", ""])


def _suite() -> Iterator[str]:
    yield _text(20, 28, "What is measured", "b")
    yield _box(20, 42, 880, 128, PALE)
    yield _term(34, 64, "suite", "Meta-World MT10: tasks that are reported together")
    for column, task in enumerate(("reach-v3", "push-v3", "door-open-v3")):
        x = 34 + 288 * column
        yield _box(x, 76, 276, 82, "white")
        yield _term(x + 12, 97, "task", task)
        for episode in range(6):
            colour = ORANGE if (3 * column + episode) % 4 == 1 else GREEN
            yield _box(x + 12 + 42 * episode, 108, 36, 36, colour, radius=5)
            yield _text(x + 30 + 42 * episode, 131, str(episode), "b", anchor="middle", fill="white")


def _episode() -> Iterator[str]:
    yield _line(64, 144, 40, 210)
    yield _line(82, 144, 880, 210)
    yield _box(20, 210, 880, 128, PALE)
    yield _term(
        34,
        232,
        "episode",
        "from a seed (1000 + its number) to success or to the last step; green succeeds, orange fails",
    )
    for chunk in range(4):
        x = 34 + 215 * chunk
        yield _box(x, 248, 34, 34, BLUE, radius=17)
        yield _text(x + 17, 270, "look", "s", anchor="middle", fill="white")
        for step in range(10):
            yield _box(x + 42 + 16.5 * step, 252, 13, 26, GREEN if chunk == 3 and step == 9 else GREY, radius=2)
    yield _term(34, 306, "chunk", "the actions of one prediction; n_action_steps of them are executed")
    yield _term(34, 325, "step", "one action: physics, reward, success")
    yield _term(470, 306, "look", "the policy's images are rendered, and only here")


def _run() -> Iterator[str]:
    yield _text(20, 374, "How it is run", "b")
    for row, step in enumerate(("010000", "020000", "030000")):
        y = 388 + 54 * row
        yield _box(20, y, 640, 46, PALE)
        yield _text(34, y + 20, "run", "b")
        yield _text(34, y + 37, f"checkpoint {step}", "s")
        for shard in range(3):
            x = 160 + 165 * shard
            yield _box(x, y + 7, 156, 32, "white")
            yield _text(x + 10, y + 27, f"shard {shard}", "s")
            for worker in range(4):
                yield _box(x + 62 + 22 * worker, y + 13, 17, 20, BLUE, radius=3)
    yield _term(676, 408, "sweep", "a run per checkpoint,")
    yield _text(676, 425, "all on the same seeds", "s")
    yield _term(676, 452, "run", "every episode of the plan, in")
    yield _text(676, 469, "one directory; can be resumed", "s")
    yield _term(676, 496, "shard", "a process, or a job of a")
    yield _text(676, 513, "cluster, with its copy of the policy", "s")
    yield _term(676, 540, "worker", "a blue square: a simulator")


def _box(x: float, y: float, width: float, height: float, fill: str, *, radius: float = 6) -> str:  # noqa: PLR0913
    stroke = ' stroke="#cbd2d9"' if fill in (PALE, "white") else ""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}"{stroke}/>'


def _term(x: float, y: float, term: str, text: str) -> str:
    """Write a term in bold, and behind it what the term means."""
    return f'<text x="{x}" y="{y}" class="s"><tspan class="b">{escape(term)}</tspan> {escape(text)}</text>'


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start", fill: str = "") -> str:  # noqa: PLR0913
    style = f' style="fill: {fill}"' if fill else ""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{GREY}" stroke-dasharray="3 3" fill="none"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawing())
    sys.stdout.write(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB\n")
