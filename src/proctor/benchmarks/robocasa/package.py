"""The installed ``robocasa`` package: its tasks, read without importing it, and its 3D models, which it does not bring.

Importing robocasa imports several hundred modules and robosuite, so the list of tasks is read from the text of one of
its modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from proctor.errors import ConfigError

_REMEDY = "it needs an environment of its own: create that with: proctor env create robocasa"


@dataclass(frozen=True)
class Registry:
    """The tasks of robocasa: ``horizons`` has each one's step limit, ``groups`` the tasks that a group's name means."""

    horizons: Mapping[str, int]
    groups: Mapping[str, tuple[str, ...]]


def folder() -> Path:
    """Return the folder of the installed package.

    Raises:
        ConfigError: robocasa is not installed.
    """
    spec = find_spec("robocasa")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"RoboCasa's package robocasa is not installed; {_REMEDY}")
    return Path(next(iter(spec.submodule_search_locations)))


def read_registry(file: Path | None = None) -> Registry:
    """Read the tasks from ``utils/dataset_registry.py`` of robocasa.

    Raises:
        ConfigError: robocasa is not installed, or that module does not have the form that is known.
    """
    file = file or folder() / "utils" / "dataset_registry.py"
    try:
        assigned = _assigned(ast.parse(file.read_text()))
        entries = [*_keywords(assigned["ATOMIC_TASK_DATASETS"]), *_keywords(assigned["COMPOSITE_TASK_DATASETS"])]
        horizons = {task: int(dict(_keywords(entry))["horizon"].value) for task, entry in entries}
        groups = {
            group: tuple(ast.literal_eval(tasks))
            for name in ("TARGET_TASKS", "PRETRAINING_TASKS")
            for group, tasks in _keywords(assigned[name])
        }
    except (OSError, SyntaxError, LookupError, AttributeError, ValueError) as error:
        raise ConfigError(f"RoboCasa's tasks cannot be read from {file}: {error!r}; {_REMEDY}") from error
    return Registry(horizons, groups)


def _assigned(module: ast.Module) -> dict[str, Any]:
    """Return the value of each name that a module assigns."""
    return {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _keywords(call: Any) -> list[tuple[str, Any]]:
    """Return the arguments of ``dict(name=value)`` or ``OrderedDict(name=value)``."""
    return [(keyword.arg, keyword.value) for keyword in call.keywords]


def require_assets(registries: Iterable[str]) -> None:
    """Refuse to build a kitchen if 3D models are missing: robocasa would name one missing file of thousands.

    Raises:
        ConfigError: a folder of 3D models is missing; the message says how to get it and where it belongs.
    """
    assets = folder() / "models" / "assets"
    downloads = {"tex": assets / "textures", "fixtures_lw": assets / "fixtures" / "sinks"}
    names = {"lightwheel": "lw", "objaverse": "objaverse", "aigen": "aigen"}
    folders = {"lightwheel": "lightwheel", "objaverse": "objaverse", "aigen": "aigen_objs"}
    for registry in dict.fromkeys(["lightwheel", *registries]):  # stools and other furniture are lightwheel's
        if registry not in names:
            raise ConfigError(f"env.obj_registries contains '{registry}'; it must be some of {', '.join(names)}.")
        downloads[f"objs_{names[registry]}"] = assets / "objects" / folders[registry]
    missing = [kind for kind, place in downloads.items() if not place.is_dir()]
    if missing:
        raise ConfigError(
            f"RoboCasa's 3D models are not in {assets} (about 10 GB; missing: {', '.join(missing)}); get them in the "
            f"environment of robocasa with: python -m robocasa.scripts.download_kitchen_assets --type "
            f"{' '.join(missing)}, or link the folders of an existing copy to that place."
        )
