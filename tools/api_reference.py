"""Write docs/api.md from the public names of ``proctor`` and their docstrings: ``make docs``.

On the site, ``tools/site_hooks.py`` adds the signatures and the whole docstrings below the tables.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import proctor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
GROUPS = {
    "Evaluating": ("evaluate", "EvalResult", "Evaluator", "AutotuneRecommendation"),
    "Configuration": ("EvalConfig", "EnvConfig", "DatasetConfig", "WandBConfig"),
    "Episodes": ("Task", "EpisodeSpec", "EpisodeResult", "Outcome", "Observation"),
    "Benchmarks and policies of your own": ("Benchmark", "SimEnv", "Step", "Policy"),
    "With LeRobot's names": ("make_env", "make_policy", "eval_policy", "eval_policy_all", "PeftConfig"),
    "Shards and errors": ("shard_episodes", "ProctorError"),
}
HEAD = """\
<!-- Written by tools/api_reference.py (make docs). To change this page, change the docstrings in src/proctor. -->

# Python

All names of this page are imported from `proctor`, which loads no simulator and no torch. The command line builds the
same configuration and calls the same functions. [The quickstart](quickstart.md#from-python) and [the page about
training loops](training.md) show them in use, and `help(proctor.evaluate)` prints a docstring.
"""


def reference() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *map(_group, GROUPS)])


def _group(title: str) -> str:
    rows = [f"| `proctor.{name}` | {_summary(name)} | `{proctor._HOME_OF[name]}` |" for name in GROUPS[title]]  # noqa: SLF001
    return "\n".join([f"## {title}", "", "| name | what it is | defined in |", "|---|---|---|", *rows, ""])


def _summary(name: str) -> str:
    """Return the first sentence of a docstring, on one line."""
    text = inspect.getdoc(getattr(proctor, name)) or ""
    first = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".:")
    return re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", first).replace("``", "`").replace("|", "\\|") + "."


if __name__ == "__main__":
    PAGE.write_text(reference())
