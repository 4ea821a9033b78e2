"""What a policy is: a function from a batch of observations to a batch of action chunks.

Two kinds. A :class:`Policy` holds weights and lives in the main process, where observations of any episodes, at any
phase, of any task come together in one forward pass. An :class:`ActionSource` needs no shared weights (a scripted
expert, random actions) and lives inside the worker, beside the simulator, without a message per step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from proctor.streams import RandomStream
from proctor.types import Array, Features, Observation


class EpisodeMemory:
    """What a policy may remember about one episode. Made at the episode's start, dropped at its end.

    ``stream`` is the episode's randomness. ``state`` belongs to the policy: a temporal ensemble, a recurrent state.
    A policy keeps nothing about an episode anywhere else.
    """

    __slots__ = ("state", "stream")

    def __init__(self, stream: RandomStream) -> None:
        self.stream = stream
        self.state: dict[str, Any] = {}


class PolicySource(Protocol):
    """A policy that may still have to be loaded: what the engine must know before, and how to get the rest.

    Loading happens on the inference thread while simulators come up.
    """

    @property
    def look_offsets(self) -> tuple[int, ...]: ...

    @property
    def n_action_steps(self) -> int: ...

    @property
    def episodes_per_pass(self) -> int: ...

    def check_contract(self, features: Features) -> None:
        """See :meth:`Policy.check_contract`."""

    def fingerprint(self) -> Mapping[str, Any]:
        """See :meth:`Policy.fingerprint`."""

    @property
    def unidentified(self) -> str:
        """See :class:`Policy`."""

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """The policy once for each device it is to run on, where that is more than one."""

    def open(self, n_threads: int) -> Policy:
        """Load it, on the first of its devices. ``n_threads`` is the number of CPU threads of one forward pass."""


class Policy(ABC):
    """A policy whose inference runs in the main process.

    Attributes:
        n_action_steps: actions executed before the policy looks again; a returned chunk may be shorter.
        look_offsets: the steps it sees when it looks, relative to the present and ascending: ``(0,)``, or ``(-1, 0)``.
        randomness: ``"none"`` if :meth:`predict` draws no random numbers; ``"per_row"`` if what it draws for an
            observation comes from that episode's stream, so that episodes may share a pass; ``"global"`` if it draws
            from the global generators, or holds one episode at a time. Such a policy is asked for one observation at a
            time, with the episode's generator states swapped in.
        place_matters: whether an observation's place in the batch moves the last bits of its actions. Every episode
            then has one place, which follows from what it is; two that have the same do not share a pass.
        batch_size: observations per forward pass where the user asks for nothing else.
        episodes_per_pass: as many episodes share a pass at little more than what one costs, on a CPU too. Where the
            user asks for nothing else, so many times as many environments are stepped.
        n_slots: forward passes that run well side by side: 1 on an accelerator, one per core on a CPU.
        distributions: installed packages whose versions move results.
        sources: what else makes the actions, besides the policy's class: modules by their name, functions, classes.
            Code that no distribution owns is recorded by its digest.
        unidentified: why nobody can tell whether another policy is this one, as what it holds: "a random generator of
            its own in predict.rng"; "" if :meth:`fingerprint` tells. Nothing is added to the results of such a policy
            once its evaluation has ended.
    """

    n_action_steps: int = 1
    look_offsets: tuple[int, ...] = (0,)
    randomness: str = "none"
    place_matters: bool = False
    batch_size: int = 1
    episodes_per_pass: int = 1
    n_slots: int = 1
    distributions: tuple[str, ...] = ()
    sources: tuple[str | Callable[..., Any], ...] = ()
    unidentified: str = ""

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """A policy that is loaded already is on the device it is on."""
        return (self,)

    def open(self, n_threads: int) -> Policy:
        """A policy that is loaded already is its own source."""
        return self

    @abstractmethod
    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """Give one action chunk per observation, in the same order: arrays ``(steps, action_size)``.

        May be called from several threads at once unless ``randomness`` is ``"global"``. Where it raises, it leaves the
        memories as they were: the observations are then asked one by one, to find whose fault it is.
        """

    def disconnect(self) -> None:
        """Let go of what lies outside of this process: nobody asks any more, unless the policy is opened again.

        May be called while :meth:`predict` runs on other threads: if it waits for something outside, it ends soon.
        """

    def check_contract(self, features: Features) -> None:
        """Compare what the policy expects with what the environment gives, before the first episode.

        Raises:
            ContractError: they do not fit; the message shows both sides.
        """

    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies the policy in a result: two equal fingerprints give equal results.

        A policy that has none of its own counts as unidentified.
        """
        return {"type": type(self).__name__}


class ActionSource(Protocol):
    """A policy that lives in the worker. Constructed there from the options of the :class:`LocalPolicy`."""

    def reset(self, env: Any, stream: RandomStream) -> None:
        """Begin an episode in ``env`` (a SimEnv that has just been reset)."""

    def act(self) -> Array:
        """The next action, ``(action_size,)``."""


class LocalPolicy:
    """A policy that runs inside the workers: where its :class:`ActionSource` is found, as ``module:attribute``."""

    unidentified: str = ""

    def __init__(self, source: str) -> None:
        self.source = source

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`Policy`."""
        return (self.source.partition(":")[0],)

    def fingerprint(self) -> Mapping[str, Any]:
        return {"type": self.source}


def why_unidentified(policy: PolicySource | LocalPolicy) -> str:
    """Why nobody can tell whether another policy is this one: see :class:`Policy`; "" if its fingerprint tells."""
    if isinstance(policy, Policy) and type(policy).fingerprint is Policy.fingerprint:
        return f"a {type(policy).__name__} without a fingerprint of its own"
    return str(getattr(policy, "unidentified", ""))
