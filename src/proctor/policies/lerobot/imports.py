"""Imports of lerobot only what a type of policy needs, in a process of Proctor's own.

``import lerobot.policies.act.modeling_act`` imports every policy of LeRobot, and with them transformers, diffusers,
datasets, pandas, peft and accelerate, of which ACT uses nothing. :func:`import_for` imports the same modules of lerobot
while these packages, and parts of lerobot itself, are *deferred*: an import statement of lerobot's gets a module that
is empty, and a name that is imported from such a module is a :class:`Deferred`, which imports the real module when the
name is first used. Nothing is pretended to be missing, so lerobot finds each package to be available.

Afterwards no deferred module is left in ``sys.modules``, so that whatever imports transformers or ``lerobot.datasets``
next gets the real ones. ``lerobot.policies`` itself, whose ``__init__`` was left aside, is not there either: the next
import of it, or of any part that is still missing, runs its ``__init__`` and puts the real objects in place of the
deferred ones in all of lerobot. From then on lerobot is as if it had been imported wholly at once.

A user's process that imports Proctor as a library imports lerobot as lerobot is written: see
:func:`proctor.child.is_own_process`.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, Union

from proctor.child import is_own_process
from proctor.errors import note

if TYPE_CHECKING:
    from proctor.policies.lerobot.checkpoint import Checkpoint

_POLICIES = "lerobot.policies"
_LIBRARIES = ("transformers", "diffusers", "peft", "accelerate", "datasets", "pandas", "pyarrow")
_PARTS = ("lerobot.datasets", "lerobot.envs", "lerobot.configs.train", "lerobot.configs.default")
_COMPILER = ("torch._dynamo", "httpx._main")
"""What torchvision, diffusers and httpx import and never use in a forward pass: torch's compiler, a command line."""
_COMPILER_USERS = frozenset({"torchvision.ops.roi_align", "diffusers.utils.torch_utils", "httpx"})
"""The modules in which a name of these stays deferred. Each of them only ever calls the name."""
_HUB_NAMES = frozenset(
    {"HfApi", "ModelCard", "ModelCardData", "hf_hub_download", "save_torch_state_dict", "snapshot_download"}
)
"""The names of huggingface_hub that need its slow modules. The package itself imports them only when they are used."""
_COMMON = ("factory", "pretrained", "utils")
"""The modules in ``lerobot.policies`` that every policy needs; each of the others belongs to a type of policy."""


class Deferred:
    """A name of a module that is imported when the name is first used."""

    def __init__(self, module: str, name: str) -> None:
        """Take the module that is to be imported, and the name in it."""
        self._deferred = module, name

    def real(self) -> Any:
        """Import the module, and return what it has under the name.

        Raises:
            ImportError: lerobot is being imported in this thread, and uses the name already.
        """
        module, name = self._deferred
        with _state.lock:
            if _state.importing:
                raise ImportError(f"{module}.{name} is used while lerobot is imported")
            return getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # Python and its libraries ask any object for these
            raise AttributeError(name)
        return getattr(self.real(), name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.real()(*arguments, **options)

    def __getitem__(self, key: Any) -> Any:
        return self.real()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.real()

    def __instancecheck__(self, value: Any) -> bool:
        # A class whose module has not been imported has no instances.
        return self._deferred[0] in sys.modules and isinstance(value, self.real())

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - in an annotation, which is evaluated while lerobot is imported

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.real(),)


