"""The installed ``mani_skill`` package, without the prompts and downloads that its environments cause.

If a task's files are missing, ManiSkill asks on the terminal whether it should download them, and exits if the answer
is no. Here a sentence says what is missing and how to fetch it.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from proctor.benchmarks.base import import_simulator
from proctor.errors import ConfigError, MissingFilesError

_FETCH = "python -m mani_skill.utils.download_asset"
_VULKAN_FAILS = ("vk::", "supported physical device", "rendering device")
"""Parts of SAPIEN's messages if no Vulkan driver suits it."""


def import_maniskill(assets: str | None) -> Any:
    """Import ``mani_skill`` with all its environments and return it. It starts no thread and uses no Vulkan.

    ``assets`` is the folder that contains ManiSkill's folder ``data``, None for the usual one: ``MS_ASSET_DIR``, else
    ``~/.maniskill``.

    Raises:
        MissingExtraError: the package, or a package that it needs, is not installed.
        ConfigError: this process has already imported it with another folder.
    """
    if assets is not None:
        os.environ["MS_ASSET_DIR"] = os.path.realpath(os.path.expanduser(assets))
    if named := os.environ.get("VK_DRIVER_FILES"):
        os.environ.setdefault("VK_ICD_FILENAMES", named)  # else SAPIEN names NVIDIA's driver wherever there is a GPU
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SAPIEN warns if it uses the Vulkan loader that it brings along
        mani_skill = import_simulator("mani_skill", "maniskill")
        import_simulator("mani_skill.envs", "maniskill")
    mani_skill.logger.setLevel("ERROR")  # it would warn of its own tasks' definitions in every episode
    downloads: Any = importlib.import_module("mani_skill.utils.download_asset")
    downloads.prompt_yes_no = _refuse
    if assets is not None and Path(os.environ["MS_ASSET_DIR"]) / "data" != Path(mani_skill.ASSET_DIR):
        raise ConfigError(
            f"env.assets is {assets}, but this process has already read ManiSkill's files in {mani_skill.ASSET_DIR}; "
            "use one folder in a process."
        )
    return mani_skill


def preload(assets: str | None, render_backend: str) -> None:
    """Import ``mani_skill`` in a process that only starts workers."""
    if render_backend == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else torch would make a context on a GPU in each worker's first reset
    import_maniskill(assets)


def make(task: str, assets: str | None, needed: Collection[str], render_backend: str, **options: Any) -> Any:
    """Construct ManiSkill's own environment of a task (a ``BaseEnv``, without wrappers).

    ``needed`` names the downloads that the task needs, in ManiSkill's words; ``render_backend`` is cpu or gpu.

    Raises:
        MissingExtraError: ManiSkill is not installed.
        MissingFilesError: files that the task needs are missing.
        ConfigError: no Vulkan driver or no GPU suits SAPIEN, or the robot has no such control mode.
    """
    mani_skill = import_maniskill(assets)
    _require_files(task, needed, mani_skill.ASSET_DIR)
    registration = importlib.import_module("mani_skill.utils.registration")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of how some tasks make their tensors
            env = registration.make(task, render_backend=render_backend, **options)
    except AssertionError as error:
        if "not in supported modes" not in str(error):
            raise
        raise ConfigError(f"env.control_mode does not fit {task}: {error}.") from error
    except RuntimeError as error:
        if not any(part in str(error) for part in _VULKAN_FAILS):
            raise
        raise ConfigError(
            f"ManiSkill found no Vulkan driver that it can draw with ({error}); it needs a GPU's driver or Mesa 24.3 "
            "or newer: `proctor doctor` says how to get one."
        ) from error
    if render_backend == "gpu" and env.backend.render_device.is_cpu():
        raise ConfigError("env.render_backend is gpu, but ManiSkill finds no GPU; use cpu, or repair the GPU's driver.")
    return env


def _require_files(task: str, needed: Collection[str], folder: Path) -> None:
    found = importlib.import_module("mani_skill.utils.assets")
    missing = [name for name in needed if not all(map(found.is_data_source_downloaded, _sources(found, name)))]
    if missing:
        raise MissingFilesError(
            f"{task} needs files that are not in {folder}: fetch them with `{_FETCH} {missing[0]}`"
            f"{''.join(f' and `{_FETCH} {name}`' for name in missing[1:])}, or name the folder that has them: "
            "--env.assets=DIR, which contains ManiSkill's folder data."
        )


def _sources(found: Any, name: str) -> list[str]:
    """Return the single downloads of which a download consists."""
    return [name] if name in found.DATA_SOURCES else found.expand_data_group_into_individual_data_source_ids(name)


def _refuse(question: str) -> NoReturn:
    """Take the place of ManiSkill's question on the terminal."""
    raise MissingFilesError(
        f"ManiSkill's files are incomplete: {question.partition(' Would you like')[0]} Fetch them: {_FETCH}."
    )
