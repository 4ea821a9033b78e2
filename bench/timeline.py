"""Draw how lockstep and Proctor use the same minute, from a trace of each: docs/images/timeline.svg.

    python bench/timeline.py [CASE] [--seconds 60] [--zoom 4] [--output docs/images/timeline.svg]

The script runs the same policy, task and number of environments twice: in the loop of ``bench/lockstep.py``, then in
Proctor with ``--eval.trace``. Time begins with the first reset. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case
from common import loaded, machine
from lockstep import Lockstep, Span
from vs_vector_env import in_lockstep

COLOURS = {"reset": "#8d6e63", "step": "#43a047", "look": "#1e88e5", "inference": "#fb8c00"}
NAMES = {"step": "physics", "look": "drawing", "inference": "policy", "reset": "reset"}
LEFT, WIDTH, ROW, GAP, PANEL_HEAD = 110, 780, 13, 4, 26


@dataclass(frozen=True)
class Story:
    """The activities of a run in seconds since the first reset: rows by name, and the ends of episodes."""

    title: str
    rows: Mapping[str, Sequence[Span]]
    ended: Sequence[float]

    def finished(self, seconds: float) -> int:
        return sum(moment <= seconds for moment in self.ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=CASES, default="metaworld-10")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--zoom", type=float, default=4.0, help="seconds shown in the second pair of pictures")
    parser.add_argument("--episodes", type=int, nargs=2, default=(10, 60), help="episodes of the loop and of Proctor")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs/images/timeline.svg")
    options = parser.parse_args()
    case = CASES[options.case]
    n_envs = max(2, len(os.sched_getaffinity(0)))
    policy = loaded(case.policy_fields())
    lockstep = of_lockstep(in_lockstep(policy, replace(case, episodes=options.episodes[0]), n_envs))
    proctor = of_proctor(policy, replace(case, episodes=options.episodes[1]), n_envs)
    options.output.write_text(drawn([lockstep, proctor], [options.seconds, options.zoom]))
    print(machine())
    for story in (lockstep, proctor):
        print(f"{story.title}: {story.finished(options.seconds)} episodes in {options.seconds:g} s")


def of_lockstep(run: Lockstep) -> Story:
    """Return the activities of the loop's environments and its policy."""

    def shifted(spans: Sequence[Span]) -> list[Span]:
        return [Span(span.what, span.began - run.began, span.ended - run.began) for span in spans]

    rows = {f"environment {n + 1}": shifted(spans) for n, spans in enumerate(run.environments)}
    rows["policy"] = shifted(run.policy)
    resets = [span.began - run.began for span in run.environments[0] if span.what == "reset"]
    ends = [*resets[1:], run.ended - run.began]
    return Story("Lockstep", rows, [end for end in ends for _ in run.environments])


def of_proctor(policy: Any, case: Case, n_envs: int) -> Story:
    """Return the activities of Proctor's workers and inference slots, from its trace."""
    from proctor import evaluate

    with tempfile.TemporaryDirectory() as folder:
        env = {**case.env, "episode_length": case.steps}
        evaluate(policy, env, n_episodes=case.episodes, batch_size=n_envs, output_dir=folder, trace=True)
        events = json.loads((Path(folder) / "trace.json").read_text())
    tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    began = min(event["ts"] for event in events if event.get("name") == "reset")
    rows: dict[str, list[Span]] = {}
    for name, spans in ((name, list(_spans(events, track, began))) for track, name in sorted(tracks.items())):
        rows[name.replace("device 0 slot", "policy").replace("worker", "environment")] = spans
    ended = [(event["ts"] - began) / 1e6 for event in events if event["ph"] == "E"]
    return Story("Proctor", _counted_from_one(rows), ended)


def _spans(events: Sequence[Mapping[str, Any]], track: tuple[int, int], began: float) -> Iterator[Span]:
    """Yield the track's own activities: a worker that waits for a pass does nothing."""
    for event in events:
        if event["ph"] != "X" or (event["pid"], event["tid"]) != track:
            continue
        name = "inference" if event["name"].startswith("pass") else event["name"].replace("chunk", "step")
        if name in COLOURS and (track[0] == 2 or name != "inference"):
            start = (event["ts"] - began) / 1e6
            yield Span(name, start, start + event["dur"] / 1e6)


def _counted_from_one(rows: Mapping[str, Sequence[Span]]) -> dict[str, Sequence[Span]]:
    return {f"{name.rpartition(' ')[0]} {int(name.rpartition(' ')[2]) + 1}": spans for name, spans in rows.items()}


# ------------------------------------------------------------------------------------------------------------ drawing


def drawn(stories: Sequence[Story], windows: Sequence[float]) -> str:
    """Return a panel for each story and each window, a number of seconds from the beginning."""
    parts, top = [_legend()], 34.0
    for seconds in windows:
        for story in stories:
            parts.append(_panel(story, seconds, top))
            top += PANEL_HEAD + len(story.rows) * (ROW + GAP)
        parts.append(_axis(seconds, top))
        top += 38
    size = f'width="{LEFT + WIDTH + 20}" height="{top:.0f}" viewBox="0 0 {LEFT + WIDTH + 20} {top:.0f}"'
    style = "text{font:12px sans-serif;fill:#222}.bold{font-weight:bold}.small{font-size:11px;fill:#555}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"])


def _legend() -> str:
    parts = []
    for place, (what, colour) in enumerate(COLOURS.items()):
        x = LEFT + 90 * place
        parts.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="20">{NAMES[what]}</text>')
    parts.append(f'<text x="{LEFT + 90 * len(COLOURS)}" y="20" class="small">empty: waiting</text>')
    return "\n".join(parts)


def _panel(story: Story, seconds: float, top: float) -> str:
    done = f"{story.title}: {story.finished(seconds)} episodes finished in {seconds:g} s"
    parts = [f'<text x="{LEFT}" y="{top + 16}" class="bold">{escape(done)}</text>']
    for place, (name, spans) in enumerate(story.rows.items()):
        y = top + PANEL_HEAD - 4 + place * (ROW + GAP)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end" class="small">{escape(name)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{ROW}" fill="#f2f2f2"/>')
        for what, colour in COLOURS.items():
            path = "".join(_box(span, seconds, y) for span in spans if span.what == what and span.began < seconds)
            parts.append(f'<path fill="{colour}" d="{path}"/>' if path else "")
    return "\n".join(filter(None, parts))


def _box(span: Span, seconds: float, y: float) -> str:
    x = LEFT + WIDTH * max(0.0, span.began) / seconds
    width = WIDTH * (min(span.ended, seconds) - max(0.0, span.began)) / seconds
    return f"M{x:.1f} {y}h{max(width, 0.1):.1f}v{ROW}h-{max(width, 0.1):.1f}z" if width > 0 else ""


def _axis(seconds: float, top: float) -> str:
    ticks = next(n for n in (6, 5, 4, 3, 2, 1) if seconds % n == 0 or n == 1)
    places = [(LEFT + WIDTH * tick / ticks, f"{seconds * tick / ticks:g} s") for tick in range(ticks + 1)]
    return "\n".join(
        f'<text x="{x:.0f}" y="{top + 10}" text-anchor="middle" class="small">{t}</text>' for x, t in places
    )


if __name__ == "__main__":
    main()
