"""Write docs/benchmarks.md from the docstrings and declarations of the benchmarks: ``make docs``.

``tests/benchmarks/test_benchmarks_page.py`` makes the page again and compares it. Other tests compare the docstrings
with the simulators.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

from proctor.benchmarks.base import Benchmark
from proctor.errors import distribution_name
from proctor.interpreters.recipe import Recipe, recipes
from proctor.plugins import BENCHMARKS, load_object

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks.md"

HEAD = """\
<!-- Written by tools/benchmark_reference.py (make docs). To change this page, change the docstrings of the benchmarks'
classes in src/proctor/benchmarks. -->

# Benchmarks

This page defines an episode of each benchmark: its observations, actions, length, success and initial state, and its
differences from the reference. Arrays are given without a time axis; `float64 (14,)` is dtype and shape.

All benchmarks have in common:

- Episode *i* of a task runs with seed `seed + i`, and depends on that seed (and its stored initial state) alone.
- An episode ends when the simulator ends it, or after the number of steps given here; `--env.episode_length` shortens
  it.
- Success is latched: an episode succeeds if the simulator reports success at any step.
- The reward of an episode is the sum over its steps. Rewards after its end do not count.
- `--env.render_device=auto` renders with EGL if that works, else with OSMesa; the provenance contains the renderer.

