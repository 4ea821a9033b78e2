"""Environment code of the Hugging Face Hub, or of a folder: ``make_env`` in ``env.py`` (LeRobot's EnvHub)."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from proctor.benchmarks.env_factory import EnvFactoryBenchmark
from proctor.benchmarks.gymnasium import SuccessConfig
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.hub_files import snapshot_of
from proctor.identity.source_files import digest_of_files, python_files
from proctor.types import Task

_USUAL_FILE = "env.py"
_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True, kw_only=True)
class HubConfig(SuccessConfig):
    """``--env.type=hub``. ``task``: suites of what make_env gives, with commas; all if not given."""

    type: str = "hub"

    repo: str | None = None
    """Where env.py is: user/repo[@revision][:path] on the Hub, or a folder[:path] here."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: further arguments of make_env."""

    trust_remote_code: bool = False
    """Consent to running that code here, given by --trust_remote_code=true alone."""

    code_sha256: str | None = None
    """Of the code that was consented to; any other is refused. If not given, that of the code that is found."""


@dataclass(frozen=True)
class Code:
    """Python files, found: ``file`` holds ``make_env``, ``pinned`` is a ``--env.repo`` that names just these, and
    ``sha256`` is a digest of all Python files in the file's folder and below.
    """

    file: Path
    pinned: str
    sha256: str


def find_code(repo: str) -> Code:
    """Look a ``--env.repo`` up; what is on the Hub is downloaded. Runs nothing.

    Raises:
        ConfigError: there is no such folder, repository or file.
    """
    place, _, path = repo.partition(":")
    path = path or _USUAL_FILE
    if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
        raise ConfigError(f"env.repo is '{repo}'; the path behind the colon must lie inside {place}.")
    folder = Path(place).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        pinned = f"{folder}:{path}"
    else:
        hub_id = _HUB_ID.fullmatch(place)
        if hub_id is None:
            raise ConfigError(f"env.repo is '{repo}'; it is user/repo[@revision][:path] on the Hub, or a folder here.")
        try:
            folder = snapshot_of(hub_id["repository"], hub_id["revision"])
        except ConfigError as error:
            raise ConfigError(f"Cannot get the code of {place}: {error}.") from None
        pinned = f"{hub_id['repository']}@{folder.name}:{path}"
    file = folder / path
    if not file.is_file():
        there = [found.relative_to(folder).as_posix() for found in python_files(folder)]
        raise ConfigError(f"{place} has no {path}.{did_you_mean(path, there)}")
    return Code(file, pinned, digest_of_files(file.parent, python_files(file.parent)))


class Hub(EnvFactoryBenchmark):
    """Environments that code from the Hub makes, run as LeRobot's EnvHub would, once its reader consents.

    ============  ======================================================================================
    suite, task   those of ``{suite: {number: environment}}``, which ``make_env(n_envs=1,
                  use_async_envs=False)`` gives; a single environment is task 0 of its registered id, or of
                  ``hub_env``; instructions are the environments' ``task_description``
    observation   as of :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    action        as of :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    episode       until the environment ends it, after as many steps as it says at most, or
                  ``episode_length``; the seed is passed to ``reset``
    success       as of :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    reward        the environment's
    ============  ======================================================================================

    Nothing is downloaded and nothing runs without ``--trust_remote_code=true``. From when an evaluation is planned it
    is held to the very code that was found then: a branch of the Hub becomes its commit, and the code's digest goes
    into the configuration, so that it is in the fingerprint, and workers and later sessions refuse any other.

    Each worker makes all environments that ``make_env`` gives and runs one at a time: if they are many and large, they
    had better be made lazily, or chosen by an argument (``kwargs``).

    Differences from LeRobot: a repository is fetched whole, since environments bring meshes and modules of their own.
    """

    name: ClassVar[str] = "hub"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "hub-2"
    distributions = ("gymnasium", "mujoco", "numpy")
    config_class: ClassVar[type[EnvConfig]] = HubConfig
    config: HubConfig

    @cached_property
    def code(self) -> Code:
        """What runs, once it may.

        Raises:
            ConfigError: nobody consented, it cannot be had, or it is not what was consented to.
        """
        repo = self.config.repo
        if not repo:
            raise ConfigError("hub needs --env.repo: user/repo[@revision][:path] on the Hub, or a folder with env.py.")
        if not self.config.trust_remote_code:
            raise ConfigError(
                f"--env.repo={repo} means to run code: make_env of {repo.partition(':')[2] or _USUAL_FILE} in "
                f"{repo.partition(':')[0]}, on this machine and unconfined. Read it, and if you trust it consent with "
                "--trust_remote_code=true; on the Hub, name the commit that you have read: user/repo@commit."
            )
        code = find_code(repo)
        if self.config.code_sha256 not in (None, code.sha256):
            raise ConfigError(
                f"The code of {repo} is not the one that was consented to: its SHA-256 is {code.sha256}, and "
                f"env.code_sha256 is {self.config.code_sha256}. Evaluate it anew, under another --output_dir."
            )
        return code

    @property
    def maker(self) -> str:
        return f"make_env of {self.config.repo}"

    def tasks(self) -> list[Task]:
        # From here on the configuration names this code and no other: in workers, fingerprint and later sessions.
        self.config = replace(self.config, repo=self.code.pinned, code_sha256=self.code.sha256)
        return super().tasks()

    def make(self) -> Any:
        make_env = getattr(_imported(self.code), "make_env", None)
        if make_env is None:
            raise ConfigError(f"{self.config.repo} has no make_env(n_envs, use_async_envs).")
        arguments: dict[str, Any] = {"n_envs": 1, "use_async_envs": False, **self.config.kwargs}
        wanted = inspect.signature(make_env).parameters.get("cfg")
        if wanted is not None and wanted.default is wanted.empty:
            arguments.setdefault("cfg", self.config)
        return make_env(**arguments)


def _imported(code: Code) -> Any:
    name = f"proctor_hub_{code.sha256[:16]}"
    spec = importlib.util.spec_from_file_location(name, code.file)
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[name]
        raise ConfigError(f"{code.pinned} needs something that is not installed: {error}") from error
    return module
