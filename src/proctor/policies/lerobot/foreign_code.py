"""While a checkpoint is loaded, nothing that it names runs code of its own.

A checkpoint is built around other models: a tokenizer, a vision encoder, a language model, each a name in its files.
Any of them may bring Python files, or weights as a pickle. LeRobot consents to the former for several types of policy
(a literal ``trust_remote_code=True``, or a default). Within :func:`no_foreign_code`, in the thread that loads,

- transformers and diffusers get ``trust_remote_code=False``, whatever their caller gave;
- a model's own function for generating is left aside, which transformers takes from a folder without consent;
- no code is executed from where these libraries, torch.hub and the Hub keep what they download, which is where they
  copy a model's code to before it runs; and no pickle is read, whichever library reads it.

Python cannot take an audit hook away, and libraries keep functions that they imported: what is installed here, once,
stays, and does nothing outside of :func:`no_foreign_code`. Importing this module imports nothing heavy; entering
:func:`no_foreign_code` imports torch, and changes transformers and diffusers when they are imported, if they ever are.
"""

from __future__ import annotations

import importlib
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from proctor.errors import CheckpointError
from proctor.policies.lerobot.checkpoint import Checkpoint

P = ParamSpec("P")
T = TypeVar("T")

_CONSENT = "or, if you have read it and trust it, give --trust_remote_code=true"


@dataclass
class _Guard:
    """One loading: folders that code must not come from, and the refusals, as a library may catch the exception."""

    directory: Path
    downloads: tuple[str, ...]
    installed: tuple[str, ...]
    refused: list[str] = field(default_factory=list)

    def refuse_code(self, source: object) -> NoReturn:
        self._refuse(
            f"{self.directory} names {source}, which is Python code or comes with it, and a checkpoint is data: use "
            f"one whose model LeRobot or transformers implements itself, {_CONSENT}."
        )

    def refuse_pickle(self, source: object) -> NoReturn:
        self._refuse(
            f"{self.directory} leads to {source}, a pickle, which can run any code when it is loaded: save what it "
            f"holds as safetensors in its place, {_CONSENT}."
        )

    def is_foreign(self, file: object) -> bool:
        """Say whether a file lies in a folder of downloads and is not part of an installed package."""
        if not isinstance(file, str) or not os.path.isabs(file):  # noqa: PTH117 - "<string>", a library's short name
            return False
        path = os.path.normpath(file)
        return path.startswith(self.downloads) and not path.startswith(self.installed)

    def _refuse(self, sentence: str) -> NoReturn:
        self.refused.append(sentence if sentence.isprintable() else ascii(sentence)[1:-1])
        raise CheckpointError(self.refused[-1])


class _Loading(threading.local):
    guard: _Guard | None = None


_loading = _Loading()
_installing = threading.Lock()


@contextmanager
def no_foreign_code(directory: Path) -> Iterator[None]:
    """Keep what the checkpoint in ``directory`` names from running code, as long as this thread is within.

    Raises:
        CheckpointError: something was refused, even if the library that asked for it went on without.
    """
    with _installing:
        _install()
    guard, outer = _Guard(directory, _download_folders(), _installed_folders()), _loading.guard
    _loading.guard = guard
    try:
        yield
    except Exception as error:
        if guard.refused and str(error) != guard.refused[0]:
            raise CheckpointError(guard.refused[0]) from error
        raise
    finally:
        _loading.guard = outer
    if guard.refused:
        raise CheckpointError(guard.refused[0])


def without_foreign_code(load: Callable[Concatenate[Checkpoint, P], T]) -> Callable[Concatenate[Checkpoint, P], T]:
    """Decorate a function that loads a checkpoint, or a part of it: within :func:`no_foreign_code`, unless the user
    consented.
    """

    @wraps(load)
    def loaded(checkpoint: Checkpoint, /, *arguments: P.args, **options: P.kwargs) -> T:
        with nullcontext() if checkpoint.trust_remote_code else no_foreign_code(checkpoint.files.directory):
            return load(checkpoint, *arguments, **options)

    return loaded


def _download_folders() -> tuple[str, ...]:
    """List the folders in which libraries keep downloaded Python files."""
    import torch
    from huggingface_hub import constants

    home = constants.HF_HOME
    modules = os.environ.get("HF_MODULES_CACHE") or os.path.join(home, "modules")  # noqa: PTH118
    lerobot = os.environ.get("HF_LEROBOT_HOME") or os.path.join(home, "lerobot")  # noqa: PTH118
    return _with_real_names(constants.HF_HUB_CACHE, modules, lerobot, torch.hub.get_dir())


