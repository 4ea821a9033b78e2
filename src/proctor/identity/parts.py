"""Decomposition of a value for :mod:`proctor.identity.code`: words that identify it, and values that it depends on."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import dis
import enum
import functools
import logging
import operator
import random
import re
import sys
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from threading import Lock, RLock
from typing import Any

import numpy as np

IsKnown = Callable[[str], bool]
"""A function that returns True if a module's version identifies its code; callers record the modules it is given."""

_MANAGED_DICT = 1 << 4
_POINTER = object.__basicsize__ // 2
_NO_VALUE = object()
_MADE_BY_PYTHON = re.compile(
    "_abc_impl|__(abstractmethods|annotate_func|annotations|annotations_cache|dataclass_fields|dataclass_params|dict|doc"
    "|firstlineno|match_args|module|orig_bases|parameters|slotnames|static_attributes|weakref)__"
)
"""Class attributes that Python derives from the source, or that do not affect behaviour."""
_COMPUTED = {"__msgspec_cached_hash__"}
"""Attributes of objects that hold what was computed from the others; a hash is another one in each process."""
_IDENTIFIED_BY_REPR = (dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal, np.dtype)
_NAMES_BY_REPR = (
    "torch.dtype",
    "torch.device",
    "torch.layout",
    "torch.memory_format",
    "collections._tuplegetter",
)
_LOOKUPS = (operator.itemgetter, operator.attrgetter, operator.methodcaller)
_LOCKS = (type(Lock()), type(RLock()))
_GENERATORS = frozenset(
    [
        "random.Random",
        "numpy.random._generator.Generator",
        "numpy.random.bit_generator.BitGenerator",
        "numpy.random.mtrand.RandomState",
        "torch._C.Generator",
    ]
)
_EXTENSIONS = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    np.ufunc,
)
_CACHED = type(functools.lru_cache(len))


class Opaque(Exception):  # noqa: N818 - it is not an error: the caller still runs the policy
    """A value that cannot be identified; the message describes it."""


@dataclass(frozen=True, slots=True)
class Part:
    """``words`` distinguish a value from others of its kind. ``children`` are the values that it depends on, each after
    the step that leads to it; ``unordered`` are children whose order has no meaning.
    """

    words: tuple[str | bytes | memoryview, ...]
    children: tuple[tuple[str, Any], ...] = ()
    unordered: tuple[Any, ...] = ()


def part_of(value: Any, is_known: IsKnown) -> Part:
    """Decompose a value by one level.

    Raises:
        Opaque: its contents cannot be read.
    """
    for kind, take_apart in _KINDS:
        if isinstance(value, kind):
            return take_apart(value, is_known)
    name = _name_of(type(value))
    if name in _NAMES_BY_REPR or type(value).__module__ == "typing":
        return Part((name, repr(value)))
    if type(value).__name__ == "cython_function_or_method":
        return _of_an_extension(value, is_known)
    return _object(value, is_known)


# ------------------------------------------------------------------------------------------------------------- code


def _function(value: types.FunctionType, is_known: IsKnown) -> Part:
    if (named := _by_name(value, is_known)) is not None:
        return named
    module, code = str(value.__globals__.get("__name__")), value.__code__
    state = [
        *((f".{name}", cell) for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True)),
        (".__defaults__", value.__defaults__),
        (".__kwdefaults__", value.__kwdefaults__),
    ]
    if is_known(module):  # but a library's wrapper around a user's function refers to that function
        return _with_attributes(Part(("function", module, code.co_qualname), tuple(state)), value)
    names = sorted({name for name in _global_names(code) if name[0] in value.__globals__})
    found = ((f".{'.'.join(name)}", _resolved(name, value.__globals__, is_known)) for name in names)
    for imported in _imports(code):
        is_known(imported)
    return _with_attributes(Part(("function", code.co_qualname, repr(names)), (("", code), *state, *found)), value)


