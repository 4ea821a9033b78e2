"""Environments made by code from the Hugging Face Hub or from a folder: ``make_env`` in ``env.py`` (LeRobot EnvHub)."""

from __future__ import annotations

import importlib.util
import inspect
import os
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
from proctor.identity.source_files import digest_of_files, python_files
from proctor.security.hub_files import snapshot_of
from proctor.types import Task

_USUAL_FILE = "env.py"
_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True, kw_only=True)
class HubConfig(SuccessConfig):
    """``--env.type=hub``. ``task``: suites that make_env returns, separated by commas; the default is all."""

    type: str = "hub"

    repo: str | None = None
    """Location of env.py: user/repo[@revision][:path] on the Hub, or a local folder[:path]."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: further arguments of make_env."""

    trust_remote_code: bool = False
    """Consent to running that code here. It can only be given by --trust_remote_code=true."""

    code_sha256: str | None = None
    """SHA-256 of the code that was consented to; other code is refused. The default is that of the code found."""


@dataclass(frozen=True)
class Code:
    """Python files that were found. ``file`` contains ``make_env``, ``pinned`` is a ``--env.repo`` that names exactly
    these files, and ``sha256`` is a digest of all Python files in the file's folder and below.
    """

    file: Path
    pinned: str
    sha256: str


def find_code(repo: str) -> Code:
    """Find the code of a ``--env.repo``; a Hub repository is downloaded. No code is run.

    Raises:
        ConfigError: the folder, the repository or the file does not exist.
    """
    place, _, path = repo.partition(":")
    path = path or _USUAL_FILE
    if ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
        raise ConfigError(f"env.repo is '{repo}'; the path after the colon must be inside {place}.")
    folder = Path(os.path.expanduser(place))
    if folder.is_dir():
        folder = folder.resolve()
        pinned = f"{folder}:{path}"
    else:
        hub_id = _HUB_ID.fullmatch(place)
        if hub_id is None:
            raise ConfigError(
                f"env.repo is '{repo}'; it must be user/repo[@revision][:path] on the Hub, or a local folder."
            )
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
    """Environments made by code from the Hub, run as by LeRobot's EnvHub, after the user has given consent.

    ============  ======================================================================================
    suite, task   those of ``{suite: {number: environment}}``, which ``make_env(n_envs=1,
                  use_async_envs=False)`` returns; a single environment is task 0 of its registered id, or of
                  ``hub_env``; instructions are the environments' ``task_description``
    observation   as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    action        as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    episode       ends when the environment ends it, or after the environment's own number of steps, or
                  after ``episode_length``; the seed is passed to ``reset``
    success       as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    reward        the environment's
    ============  ======================================================================================

    Nothing is downloaded and nothing runs without ``--trust_remote_code=true``. When an evaluation is planned, it is
    pinned to the code found at that moment: a branch of the Hub becomes its commit, and the code's digest is added to
    the configuration. So the digest is part of the fingerprint, and workers and later sessions refuse other code.

    Each worker makes all environments that ``make_env`` returns, and runs one at a time. If they are many and large,
    make them lazily, or select them by an argument (``kwargs``).

    Differences from LeRobot: a repository is downloaded whole, because environments need their own meshes and modules.
    """

    name: ClassVar[str] = "hub"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "hub-2"
    distributions = ("gymnasium", "mujoco", "numpy")
    config_class: ClassVar[type[EnvConfig]] = HubConfig
    config: HubConfig

    @cached_property
    def code(self) -> Code:
        """The code to run, once the user has consented.

        Raises:
            ConfigError: there is no consent, the code is not available, or it is not the code that was consented to.
        """
        repo = self.config.repo
        if not repo:
            raise ConfigError("hub needs --env.repo: user/repo[@revision][:path] on the Hub, or a folder with env.py.")
        if not self.config.trust_remote_code:
            raise ConfigError(
                f"--env.repo={repo} would run code: make_env of {repo.partition(':')[2] or _USUAL_FILE} in "
                f"{repo.partition(':')[0]}, on this machine and unconfined. Read it, and if you trust it consent with "
                "--trust_remote_code=true; on the Hub, name the commit that you have read: user/repo@commit."
            )
        code = find_code(repo)
        if self.config.code_sha256 not in (None, code.sha256):
            raise ConfigError(
                f"The code of {repo} is not the one that was consented to: its SHA-256 is {code.sha256}, but "
                f"env.code_sha256 is {self.config.code_sha256}. Evaluate it anew, under another --output_dir."
            )
        return code

    @property
    def maker(self) -> str:
        return f"make_env of {self.config.repo}"

    def tasks(self) -> list[Task]:
        # From here on the configuration pins this code: in workers, in the fingerprint and in later sessions.
        self.config = replace(self.config, repo=self.code.pinned, code_sha256=self.code.sha256)
        return super().tasks()

    def make(self) -> Any:
        make_env = getattr(_imported(self.code), "make_env", None)
        if make_env is None:
            raise ConfigError(f"{self.config.repo} does not define make_env(n_envs, use_async_envs).")
        arguments: dict[str, Any] = {"n_envs": 1, "use_async_envs": False, **self.config.kwargs}
        wanted = inspect.signature(make_env).parameters.get("cfg")
        if wanted is not None and wanted.default is wanted.empty:
            arguments.setdefault("cfg", self.config)
        return make_env(**arguments)


def _imported(code: Code) -> Any:
    name = f"proctor_hub_{code.sha256[:16]}"
    spec = importlib.util.spec_from_file_location(name, code.file)
    assert spec is not None  # because it is a Python file
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[name]
        raise ConfigError(f"{code.pinned} needs something that is not installed: {error}") from error
    return module