def _installed_folders() -> tuple[str, ...]:
    """List the folders of Python and of installed packages; a cache may be a folder above them."""
    python = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return _with_real_names(*python, *site.getsitepackages(), site.getusersitepackages())


def _with_real_names(*folders: str) -> tuple[str, ...]:
    """List each folder under its own path and with links resolved, with a separator at its end."""
    absolute = {Path(os.path.expanduser(folder)).absolute() for folder in folders}
    return tuple(os.path.join(folder, "") for folder in {*absolute, *(each.resolve() for each in absolute)})  # noqa: PTH118


@cache
def _install() -> None:
    """Put in place what :func:`no_foreign_code` switches on and off; in libraries as soon as they are imported."""
    import torch

    sys.meta_path.insert(0, _GuardedImports())
    for name in _GUARDED.keys() & sys.modules.keys():
        _GUARDED[name](importlib.import_module(name))  # which waits if another thread has begun to import it
    _replace(torch.serialization, "load", _without_pickles)
    sys.addaudithook(_audit)


class _GuardedImports(MetaPathFinder):
    """Finds the modules in which libraries decide whether a model's own code may run, and guards them once imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find such a module as Python would; None for any other."""
        if (guard := _GUARDED.get(fullname)) is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _then(spec.loader.exec_module, guard)  # type: ignore[method-assign,assignment]
        return spec


def _then(execute: Callable[[ModuleType], None], guard: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def executed(module: ModuleType) -> None:
        execute(module)
        guard(module)

    return executed


def _guard_consent(module: ModuleType) -> None:
    _replace(module, "resolve_trust_remote_code", _without_consent)


def _guard_generate(module: ModuleType) -> None:
    mixin = module.GenerationMixin
    if hasattr(mixin, "load_custom_generate"):
        mixin.load_custom_generate = _without_generate(mixin.load_custom_generate)


_GUARDED: Mapping[str, Callable[[ModuleType], None]] = {
    "transformers.dynamic_module_utils": _guard_consent,
    "diffusers.utils.dynamic_modules_utils": _guard_consent,
    "transformers.generation.utils": _guard_generate,
}
"""The modules in which libraries decide whether a model's own code may run, and what is changed in each."""


def _replace(module: ModuleType, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Wrap a function in every module that has imported it under its name; later imports get the wrapped one, too."""
    original = getattr(module, name, None)
    if original is None:  # diffusers asks for consent in later versions only
        return
    wrapped = wraps(original)(wrapper(original))
    for each in [*sys.modules.values()]:
        if getattr(each, "__dict__", {}).get(name) is original:
            setattr(each, name, wrapped)


def _without_consent(resolve: Callable[..., Any]) -> Any:
    def resolved(trust_remote_code: Any, model_name: Any, *arguments: Any, **options: Any) -> Any:
        guard = _loading.guard
        if guard is None:
            return resolve(trust_remote_code, model_name, *arguments, **options)
        try:
            return resolve(False, model_name, *arguments, **options)
        except ValueError:
            guard.refuse_code(model_name)

    return resolved


def _without_generate(load: Callable[..., Any]) -> Any:
    @wraps(load)
    def loaded(*arguments: Any, **options: Any) -> Any:
        if _loading.guard is not None:
            raise OSError("as if the model brought none")
        return load(*arguments, **options)

    return loaded


def _without_pickles(load: Callable[..., Any]) -> Any:
    def loaded(f: Any, *arguments: Any, **options: Any) -> Any:
        guard = _loading.guard
        if guard is None:
            return load(f, *arguments, **options)
        import torch

        if not isinstance(f, str) or Path(f).parent != Path(torch.hub.get_dir(), "checkpoints"):
            guard.refuse_pickle(getattr(f, "name", f))
        return load(f, *arguments, **options | {"weights_only": True})  # torchvision's, by an address of its own

    return loaded


def _audit(event: str, arguments: tuple[Any, ...], loading: _Loading = _loading) -> None:
    """Handle an audit event. Python calls this also while it shuts down and this module's names are gone."""
    guard = loading.guard
    if guard is None:
        return
    if event == "pickle.find_class":
        guard.refuse_pickle(f"data that asks for {arguments[0]}.{arguments[1]}")
    if event == "exec" and guard.is_foreign(getattr(arguments[0], "co_filename", None)):
        guard.refuse_code(arguments[0].co_filename)
    if event == "import" and guard.is_foreign(arguments[1]):
        guard.refuse_code(arguments[1])
    if event == "ctypes.dlopen" and guard.is_foreign(arguments[0]):
        guard.refuse_code(arguments[0])
