"""Which function, object or class it is: a digest of everything that what it does depends on.

Two things that differ in a value they use have different digests, and the same code in another interpreter gives the
same one. A function is its byte code, what it closes over, its defaults, its attributes and the globals it names; a
method also what it is bound to; an object its class and its attributes; a tensor or an array its type, shape and bytes.
Code that a distribution owns, Python's and Proctor's is known by its name (:mod:`proctor.identity.source_files`), and
the distributions that were met are told. The order of a dictionary counts, for a function may go through it; that of a
set does not.

Something that cannot be known again makes the whole unidentified: a file, a socket, an iterator, a random generator of
its own (its state moves), and any object of an extension module that is not listed here. What a function reaches only
by its own doing while it runs, such as a file it opens or a name it looks up in ``globals()``, is not seen.

Nothing of what is looked at is called, copied or pickled: values are read where Python keeps them.
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
    int: hex,  # a decimal of thousands of digits is refused
    float: float.hex,
    complex: lambda value: f"{value.real.hex()} {value.imag.hex()}",
    str: lambda value: value,
    type(...): repr,
    type(NotImplemented): repr,
}
"""Values that hold no others, and a text that tells two of a type apart."""
_TREES = (bytes, tuple, frozenset, CodeType)
"""Constants are taken whole wherever they stand: whether two are one object in memory differs between interpreters."""


@dataclass(frozen=True)
class Identity:
    """What :func:`identify` found.

    ``sha256`` is None if it could not be identified, and ``unidentified`` says why: "a _io.TextIOWrapper in f.log".
    ``modules`` are those without a version whose code was met, and ``distributions`` those that own the rest.
    """

    sha256: str | None
    unidentified: str = ""
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()


def identify(value: Any) -> Identity:
    """Find out which ``value`` it is. Reads all its arrays: about a second for each gigabyte."""
    walk = _Walk()
    sha256, reason = None, ""
    try:
        walk.take(value, _Where(None, value.__name__ if isroutine(value) else type(value).__name__))
        sha256 = walk.hexdigest()
    except Opaque as opaque:
        reason = str(opaque)
    modules = tuple(sorted(walk.modules))
    owners = {name for module in sorted(walk.known) if (name := owner_of(module))}
    return Identity(sha256, reason, modules, tuple(sorted(owners)))


@dataclass(frozen=True)
class Code:
    """Code without a version: its digests by name, and why some of it is not known ("" if all is)."""

    digests: dict[str, str]
    unidentified: str = ""


def code_of(sources: Iterable[str | Callable[..., Any]], distributions: Iterable[str]) -> Code:
    """The digests of what of ``sources`` (modules by name, functions, classes) and ``distributions`` has no version.

    A class is its module's code; one of a script or a notebook, and a function, is what :func:`identify` finds, so
    that another line of the script may change.
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
    """The way to a value: a link for each step, so that it costs nothing until it is to be told."""

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
    """A walk over all that a value depends on, in an order that is the same everywhere.

    ``numbers`` holds what was met, so that a value that leads back to itself, or is met twice, is told by its number.
    """

    numbers: dict[int, int] = field(default_factory=dict)
    met: list[Any] = field(default_factory=list)
    """Keeps them alive: another object at a freed one's address would be taken for it."""
    modules: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()
        self._n_values = 0

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def take(self, value: Any, where: _Where) -> None:
        """Add a value and all that it depends on.

        Raises:
            Opaque: some of it cannot be identified; says what and where.
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
            raise Opaque(f"something that raises {type(error).__name__} when it is looked at, in {where}") from None
        self._put(str(len(part.words)), *part.words, str(len(part.children)), str(len(part.unordered)))
        stack.extend((child, _Where(where, step)) for step, child in reversed(part.children))
        self._put_unordered(part, where)

    def _put_unordered(self, part: Part, where: _Where) -> None:
        """Add the elements of a set, by the digest of each."""
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