class _State:
    """The state of lerobot in this process: how far it has been imported.

    ``policies`` is the package ``lerobot.policies`` if its ``__init__`` was left aside.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.importing = False
        self.policies: ModuleType | None = None


_state = _State()


def import_for(checkpoint: Checkpoint) -> None:
    """Import what a checkpoint's type needs of lerobot, if this is a process of Proctor's own.

    The function imports nothing if the type is not declared to need little, if the checkpoint is an adapter, or if all
    of lerobot has been imported already. The first module that uses lerobot then imports lerobot as it is.
    """
    needs = checkpoint.policy_type.imports
    if not is_own_process() or needs is None or checkpoint.files.is_adapter:
        return
    with _state.lock:
        if "lerobot" in sys.modules and (_state.policies is None or _POLICIES in sys.modules):
            return
        importlib.import_module("torch")
        try:
            with _deferring(*_COMPILER):
                for module in ("torchvision", *needs):
                    importlib.import_module(module)
            with _deferring(*_COMPILER, *_LIBRARIES, *_PARTS, policy_type=checkpoint.type):
                _import_policy(checkpoint.type)
        except Exception as error:  # noqa: BLE001 - whatever another version of lerobot does
            _forget_lerobot()
            _make_real(_COMPILER_USERS & sys.modules.keys())
            note(
                f"lerobot cannot be imported for a policy of type '{checkpoint.type}' alone ({error or type(error)}); "
                "all of it is imported, which takes some seconds more."
            )


def _import_policy(policy_type: str) -> None:
    package = f"{_POLICIES}.{policy_type}"
    for name in (f"{package}.modeling_{policy_type}", f"{package}.processor_{policy_type}", f"{_POLICIES}.factory"):
        importlib.import_module(name)


def _forget_lerobot() -> None:
    """Remove all of lerobot from the imported modules, so that it can be imported anew."""
    _state.policies = None
    for name in [name for name in sys.modules if name.partition(".")[0] == "lerobot"]:
        del sys.modules[name]


@contextmanager
def _deferring(*names: str, policy_type: str | None = None) -> Iterator[None]:
    """Defer modules, and those in them, within a block that imports others in this thread.

    If the block imports lerobot for a type of policy, the other types and the ``__init__`` of all are left aside.
    """
    finder, before = _Finder(names, policy_type), set(sys.modules)
    if policy_type and _state.policies is not None:
        sys.modules[_POLICIES] = _state.policies
    sys.meta_path.insert(0, finder)
    _state.importing = True
    try:
        with _hub_deferred():
            yield
    finally:
        _state.importing = False
        sys.meta_path.remove(finder)
        _remove_deferred_modules()
        new = set(sys.modules) - before - _COMPILER_USERS
        _make_real(name for name in new if name.partition(".")[0] != "lerobot")
    if policy_type:
        _state.policies = sys.modules.pop(_POLICIES)
        if not any(isinstance(each, _Completion) for each in sys.meta_path):
            sys.meta_path.insert(0, _Completion())


@contextmanager
def _hub_deferred() -> Iterator[None]:
    """Defer the slow names of huggingface_hub in a block."""
    import huggingface_hub

    lazy, thread = huggingface_hub.__getattr__, threading.get_ident()

    def attribute(name: str) -> Any:
        deferred = name in _HUB_NAMES and threading.get_ident() == thread
        return Deferred("huggingface_hub", name) if deferred else lazy(name)

    huggingface_hub.__getattr__ = attribute
    try:
        yield
    finally:
        huggingface_hub.__getattr__ = lazy


def _remove_deferred_modules() -> None:
    for name, module in [*sys.modules.items()]:
        if isinstance(module, _DeferredModule):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(child) is module:
                delattr(sys.modules[parent], child)


def _make_real(names: Iterable[str]) -> None:
    """Put the real objects in place of the deferred ones in modules."""
    for module in [sys.modules[name] for name in names]:
        for name, value in [*vars(module).items()]:
            if type(value) is Deferred:
                setattr(module, name, value.real())


class _DeferredModule(ModuleType):
    """A module whose names are all deferred."""

    def __getattr__(self, name: str) -> Deferred:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Deferred(self.__name__, name)


class _Finder(MetaPathFinder, Loader):
    """Finds the modules that are deferred in this thread, and ``lerobot.policies`` without its ``__init__``."""

    def __init__(self, deferred: Sequence[str], policy_type: str | None) -> None:
        self._thread, self._deferred = threading.get_ident(), deferred
        self._needed = {policy_type, *_COMMON} if policy_type else None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that is deferred; None if it is not, or if its package is not installed."""
        if threading.get_ident() != self._thread:
            return None
        if fullname == _POLICIES and self._needed and (spec := PathFinder.find_spec(fullname, path)) is not None:
            spec.loader = self
            return spec
        if not self._defers(fullname) or ("." not in fullname and PathFinder.find_spec(fullname) is None):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def _defers(self, name: str) -> bool:
        if self._needed and name.startswith(f"{_POLICIES}."):
            return name.split(".")[2] not in self._needed
        return any(name == deferred or name.startswith(f"{deferred}.") for deferred in self._deferred)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create an empty module."""
        return None if spec.name == _POLICIES else _DeferredModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty."""


class _Completion(MetaPathFinder, Loader):
    """Runs the ``__init__`` of ``lerobot.policies`` when it is next imported, and makes all of lerobot real."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find ``lerobot.policies`` if its ``__init__`` was left aside."""
        if fullname != _POLICIES or _state.policies is None:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            self._original, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the package that exists, so that it keeps the modules in it."""
        return _state.policies

    def exec_module(self, module: ModuleType) -> None:
        """Run the ``__init__``, and put the real objects in place of the deferred ones."""
        _make_real(_COMPILER_USERS & sys.modules.keys())  # other modules may import these names from them
        self._original.exec_module(module)
        _make_real(name for name in [*sys.modules] if name.partition(".")[0] == "lerobot")
        _state.policies = None