def _by_name(value: Any, is_known: IsKnown) -> Part | None:
    """Identify a callable of a known module by its name if the name leads to it; else return None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str) and is_known(module)):
        return None
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, "__dict__", {}).get(step)
    return Part(("named", module, name)) if found is value else None


def _cell(value: types.CellType, is_known: IsKnown) -> Part:
    try:
        return Part(("cell",), (("", value.cell_contents),))
    except ValueError:
        return Part(("cell", "empty"))


def _code(value: types.CodeType, is_known: IsKnown) -> Part:
    words = (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
    numbers = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags)
    return Part(("code", value.co_code, value.co_exceptiontable, repr(words), repr(numbers)), (("", value.co_consts),))


@functools.lru_cache(maxsize=4096)
def _global_names(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """Return the globals that a function and its inner functions name, each with the attributes that they read."""
    names: list[tuple[str, ...]] = []
    chain: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain += (str(instruction.argval),)
            continue
        if chain:
            names.append(chain)
        loads = instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
        chain = (str(instruction.argval),) if loads else ()
    inner = (name for each in code.co_consts if isinstance(each, types.CodeType) for name in _global_names(each))
    return (*names, *inner)


@functools.lru_cache(maxsize=4096)
def _imports(code: types.CodeType) -> tuple[str, ...]:
    """Return the modules that a function and its inner functions import when they run."""
    own = (str(each.argval) for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME" and each.argval)
    inner = (name for each in code.co_consts if isinstance(each, types.CodeType) for name in _imports(each))
    return (*own, *inner)


def _resolved(name: tuple[str, ...], found_in: Mapping[str, Any], is_known: IsKnown) -> Any:
    """Resolve ``name.attribute.attribute`` as far as the dots lead through modules without a version."""
    value = found_in[name[0]]
    for attribute in name[1:]:
        if not isinstance(value, types.ModuleType) or is_known(value.__name__):
            break
        if (inner := vars(value).get(attribute, _NO_VALUE)) is _NO_VALUE:
            break
        value = inner
    return value


def _module(value: types.ModuleType, is_known: IsKnown) -> Part:
    """Decompose a module that is used as a value; a module without a version may hold settings assigned to it."""
    if is_known(value.__name__):
        return Part(("module", value.__name__))
    own = {name: each for name, each in vars(value).items() if not isinstance(each, types.ModuleType)}
    return _with_members(Part(("module", value.__name__)), {name: own[name] for name in own if name[:2] != "__"})


def _class(value: type, is_known: IsKnown) -> Part:
    if is_known(value.__module__):
        return Part(("class", _name_of(value)))
    own = {name: each for name, each in vars(value).items() if not _MADE_BY_PYTHON.fullmatch(name)}
    kinds = (("'s bases", value.__bases__), ("'s class", type(value)))
    return _with_members(Part(("class", value.__qualname__), kinds), own)


def _bound(value: types.MethodType, is_known: IsKnown) -> Part:
    if any(value.__self__ is each for each in _global_generators()):
        return Part(("drawn from the global generator", value.__func__.__name__))
    return Part(("method",), (("", value.__func__), (".__self__", value.__self__)))


def _of_an_extension(value: Any, is_known: IsKnown) -> Part:
    """Identify a function or method of an extension module, or of Python itself."""
    if (named := _by_name(value, is_known)) is not None:
        return named
    bound_to = getattr(value, "__self__", None)
    name = (type(value).__name__, getattr(value, "__qualname__", value.__name__))
    if bound_to is None or isinstance(bound_to, types.ModuleType):
        module = getattr(value, "__module__", None) or getattr(value, "__objclass__", type(value)).__module__
        is_known(module)
        return Part((*name, module))
    if any(bound_to is each for each in _global_generators()):
        return Part((*name, "drawn from the global generator"))
    return Part(name, ((".__self__", bound_to),))


def _partial(value: functools.partial[Any], is_known: IsKnown) -> Part:
    children = ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    return _with_attributes(Part(("partial",), children), value)


# ----------------------------------------------------------------------------------------------------------- values


def _array(value: np.ndarray[Any, Any], is_known: IsKnown) -> Part:
    words = (type(value).__name__, repr(value.dtype), value.dtype.str, repr(value.shape))
    if value.dtype.hasobject:
        part = Part(words, (("", value.tolist()),))
    else:
        flat = np.ascontiguousarray(value).view(np.ndarray).reshape(-1)
        part = Part((*words, flat.view(np.uint8).data if flat.nbytes else b""))
    return part if isinstance(value, np.memmap) else _with_attributes(part, value)


def _tensor(value: Any, is_known: IsKnown) -> Part:
    import torch

    words = (_name_of(type(value)), str(value.dtype), repr(tuple(value.shape)), value.device.type)
    try:
        plain = value.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg().cpu().contiguous()
        content = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else b""
    except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantised, without storage
        raise Opaque(f"a {value.layout} tensor of {value.dtype} on {value.device}") from None
    return _with_attributes(Part((*words, memoryview(content))), value)


def _scalar(value: Any, is_known: IsKnown) -> Part:
    return _array(np.asarray(value), is_known)


def _mapping(value: Any, is_known: IsKnown) -> Part:
    items = dict.items(value) if isinstance(value, dict) else value.items()
    children = [pair for key, each in items for pair in (("'s keys", key), (_step_to(key), each))]
    return _container("mapping", children, value)


def _step_to(key: Any) -> str:
    return f"[{key!r}]" if type(key) in (str, int) else "[…]"


def _default_mapping(value: defaultdict[Any, Any], is_known: IsKnown) -> Part:
    return _container("defaultdict", [(".default_factory", value.default_factory), ("", dict(value))], value)


def _sequence(value: Any, is_known: IsKnown) -> Part:
    base = _builtin_base(value)
    children = [(f"[{place}]", each) for place, each in enumerate(base.__iter__(value))]  # type: ignore[attr-defined]
    return _container(f"{base.__name__} {getattr(value, 'maxlen', '')}", children, value)


def _set(value: Any, is_known: IsKnown) -> Part:
    part = _container(_builtin_base(value).__name__, [], value)
    return Part(part.words, part.children, tuple(value))


def _container(kind: str, children: list[tuple[str, Any]], value: Any) -> Part:
    """Decompose a built-in container; an instance of a subclass also has attributes and a class."""
    if type(value).__module__ in ("builtins", "collections"):
        return Part((kind,), tuple(children))
    return _with_attributes(Part((kind,), (*children, (".__class__", type(value)))), value)


def _builtin_base(value: Any) -> type:
    return next(kind for kind in type(value).__mro__ if kind.__module__ in ("builtins", "collections"))


def _plain(base: type) -> Callable[[Any, IsKnown], Part]:
    """Return a function that decomposes instances of a subclass of ``base``, a built-in type of values."""

    def take_apart(value: Any, is_known: IsKnown) -> Part:
        plain = {int: int.__int__, float: float.__float__, str: str.__str__}[base](value)
        return _with_attributes(Part((base.__name__,), (("", plain), (".__class__", type(value)))), value)

    return take_apart


def _member(value: enum.Enum, is_known: IsKnown) -> Part:
    return Part(("enum", str(value.name)), ((".__class__", type(value)), (".value", value.value)))


def _repr_part(value: Any, is_known: IsKnown) -> Part:
    return Part((_name_of(type(value)), repr(value)))


def _object(value: Any, is_known: IsKnown) -> Part:
    """Decompose any other object into its class and its attributes, if it has nothing else."""
    kind = type(value)
    if _name_of(kind) in _GENERATORS or any(_name_of(base) in _GENERATORS for base in kind.__mro__):
        if any(value is each for each in _global_generators()):
            return Part(("the global generator", _name_of(kind)))
        raise Opaque(f"a random generator of its own ({_name_of(kind)})")
    if not _has_attributes_alone(kind):
        if (named := _by_name(value, is_known)) is not None:
            return named
        raise Opaque(f"a {_name_of(kind)}")
    return _with_attributes(Part(("object",), ((".__class__", kind),)), value)


def _with_attributes(part: Part, value: Any) -> Part:
    """Return ``part`` extended by the attributes of the object itself, in the order of their names."""
    found = dict(getattr(value, "__dict__", None) or {})
    if not isinstance(value, types.FunctionType | functools.partial):  # their members are not set by the user
        for base in type(value).__mro__:
            for name, member in vars(base).items():
                if isinstance(member, types.MemberDescriptorType) and name not in _COMPUTED:
                    with suppress(AttributeError):
                        found[name] = member.__get__(value)
    return _with_members(part, found)


def _with_members(part: Part, members: Mapping[str, Any]) -> Part:
    names = sorted(members)
    return Part((*part.words, repr(names)), (*part.children, *((f".{name}", members[name]) for name in names)))


def _has_attributes_alone(kind: type) -> bool:
    """Return True if an object's attributes show all its contents; extension modules may store more elsewhere."""
    return not kind.__itemsize__ and kind.__basicsize__ <= _visible_size(kind)


