"""Random numbers of a batch, each row's from its own episode's stream. Importing this imports torch.

A policy draws one tensor for a whole batch from one generator, so a row's numbers depend on who shares the batch and on
what was drawn before. Two ways around it, both giving row *i* exactly what it would have been given alone:

- :func:`noise`, if a policy takes its noise as an argument;
- ``with row_draws(memories):``, if it draws by itself. From the first time on, torch's functions that draw
  (``torch.randn``, ``Tensor.normal_``) look whether their thread is in such a block. If so they look at the operators
  below them, of which one form is left of the many that a call can have. All other functions are torch's own, and cost
  nothing more. (Replacing them for each block would: Python forgets what it has learnt about a class that changes.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from proctor.errors import PolicyError
from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream

_IN_PLACE = frozenset(
    {"bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"}
)
_NEW = frozenset({"bernoulli", "binomial", "multinomial", "normal", "poisson", "_sample_dirichlet", "_standard_gamma"})
_SIZED = frozenset({"rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"})
_DRAWS = _IN_PLACE | _NEW | _SIZED
_TAKE_GENERATOR = _IN_PLACE | {"bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"}
"""Names of functions and operators that draw. Others, such as distributions and initialisers, are made of these.
Some functions have a ``generator`` among their arguments by name; some versions of others do, and all operators."""


def noise(memories: Sequence[EpisodeMemory], shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Standard normal noise ``(episodes, *shape)``, float32."""
    rows = [torch.randn(1, *shape, device=device, generator=_generator(memory.stream, device)) for memory in memories]
    return torch.cat(rows)


@contextmanager
def row_draws(memories: Sequence[EpisodeMemory]) -> Iterator[None]:
    """Enter a context in which random tensors are drawn row by row.

    A tensor's leading dimension is the batch, or a multiple of it with an episode's entries side by side.

    Raises:
        PolicyError: a random tensor that cannot be divided among the episodes, or one drawn from the global generators
            after all, by a function that is not known here.
    """
    _replace_functions()
    before, outer = _global_states(), _thread.streams
    _thread.streams = [memory.stream for memory in memories]
    try:
        yield
    finally:
        _thread.streams = outer
    if not all(map(torch.equal, before, _global_states())):
        raise PolicyError("the policy draws random numbers in a way that is not known here, which cannot be repeated")


def _global_states() -> list[torch.Tensor]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *on_gpus]


class _Thread(threading.local):
    """``streams`` are those of the episodes whose rows this thread computes: none outside of :func:`row_draws`."""

    streams: Sequence[RandomStream] = ()


_thread = _Thread()


@cache
def _replace_functions() -> None:
    for owner in (torch, torch.Tensor):
        for name in _DRAWS:
            if hasattr(owner, name):
                setattr(owner, name, _by_rows(getattr(owner, name)))


def _by_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    takes_generator = function.__name__ in _TAKE_GENERATOR

    @wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Any:
        streams = _thread.streams
        if not streams or kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if len(streams) == 1 and takes_generator:
            device = _device([*args, *kwargs.values()], kwargs.get("device"))
            return function(*args, **kwargs | {"generator": _generator(streams[0], device)})
        with _Operators(streams):
            return function(*args, **kwargs)

    return draw


def _device(values: Iterable[Any], named: Any) -> torch.device:
    """Find the device that a call draws on: that of its tensors, else the one that it names, else the default one."""
    tensor = next((value for value in values if isinstance(value, torch.Tensor)), None)
    return torch.empty(0, device=named).device if tensor is None else tensor.device


class _Operators(TorchDispatchMode):  # type: ignore[misc]
    """Makes random calls, one row at a time."""

    def __init__(self, streams: Sequence[RandomStream]) -> None:
        super().__init__()
        self._streams = streams

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name not in _DRAWS or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return self._draw(*_with_generator(func), args, kwargs)

    def _draw(self, func: Any, names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Call ``func`` once per episode on its part of the arguments, with its generator."""
        given = dict(zip(names, args, strict=False)) | kwargs
        given.pop("generator", None)
        tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
        device = _device(tensors, given.get("device"))
        if len(self._streams) == 1 and "generator" in names:
            drawn: torch.Tensor = func(**given, generator=_generator(self._streams[0], device))
            return drawn
        self._check(func, names, [*map(len, filter(_has_rows, tensors)), *given.get("size", ())[:1]])
        rows = [
            func(
                **{key: self._part(key, value, row) for key, value in given.items()},
                generator=_generator(stream, device),
            )
            for row, stream in enumerate(self._streams)
        ]
        if func.overloadpacket.__name__ in _IN_PLACE:
            return args[0]
        return torch.cat(rows)

    def _check(self, func: Any, names: tuple[str, ...], lengths: list[int]) -> None:
        """Refuse what cannot be divided among the episodes."""
        n = len(self._streams)
        if "generator" in names and lengths and not any(length % n for length in lengths):
            return
        shown = f"{lengths[0]} rows" if lengths else "a single number or permutation"
        raise PolicyError(
            f"{func} draws {shown} for {n} episodes, which cannot be separated; evaluate with "
            "--eval.inference_batch_size=1."
        )

    def _part(self, name: str, value: Any, row: int) -> Any:
        """Give one episode's part of an argument: its rows of a tensor, or its share of a size."""
        n = len(self._streams)
        if name == "size" and value:
            return [value[0] // n, *value[1:]]
        return value.chunk(n)[row] if _has_rows(value) else value


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


@cache
def _with_generator(func: Any) -> tuple[Any, tuple[str, ...]]:
    """Find the overload of an operator that takes a generator, and its arguments' names."""
    packet, overload = func.overloadpacket, func._overloadname  # noqa: SLF001 - no public name leads to it
    wanted = "generator" if overload == "default" else f"{overload}_generator"
    if "generator" not in _arguments(func) and wanted in packet.overloads():
        func = getattr(packet, wanted)
    return func, _arguments(func)


def _arguments(func: Any) -> tuple[str, ...]:
    return tuple(argument.name for argument in func._schema.arguments)  # noqa: SLF001


def _generator(stream: RandomStream, device: torch.device) -> torch.Generator:
    generator: torch.Generator = stream.torch_generator(device)
    return generator
