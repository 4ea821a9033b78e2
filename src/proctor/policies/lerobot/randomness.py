"""Random numbers of a batch, each row's from its own episode's stream. Importing this imports torch.

A policy draws one tensor for a whole batch from one generator, so a row's numbers depend on who shares the batch and on
what was drawn before. Two ways around it, both giving row *i* exactly what it would have been given alone:

- :func:`noise`, where a policy takes its noise as an argument;
- ``with row_draws(memories):``, where it draws by itself. Every call of torch inside is looked at as a function, which
  costs a microsecond or two; those that draw (``torch.randn``, ``Tensor.normal_``, ``gumbel_softmax``) are looked at
  again as operators, of which one form is left of the many that a call can have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
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
_FUNCTIONS = _DRAWS | {"gumbel_softmax"}
"""Functions that draw. Some are made of others, which only the operators' level sees."""


def noise(memories: Sequence[EpisodeMemory], shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Standard normal noise ``(episodes, *shape)``, float32."""
    rows = [torch.randn(1, *shape, device=device, generator=_generator(memory.stream, device)) for memory in memories]
    return torch.cat(rows)


@contextmanager
def row_draws(memories: Sequence[EpisodeMemory]) -> Iterator[None]:
    """A context in which random tensors are drawn row by row.

    A tensor's leading dimension is the batch, or a multiple of it with an episode's entries side by side.

    Raises:
        PolicyError: a random tensor that cannot be divided among the episodes, or one drawn from the global generators
            after all, by a function that is not known here.
    """
    before = _global_states()
    with _Functions(_Operators([memory.stream for memory in memories])):
        yield
    if not all(map(torch.equal, before, _global_states())):
        raise PolicyError("the policy draws random numbers in a way that is not known here, which cannot be repeated")


def _global_states() -> list[torch.Tensor]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *on_gpus]


class _Functions(TorchFunctionMode):  # type: ignore[misc]
    """Finds the random calls, and lets :class:`_Operators` make them."""

    def __init__(self, operators: _Operators) -> None:
        super().__init__()
        self._operators = operators

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _FUNCTIONS:
            with self._operators:
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


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
        return self._draw(_with_generator(func), args, kwargs)

    def _draw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """Call ``func`` once per episode on its part of the arguments, with its generator."""
        names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001 - there is no other way to it
        given = dict(zip(names, args, strict=False)) | kwargs
        given.pop("generator", None)
        tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
        device = tensors[0].device if tensors else torch.empty(0, device=given.get("device")).device
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
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _check(self, func: Any, names: list[str], lengths: list[int]) -> None:
        """Refuse what cannot be divided among the episodes."""
        n = len(self._streams)
        if "generator" in names and (n == 1 or (lengths and not any(length % n for length in lengths))):
            return
        shown = f"{lengths[0]} rows" if lengths else "a single number or permutation"
        raise PolicyError(
            f"{func} draws {shown} for {n} episodes, which cannot be told apart; evaluate with "
            "--eval.inference_batch_size=1."
        )

    def _part(self, name: str, value: Any, row: int) -> Any:
        """One episode's part of an argument: its rows of a tensor, its share of a size."""
        n = len(self._streams)
        if name == "size" and value:
            return [value[0] // n, *value[1:]]
        return value.chunk(n)[row] if _has_rows(value) else value


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def _with_generator(func: Any) -> Any:
    """The overload of the same operator that takes a generator."""
    if any(argument.name == "generator" for argument in func._schema.arguments):  # noqa: SLF001
        return func
    packet, overload = func.overloadpacket, func._overloadname  # noqa: SLF001
    wanted = "generator" if overload == "default" else f"{overload}_generator"
    return getattr(packet, wanted) if wanted in packet.overloads() else func


def _generator(stream: RandomStream, device: torch.device) -> torch.Generator:
    generator: torch.Generator = stream.torch_generator(device)
    return generator