def _visible_size(kind: type) -> int:
    """Return the size in bytes of an object that has only attributes, computed as ``object.__reduce_ex__`` does."""
    slots = sum(isinstance(each, types.MemberDescriptorType) for base in kind.__mro__ for each in vars(base).values())
    has_dict = kind.__dictoffset__ != 0 and not kind.__flags__ & _MANAGED_DICT
    return object.__basicsize__ + _POINTER * (slots + has_dict + (kind.__weakrefoffset__ > 0))


def _global_generators() -> Iterator[Any]:
    """Yield the global generators. Every episode resets their states, so drawing from them carries no memory."""
    yield random._inst  # noqa: SLF001 - it has no other name
    yield np.random.mtrand._rand  # noqa: SLF001 - it has no other name
    if (torch := sys.modules.get("torch")) is not None:
        yield torch.default_generator


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class _TorchTensor(type):
    """Represents ``torch.Tensor`` in type checks without importing torch."""

    def __instancecheck__(cls, value: object) -> bool:
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(value, torch.Tensor)


class _Tensor(metaclass=_TorchTensor):
    pass


_KINDS: tuple[tuple[Any, Callable[[Any, IsKnown], Part]], ...] = (
    (types.FunctionType, _function),
    (types.CodeType, _code),
    (types.CellType, _cell),
    (types.MethodType, _bound),
    (types.ModuleType, _module),
    (type, _class),
    (functools.partial, _partial),
    (_EXTENSIONS, _of_an_extension),
    (enum.Enum, _member),
    (np.ndarray, _array),
    (np.generic, _scalar),
    (_Tensor, _tensor),
    (defaultdict, _default_mapping),
    ((dict, types.MappingProxyType), _mapping),
    ((list, tuple, deque), _sequence),
    ((set, frozenset), _set),
    ((bytes, bytearray), lambda value, _: Part((_builtin_base(value).__name__, bytes(value)))),
    (array.array, lambda value, _: Part(("array", value.typecode, value.tobytes()))),
    (int, _plain(int)),
    (float, _plain(float)),
    (str, _plain(str)),
    (range, lambda value, _: Part(("range", repr((value.start, value.stop, value.step))))),
    (slice, lambda value, _: Part(("slice",), (("", (value.start, value.stop, value.step)),))),
    ((types.GenericAlias, types.UnionType, *_IDENTIFIED_BY_REPR), _repr_part),
    (_LOOKUPS, _repr_part),
    (weakref.ref, lambda value, _: Part(("weak reference",), (("", value()),))),
    (PurePath, lambda value, _: Part((type(value).__name__, str(value)))),
    (re.Pattern, lambda value, _: Part(("pattern", str(value.flags)), (("", value.pattern),))),
    ((staticmethod, classmethod), lambda value, _: Part((type(value).__name__,), (("", value.__func__),))),
    (property, lambda value, _: Part(("property",), (("", (value.fget, value.fset, value.fdel)),))),
    (_CACHED, lambda value, _: Part(("cached", repr(value.cache_parameters())), (("", value.__wrapped__),))),
    (functools.cached_property, lambda value, _: Part(("cached_property",), (("", value.func),))),
    ((logging.Logger, *_LOCKS), lambda value, _: Part((_name_of(type(value)),))),  # they do not affect actions
)
"""Decomposition functions by type; the first match is used."""
