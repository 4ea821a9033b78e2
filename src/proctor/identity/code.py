"""The identity of a function, object or class: a digest of everything that its behaviour depends on.

Two values that differ in anything they use have different digests, and the same code in another interpreter has the
same digest. The digest of a function covers its byte code, closure, defaults, attributes and the globals it names; that
of a method also the object it is bound to; that of an object its class and attributes; that of a tensor or an array its
type, shape and bytes. Code that belongs to a distribution, to Python or to Proctor is identified by name
(:mod:`proctor.identity.source_files`), and the distributions are reported. The order of a dictionary counts, because a
function may iterate over it; the order of a set does not.

The whole is unidentified if it contains something that cannot be recognised later: a file, a socket, an iterator, its
own random generator (whose state moves), or any object of an extension module that is not listed here. Dependencies
that a function reaches only while it runs, such as a file it opens or a name it looks up in ``globals()``, are not
found.

The walk does not call, copy or pickle any value: it reads values where Python stores them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from inspect import isroutine
from types import CodeType
from typing import Any, NamedTuple

from proctor.identity.parts import Opaque, Part, part_of
from proctor.identity.source_files import is_known, owner_of, top_level, unowned_code

_MOST_VALUES = 5_000_000
_WORDS: dict[type, Callable[[Any], str]] = {
    type(None): repr,
    bool: repr,
    int: hex,  # Python refuses to convert an integer of thousands of digits to a decimal
    float: float.hex,
    complex: lambda value: f"{value.real.hex()} {value.imag.hex()}",
    str: lambda value: value,
    type(...): repr,
    type(NotImplemented): repr,
}
"""Types whose values contain no others, with a function that gives equal values of a type the same text."""
_TREES = (bytes, tuple, frozenset, CodeType)
"""Constants that are always written out in full: interpreters differ in which equal constants share one object."""


@dataclass(frozen=True)
class Identity:
    """The result of :func:`identify`.

    ``sha256`` is None if the value could not be identified, and ``unidentified`` gives the reason: "a
    _io.TextIOWrapper in f.log". ``modules`` are the modules without a version whose code was found, and
    ``distributions`` those that own the rest.
    """

    sha256: str | None
    unidentified: str = ""
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()


def identify(value: Any) -> Identity:
    """Compute the identity of ``value``. Reads all its arrays: about a second per gigabyte."""
    walk = _Walk()
    sha256, reason = None, ""
    try:
        walk.take(value, _Where(None, value.__name__ if isroutine(value) else type(value).__name__))
        sha256 = walk.hexdigest()
    except Opaque as opaque:
        reason = str(opaque)
    modules = tuple(sorted(walk.modules))
    known = walk.known - {"proctor"}  # the protocol's version stands for it, under whatever name it is installed
    owners = {name for module in sorted(known) if (name := owner_of(module))}
    return Identity(sha256, reason, modules, tuple(sorted(owners)))


@dataclass(frozen=True)
class Code:
    """Code without a version: its digests by name, and the reason if part of it is unidentified ("" if none is)."""

    digests: dict[str, str]
    unidentified: str = ""


def code_of(sources: Iterable[str | Callable[..., Any]], distributions: Iterable[str]) -> Code:
    """Return digests of the unversioned code in ``sources`` (module names, functions, classes) and ``distributions``.

    A class is represented by the code of its module. A function, or a class of a script or a notebook, is represented
    by the result of :func:`identify`, so that other lines of the script may change.
    """
    modules, unknown = set[str](), ""
    digests: dict[str, str] = {}
    for source in sources:
        module = source if isinstance(source, str) else source.__module__
        modules.add(module)
        if isinstance(source, str) or is_known(module) or (isinstance(source, type) and module != "__main__"):
            continue
        found = identify(source)
        modules |= set(found.modules)
        unknown = unknown or found.unidentified
        digests[f"{module}:{getattr(source, '__qualname__', type(source).__name__)}"] = found.sha256 or ""
    return Code({**digests, **unowned_code(sorted(modules), distributions)}, unknown)


class _Where(NamedTuple):
    """The path to a value, as a linked list, so that it costs nothing until it is written out."""

    before: _Where | None
    step: str

    def __str__(self) -> str:
        steps, at = list[str](), self
        while at is not None:
            steps.append(at.step)
            at = at.before  # type: ignore[assignment]
        return "".join(reversed(steps))


@dataclass
class _Walk:
    """A walk over everything that a value depends on, in an order that is the same in every process.

    ``numbers`` holds the values that were visited: a value that refers to itself, or occurs twice, is written as its
    number.
    """

    numbers: dict[int, int] = field(default_factory=dict)
    met: list[Any] = field(default_factory=list)
    """References that keep visited values alive: otherwise a new object at a freed address would be taken for one."""
    modules: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()
        self._n_values = 0

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def take(self, value: Any, where: _Where) -> None:
        """Add a value and everything that it depends on.

        Raises:
            Opaque: part of it cannot be identified; the message says which part and where.
        """
        stack = [(value, where)]
        while stack:
            value, where = stack.pop()
            self._n_values += 1
            if self._n_values > _MOST_VALUES:
                raise Opaque(f"more than {_MOST_VALUES} values")
            if (words := _WORDS.get(type(value))) is not None:
                self._put(type(value).__name__, words(value))
            elif (number := self.numbers.get(id(value))) is not None:
                self._put("again", str(number))
            else:
                self._take_compound(value, where, stack)

    def _take_compound(self, value: Any, where: _Where, stack: list[tuple[Any, _Where]]) -> None:
        if not isinstance(value, _TREES):
            self.numbers[id(value)] = len(self.numbers)
        self.met.append(value)
        try:
            part = part_of(value, self._is_known)
        except Opaque as opaque:
            raise Opaque(f"{opaque} in {where}") from None
        except Exception as error:  # noqa: BLE001 - reading an attribute may run code of anybody's
            raise Opaque(f"something that raises {type(error).__name__} when it is read, in {where}") from None
        self._put(str(len(part.words)), *part.words, str(len(part.children)), str(len(part.unordered)))
        stack.extend((child, _Where(where, step)) for step, child in reversed(part.children))
        self._put_unordered(part, where)

    def _put_unordered(self, part: Part, where: _Where) -> None:
        """Add the elements of a set, ordered by their digests."""
        digests = []
        for element in part.unordered:
            alone = _Walk(dict(self.numbers), self.met, self.modules, self.known)
            alone.take(element, _Where(where, "{…}"))
            digests.append(alone.hexdigest())
        self._put(*sorted(digests))

    def _is_known(self, module: str) -> bool:
        found = is_known(module)
        if found:
            self.known.add(top_level(module))
        elif top_level(module) in sys.modules and module != "__main__":
            self.modules.add(top_level(module))
        return found

    def _put(self, *words: str | bytes | memoryview) -> None:
        for word in words:
            content = word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word
            self._digest.update(len(content).to_bytes(8, "little"))
            self._digest.update(content)