The protocol's name and the versions of the named packages are part of every
[fingerprint](results-format.md#the-fingerprint), so results of different ones are not mixed. The memory is that of each
further worker, measured with software GL at the usual image size. The [command-line reference](cli.md#benchmarks)
lists the options; [add a benchmark](add-a-benchmark.md) describes how to add your own.

## A simulator with packages of its own

If a simulator needs other versions than Proctor's environment has (an older MuJoCo, numpy 1, Python 3.10), it runs in
an environment of its own. `proctor env create xarm` makes one from a [recipe](environments.md). One that you have made
yourself is named by its interpreter:

```console
$ python3.10 -m venv ~/xarm
$ ~/xarm/bin/pip install numpy msgspec gymnasium==0.29.1 gym-xarm==0.1.1 gymnasium-robotics==1.2.4 'numpy<2'
$ proctor eval --policy.type=random --env.python=~/xarm/bin/python --env.type=gymnasium --env.module=gym_xarm \\
               --env.task=gym_xarm/XarmLift-v0 --env.kwargs='{"obs_type": "pixels_agent_pos"}' --eval.n_episodes=5
```

`--env.python` works with every benchmark, also with one that only that environment has. It needs Python 3.10 or later,
numpy, msgspec, Gymnasium 0.29 or later (or gym 0.26) and the simulator's packages, but not Proctor, torch or PyAV.
Results, recovery and videos are the same; the fingerprint contains the versions of that environment. Folders of
`PYTHONPATH` are searched after its packages. `proctor resume` and `proctor replay` of such a run need
`--trust_remote_code=true`, because a run directory must not choose the program that runs; an environment of
`proctor env` needs no consent. [The decision](decisions/an-interpreter-of-its-own.md) says how it works.
"""


WHERE = """\
## What runs where

"This interpreter" is Proctor's own. Any benchmark with a recipe can also run in an
[environment of its own](environments.md), whose Python, size and licence the table gives. `proctor env create` installs
what can be installed from packages; nothing else is ever downloaded.
"""

OUT = """\
### What is not here, and why

| benchmark | reason |
|---|---|
| CALVIN | No package of it exists: the name is another project's, and its engine, PyBullet, must be compiled. |
| RLBench | It needs CoppeliaSim, which has no package; the name of PyRep is another project's. |
| RoboTwin 2 | Its runtime (`rlinf-robotwin-runtime`) needs a beta of SAPIEN, and a GPU for its planner. |
| VLABench | There is no package, and its models are a download from a hub. |
| RoboMME | There is no package; it is a fork of ManiSkill. |
| MIKASA-Robo | Its package pins numpy 1.23; it was not tried in an environment of its own. |
| BEHAVIOR | Its package (`omnigibson`) is old, and it needs Isaac Sim and an RTX GPU. |
| Isaac Lab Arena | It needs Isaac Sim and an RTX GPU. |

If such a benchmark is installed in an interpreter on your machine, [`gymnasium`](#gymnasium) or
[`lerobot_env`](#lerobot_env) may run it there: `--env.python=PATH`.
"""


def reference() -> str:
    """Return the text of the page."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    points = project["entry-points"][BENCHMARKS]
    kinds: list[type[Benchmark]] = [load_object(address) for address in points.values()]
    overview = [
        "| benchmark | install | protocol | memory | packages of the fingerprint |",
        "|---|---|---|---|---|",
        *(_overview_row(kind) for kind in kinds),
    ]
    where = _where(set(points), set(project["optional-dependencies"]))
    return "\n".join([HEAD, *overview, "", WHERE, *where, "", OUT, *(_section(kind) for kind in kinds)])


def _recipes_by_benchmark() -> list[tuple[str, Recipe]]:
    pairs = [(name, recipe) for recipe in recipes().values() for name in recipe.benchmarks]
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].name))


def _where(benchmarks: set[str], extras: set[str]) -> list[str]:
    """Return the table of where each benchmark that has a recipe runs."""
    rows = ["| benchmark | runs in | Python | licence | disk | state |", "|---|---|---|---|---|---|"]
    for name, recipe in _recipes_by_benchmark():
        shown = f"[`{name}`](#{name})" if name in benchmarks else f"`{name}`"
        own = f"`proctor env create {recipe.name}`"
        where = f"this interpreter (`{distribution_name()}[{name}]`), or {own}" if name in extras else f"its own: {own}"
        state = " ".join(filter(None, (recipe.downloads, recipe.unproven))) or "run and tested"
        rows.append(f"| {shown} | {where} | {recipe.python} | {recipe.licence} | {recipe.disk_mb} MB | {state} |")
    return rows


def _overview_row(kind: type[Benchmark]) -> str:
    install = f"`{distribution_name()}[{kind.extra}]`" if kind.extra else ""
    memory = f"{kind.worker_memory_mb} MB" if kind.worker_memory_mb else ""
    packages = ", ".join(kind.distributions) or "gymnasium, and the environment's"
    return f"| [`{kind.name}`](#{kind.name}) | {install} | `{kind.protocol}` | {memory} | {packages} |"


def _section(kind: type[Benchmark]) -> str:
    blocks = (inspect.getdoc(kind) or "").split("\n\n")
    parts = [f"## {kind.name}", *(_table(b) if b.startswith("====") else _markdown(b) for b in blocks)]
    return "\n\n".join(parts) + "\n"


def _table(block: str) -> str:
    """Convert a table of a docstring; the lines between the first two lines of equals signs are its head."""
    ruler, *lines, _ = block.splitlines()
    starts = [match.start() for match in re.finditer("=+", ruler)]
    head = lines.index(ruler) if ruler in lines else 0
    names = _row(*_cells(lines[:head], starts)) if head else "| " * len(starts) + "|"
    rows = [_row(cells) for cells in _cells(lines[head + bool(head) :], starts)]
    return "\n".join([names, "|---" * len(starts) + "|", *rows])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _cells(lines: list[str], starts: list[int]) -> list[list[str]]:
    """Return the texts of each row's cells; a line without a first cell continues the row above."""
    rows: list[list[str]] = []
    for line in lines:
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {below}".strip() for above, below in zip(rows[-1], cells, strict=True)]
    return rows


def _markdown(text: str) -> str:
    """Convert the reStructuredText that docstrings use to Markdown."""
    text = re.sub(r":\w+:`~?\.?(?:[\w]+\.)*?([A-Z]\w*(?:\.\w+)?|\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference())


if __name__ == "__main__":
    main()
